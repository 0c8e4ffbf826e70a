//! How long a record is believed.

use std::time::{Duration, Instant};

use super::links::LinkId;

/// A day: no record is believed for longer.
const MAX_TTL: u32 = 86_400;
/// RFC 6762 section 10.5: how long an answer may take before its record counts as gone.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Section 6: a record that was multicast within the last second is not repeated. Questions that
/// come closer together than this may have got lost together, too.
pub(super) const APART: Duration = Duration::from_secs(1);

/// How long a record is believed, and how often it was asked for again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    since: Instant,
    ends: Instant,
    /// Where it was heard last, and from whom.
    by: Source,
    /// How many of the refresh questions have been asked.
    asked: u32,
    /// Thousandths of the lifetime that the questions come late (RFC 6762 section 5.2).
    jitter: u32,
    /// Whether its end was said, and is not just silence.
    is_said: bool,
    doubts: Doubts,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) link: LinkId,
    /// A hash of the address: to tell hosts apart.
    pub(super) host: u32,
}

/// The questions of others that this record did not answer (RFC 6762 section 10.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubts {
    #[default]
    None,
    /// One, at this time.
    One(Instant),
    /// Two or more; it ends then.
    Enough(Instant),
}

impl Lease {
    /// What is left of a lifetime when RFC 6762 section 5.2 wants a record to be asked for again.
    const REFRESHES: u32 = 4;

    pub(super) fn new(now: Instant, ttl: u32, jitter: u32, by: Source) -> Self {
        Self {
            since: now,
            ends: now + Duration::from_secs(ttl.min(MAX_TTL).into()),
            by,
            asked: 0,
            jitter,
            is_said: false,
            doubts: Doubts::None,
        }
    }

    /// Takes a newer lease over; a weak one (from a legacy answer) only if it lasts longer.
    pub(super) fn renew(&mut self, newer: Self, weak: bool) {
        if !weak || newer.ends > self.ends {
            *self = newer;
        } else {
            self.doubts = Doubts::None;
        }
    }

    /// Ends it at `at` at the latest, without being asked for.
    pub(super) fn end_by(&mut self, at: Instant) {
        self.ends = self.ends.min(at);
        self.asked = Self::REFRESHES;
        self.is_said = true;
    }

    /// Another host asked for what this record is the answer to: unless it is answered, that speaks
    /// against it. Gives whether that is enough.
    pub(super) fn doubt(&mut self, now: Instant, asker: Source) -> bool {
        let answers = self.by.link == asker.link && self.by.host != asker.host;
        if !answers || now < self.since + APART {
            return false;
        }
        match self.doubts {
            Doubts::None => self.doubts = Doubts::One(now),
            Doubts::One(first) if now >= first + APART => {
                self.doubts = Doubts::Enough(now + UNANSWERED);
                return true;
            }
            Doubts::One(_) | Doubts::Enough(_) => {}
        }
        false
    }

    /// The machine slept, and the clock with it.
    pub(super) fn age(&mut self, by: Duration) {
        self.since = self.since.checked_sub(by).unwrap_or(self.since);
        self.ends = self.ends.checked_sub(by).unwrap_or(self.since);
    }

    fn ends(&self, expiry: &Expiry) -> Option<Instant> {
        let ends = match self.doubts {
            Doubts::Enough(at) => self.ends.min(at),
            Doubts::None | Doubts::One(_) => self.ends,
        };
        match expiry.floor(self.by.link) {
            _ if self.is_said => Some(ends),
            Floor::Free => Some(ends),
            Floor::Until(floor) => Some(ends.max(floor)),
            Floor::Never => None,
        }
    }

    pub(super) fn is_over(&self, now: Instant, expiry: &Expiry) -> bool {
        self.ends(expiry).is_some_and(|ends| ends <= now)
    }

    fn refresh_at(&self) -> Option<Instant> {
        let thousandths = 800 + 50 * self.asked + self.jitter;
        let refreshes = self.asked < Self::REFRESHES;
        refreshes.then(|| self.since + (self.ends - self.since) * thousandths / 1_000)
    }

    /// Whether it is to be asked for now; counts that it was.
    pub(super) fn take_refresh(&mut self, now: Instant) -> bool {
        let mut due = false;
        while self.refresh_at().is_some_and(|at| at <= now) {
            self.asked += 1;
            due = true;
        }
        due
    }

    /// When to look after it again.
    pub(super) fn next(&self, expiry: &Expiry) -> Option<Instant> {
        self.refresh_at().into_iter().chain(self.ends(expiry)).min()
    }

    /// What is left, in seconds, if that is more than half of it (RFC 6762 section 7.1).
    pub(super) fn known_ttl(&self, now: Instant) -> Option<u32> {
        let left = self.ends.saturating_duration_since(now);
        (left > (self.ends - self.since) / 2).then_some(left.as_secs() as u32)
    }

    /// When it was granted.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether its end was said, and is not just silence.
    pub(super) fn is_said(&self) -> bool {
        self.is_said
    }

    /// Whether it can't be heard at present whether this goes on.
    pub(super) fn is_cut_off(&self, expiry: &Expiry) -> bool {
        expiry.is_cut_off(self.by.link)
    }
}

/// What may end, and when: in an outage, nothing that could not be heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry {
    /// What was heard by way of a network.
    pub(super) network: Floor,
    /// What was heard on loopback.
    pub(super) loopback: Floor,
    /// Which interface that is.
    pub(super) loopback_id: Option<u32>,
}

