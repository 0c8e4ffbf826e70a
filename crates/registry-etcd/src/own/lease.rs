use std::time::Duration;

use tokio::time::Instant;
use vine_registry::Error;

/// How long a renewal may be in trouble before registrations count as not true.
const GRACE: Duration = Duration::from_millis(1000);

/// The longest time over which the processes of a cluster that lost its leases spread their return.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);

/// The lease of all registrations with one ttl.
#[derive(Debug)]
pub(super) struct Lease {
    /// Chosen here, so that asking again for it does no harm.
    pub(super) id: i64,
    pub(super) seconds: u64,
    is_granted: bool,
    /// A request is under way.
    pub(super) granting: bool,
    /// Not to be asked for before.
    not_before: Option<Instant>,
    /// When to renew it.
    pub(super) next: Instant,
    /// When a renewal was asked for that is not answered yet.
    pub(super) asked: Option<Instant>,
    /// By then it is acknowledged again, or in trouble.
    cared_for: Instant,
    /// Since when it can't be renewed, and why.
    trouble: Option<(Instant, Error)>,
    /// Keys that wait for it.
    pub(super) waiting: Vec<usize>,
    /// Since when nothing needs it.
    pub(super) idle: Option<Instant>,
}

impl Lease {
    pub(super) fn new(seconds: u64) -> Self {
        Self {
            id: random(),
            seconds,
            is_granted: false,
            granting: false,
            not_before: None,
            next: Instant::now(),
            asked: None,
            cared_for: Instant::now(),
            trouble: None,
            waiting: Vec::new(),
            idle: None,
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long a renewal may take to be answered.
    pub(super) fn patience(&self) -> Duration {
        (self.ttl() / 3).min(Duration::from_secs(2))
    }

    pub(super) fn is_granted(&self) -> bool {
        self.is_granted
    }

    /// Whether keys can be put.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.is_granted && self.not_before.is_none_or(|time| time <= now)
    }

    /// When to ask for it, if something waits for it and it was not asked for yet.
    pub(super) fn wanted_at(&self, now: Instant) -> Option<Instant> {
        let is_wanted = !(self.is_granted || self.granting || self.waiting.is_empty());
        is_wanted.then(|| self.not_before.map_or(now, |time| time.max(now)))
    }

    pub(super) fn granted(&mut self, now: Instant) {
        self.is_granted = true;
        self.granting = false;
        self.not_before = None;
        self.acknowledged(now);
    }

    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.asked = None;
        self.cared_for = now + self.silence();
        self.trouble = None;
        self.next = now + self.ttl() / 3;
    }

    /// Whether nobody cares for it: whoever renews it would have heard of it, or be in trouble.
    pub(super) fn is_abandoned(&self, now: Instant) -> bool {
        now > self.cared_for && self.is_granted && self.trouble.is_none()
    }

    /// How long at most nothing is heard of it.
    fn silence(&self) -> Duration {
        (self.ttl() / 3 + self.patience() + GRACE).min(self.ttl())
    }

    /// Somebody else cares for it from now on.
    pub(super) fn adopted(&mut self, now: Instant) {
        self.granting = false;
        self.asked = None;
        self.cared_for = now + self.silence();
        self.next = now;
    }

    /// Over what time to spread what comes back after it was lost.
    pub(super) fn spread(&self) -> Duration {
        (self.ttl() / 3).min(LONGEST_SPREAD)
    }

    /// It is lost: another one takes its place, not before this time.
    pub(super) fn renew(&mut self, not_before: Instant) {
        self.id = random();
        self.is_granted = false;
        self.granting = false;
        self.asked = None;
        self.not_before = Some(not_before);
    }

    /// It can't be renewed for now.
    pub(super) fn troubled(&mut self, error: &Error, now: Instant) {
        self.asked = None;
        self.next = now;
        match &mut self.trouble {
            Some((_, last)) => *last = error.clone(),
            None => self.trouble = Some((now, error.clone())),
        }
    }

    /// Why the registrations may not be true, if that has lasted.
    pub(super) fn trouble(&self, now: Instant) -> Option<Error> {
        let (since, error) = self.trouble.as_ref()?;
        (now.duration_since(*since) >= GRACE).then(|| error.clone())
    }
}

fn random() -> i64 {
    fastrand::i64(1..)
}
