use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "hyper")]
use http::uri::{Authority, InvalidUri};
use tokio::{sync::mpsc, time::Instant};
use vine_registry::{Node, Service};

use super::{Outcome, latency::Latency};
use crate::Call;

/// Who refused a connection is tried again after so long, by one call at a time.
const REFUSES: Duration = Duration::from_secs(1);

/// A node as a selector sees it: with what its calls have shown.
pub struct Peer {
    node: Arc<Node>,
    /// The service in the node's version.
    version: Arc<str>,
    pub(super) stats: Arc<Stats>,
    /// Where it stands in the list of its tier. The selector's task alone asks.
    pub(super) seat: AtomicUsize,
    /// Its address as a part of URLs, once a call needed that.
    #[cfg(feature = "hyper")]
    authority: std::sync::OnceLock<Authority>,
}

/// What calls have shown of the process behind an address: stays when the node's metadata changes.
pub(super) struct Stats {
    id: Arc<str>,
    in_flight: AtomicU32,
    latency: Latency,
    /// Failures since the last success.
    failures: AtomicU32,
    /// It refuses connections, and until then none is tried, in nanoseconds; 0 if it does not.
    refuses_until: AtomicU64,
    /// The selector's task was told, and has not answered by [`reset`](Self::reset).
    told: AtomicBool,
    pub(super) watch: Arc<Watch>,
}

/// Whom stats tell of nodes that fail.
#[derive(Debug)]
pub(super) struct Watch {
    /// What time is counted from.
    pub(super) start: Instant,
    /// So many failures without a success between are told.
    pub(super) failures: u32,
    pub(super) told: mpsc::UnboundedSender<Told>,
}

/// What the selector's task is told. Each node has at most one of them waiting.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) id: Arc<str>,
    pub(super) stats: Arc<Stats>,
    /// No connection came about.
    pub(super) refused: bool,
}

impl Watch {
    /// In nanoseconds since the selector was made.
    pub(super) fn time(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.start))
    }

    /// The nanoseconds since the selector was made.
    pub(super) fn now(&self) -> u64 {
        self.time(Instant::now())
    }
}

impl Stats {
    pub(super) fn new(node: &Node, watch: &Arc<Watch>) -> Self {
        Self {
            id: Arc::clone(&node.id),
            in_flight: AtomicU32::new(0),
            latency: Latency::default(),
            failures: AtomicU32::new(0),
            refuses_until: AtomicU64::new(0),
            told: AtomicBool::new(false),
            watch: Arc::clone(watch),
        }
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in how a call ended that began so many nanoseconds after the selector; none if it was cancelled.
    pub(super) fn report(self: &Arc<Self>, outcome: Option<Outcome>, start: u64) {
        let now = self.watch.now();
        let succeeded = outcome == Some(Outcome::Success);
        self.latency
            .record(now, now.saturating_sub(start), succeeded);
        match outcome {
            Some(Outcome::Success) => self.succeeded(),
            Some(Outcome::Failure) => self.failed(),
            Some(Outcome::Refused) => {
                self.refuses_until
                    .store(now + nanos(REFUSES), Ordering::Relaxed);
                self.tell(true);
            }
            None => {}
        }
    }

    fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.refuses_until.load(Ordering::Relaxed) > 0 {
            self.refuses_until.store(0, Ordering::Relaxed);
        }
    }

    fn failed(self: &Arc<Self>) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.watch.failures {
            self.tell(false);
        }
    }

    fn tell(self: &Arc<Self>, refused: bool) {
        if !self.told.swap(true, Ordering::Relaxed) {
            // Without a task there is no selector either.
            let _ = self.watch.told.send(Told {
                id: Arc::clone(&self.id),
                stats: Arc::clone(self),
                refused,
            });
        }
    }

    /// After so many failures, more of them are told again.
    pub(super) fn reset(&self, failures: u32) {
        self.failures.store(failures, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
    }

    fn load_at(&self, time: u64) -> f32 {
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f32;
        match self.latency.at(time) {
            Some(nanos) => nanos * (in_flight + 1.0),
            None => in_flight * 1e9,
        }
    }
}

/// 64 bits of them last for centuries.
const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl Peer {
    pub(super) fn new(node: &Arc<Node>, service: &Service, stats: Arc<Stats>) -> Self {
        Self {
            node: Arc::clone(node),
            version: Arc::clone(&service.version),
            stats,
            seat: AtomicUsize::new(0),
            #[cfg(feature = "hyper")]
            authority: std::sync::OnceLock::new(),
        }
    }

    /// Its address as a part of URLs.
    #[cfg(feature = "hyper")]
    pub(crate) fn authority(&self) -> Result<Authority, InvalidUri> {
        if let Some(known) = self.authority.get() {
            return Ok(known.clone());
        }
        let read = Authority::try_from(&*self.node.address)?;
        Ok(self.authority.get_or_init(|| read).clone())
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The version of the service that it runs.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// How many calls of this selector are under way there: guards that were not dropped yet.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.stats.in_flight.load(Ordering::Relaxed)
    }

    /// How long its calls take: a moving average that follows a rise at once and a fall slowly, and
    /// fades while there are none. None before the first call.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let nanos = self.stats.latency.at(self.stats.watch.time(now))?;
        Some(Duration::from_nanos(nanos as u64))
    }

    /// How long a call may have to wait there, in nanoseconds: the latency for each call under way
    /// and the new one. A node that has not answered yet gets one call, and no second one while
    /// there are others.
    #[must_use]
    pub fn load(&self, now: Instant) -> f32 {
        self.stats.load_at(self.stats.watch.time(now))
    }

    /// Whether less [`load`](Self::load) awaits a call there than at another node of the selector.
    pub(crate) fn is_less_loaded(&self, than: &Self, call: &Call) -> bool {
        let time = match call.start {
            Some(start) => start.nanos,
            None => self.stats.watch.now(),
        };
        self.stats.load_at(time) < than.stats.load_at(time)
    }

    /// Whether it refused a connection, and has answered none since.
    #[cfg(feature = "hyper")]
    pub(crate) fn refuses(&self) -> bool {
        self.stats.refuses_until.load(Ordering::Relaxed) > 0
    }

    /// Whether a call may go there although it may refuse: one each second finds out.
    #[cfg(feature = "hyper")]
    pub(crate) fn may_try(&self) -> bool {
        let until = &self.stats.refuses_until;
        let seen = until.load(Ordering::Relaxed);
        if seen == 0 {
            return true;
        }
        let now = self.stats.watch.now();
        let next = now + nanos(REFUSES);
        now >= seen
            && until
                .compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Its share of the calls: `vine.weight`, or else 1.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let weight = self.node.metadata.get(Node::WEIGHT);
        let weight = weight.and_then(|weight| weight.trim().parse().ok());
        weight
            .filter(|weight: &f64| weight.is_finite() && *weight > 0.0)
            .unwrap_or(1.0)
    }

    /// Whether it is still this node in this version.
    pub(super) fn is(&self, node: &Arc<Node>, service: &Service) -> bool {
        Arc::ptr_eq(&self.node, node) && self.version == service.version
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("in_flight", &self.in_flight)
            .field("latency", &self.latency)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("node", &self.node)
            .field("version", &self.version)
            .field("stats", &self.stats)
            .finish()
    }
}