/// Before when nothing ends by silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Floor {
    /// It ends when its time is over.
    #[default]
    Free,
    /// Not before.
    Until(Instant),
    /// Not at all, until it can be heard again.
    Never,
}

impl Floor {
    /// Goes on when something can be heard again, and stops when it can't.
    pub(super) fn follow(&mut self, can_hear: bool, was_used: bool, resumes: Instant) {
        match (can_hear, *self) {
            (true, Self::Never) => *self = Self::Until(resumes),
            (false, _) if was_used => *self = Self::Never,
            _ => {}
        }
    }

    /// Nothing ends before `resumes`.
    pub(super) fn raise(&mut self, resumes: Instant) {
        if *self != Self::Never {
            *self = Self::Until(resumes);
        }
    }
}

impl Expiry {
    fn floor(&self, link: LinkId) -> Floor {
        if self.loopback_id == Some(link.0) {
            self.loopback
        } else {
            self.network
        }
    }

    /// Whether nothing can be heard on a link.
    pub(super) fn is_cut_off(&self, link: LinkId) -> bool {
        self.floor(link) == Floor::Never
    }

    /// Whether nothing of a link ends by silence at present.
    pub(super) fn spares(&self, now: Instant, link: LinkId) -> bool {
        match self.floor(link) {
            Floor::Never => true,
            Floor::Until(floor) => now < floor,
            Floor::Free => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Family;

    const LINK: LinkId = (1, Family::V4);
    const OWNER: Source = Source {
        link: LINK,
        host: 1,
    };
    const ASKER: Source = Source {
        link: LINK,
        host: 2,
    };
    const FREE: Expiry = Expiry {
        network: Floor::Free,
        loopback: Floor::Free,
        loopback_id: None,
    };

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn lease(now: Instant, ttl: u32) -> Lease {
        Lease::new(now, ttl, 0, OWNER)
    }

    #[test]
    fn s5_2_refreshes_at_80_85_90_and_95_percent() {
        let now = start();
        let seconds = |s| now + Duration::from_secs(s);
        let mut lease = lease(now, 100);
        for due in [80, 85, 90, 95] {
            assert_eq!(lease.next(&FREE), Some(seconds(due)));
            assert!(!lease.take_refresh(seconds(due - 1)));
            assert!(lease.take_refresh(seconds(due)));
        }
        assert_eq!(lease.next(&FREE), Some(seconds(100)));
        assert!(!lease.is_over(seconds(99), &FREE) && lease.is_over(seconds(100), &FREE));
        let later = Lease::new(now, 100, 20, OWNER);
        assert_eq!(later.next(&FREE), Some(seconds(82)));
    }

    #[test]
    fn nothing_ends_by_silence_where_nothing_can_be_heard() {
        let now = start();
        let seconds = |s| now + Duration::from_secs(s);
        let mut lease = lease(now, 100);
        assert!(lease.take_refresh(seconds(99)));
        let mut expiry = FREE;
        expiry.network = Floor::Until(seconds(101));
        assert!(!lease.is_over(seconds(100), &expiry) && lease.is_over(seconds(101), &expiry));
        expiry.network = Floor::Never;
        assert!(lease.is_cut_off(&expiry));
        assert!(!lease.is_over(seconds(9_999), &expiry));
        assert_eq!(lease.next(&expiry), None);
        expiry.loopback_id = Some(LINK.0);
        assert!(lease.is_over(seconds(100), &expiry), "loopback goes on");
        expiry.loopback_id = None;
        lease.end_by(seconds(50));
        assert!(lease.is_over(seconds(50), &expiry), "that was said");
    }

    #[test]
    fn s6_7_legacy_answers_never_shorten_a_lease() {
        let now = start();
        let mut known = lease(now, 100);
        known.renew(lease(now, 10), true);
        assert!(!known.is_over(now + Duration::from_secs(50), &FREE));
        known.renew(lease(now + Duration::from_secs(95), 10), true);
        assert!(!known.is_over(now + Duration::from_secs(104), &FREE));
        known.renew(lease(now, 10), false);
        assert!(known.is_over(now + Duration::from_secs(10), &FREE));
    }

    #[test]
    fn s10_5_two_questions_without_an_answer_end_a_lease_ten_seconds_later() {
        let now = start();
        let seconds = |s| now + Duration::from_secs(s);
        let fresh = lease(now, 1_000);
        let mut doubted = fresh;
        let elsewhere = Source {
            link: (2, LINK.1),
            ..ASKER
        };
        assert!(!doubted.doubt(now, ASKER), "it was just said");
        for _ in 0..3 {
            assert!(!doubted.doubt(seconds(5), elsewhere));
            assert!(!doubted.doubt(seconds(5), OWNER), "knows it himself");
            assert!(!doubted.doubt(seconds(5), ASKER), "lost together");
        }
        assert!(doubted.doubt(seconds(7), ASKER));
        assert!(!doubted.doubt(seconds(12), ASKER), "and not put off");
        assert_eq!(doubted.next(&FREE), Some(seconds(17)));
        assert!(doubted.is_over(seconds(17), &FREE));
        doubted.renew(lease(seconds(8), 10), true);
        assert!(!doubted.is_over(seconds(17), &FREE), "it was answered");
    }
}
