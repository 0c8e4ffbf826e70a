use std::{
    fmt, ptr,
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

/// A node as a selector sees it: with what its calls have shown. Clones are the same.
pub struct Peer(Arc<Inner>);

/// A call that is under way at a peer. Only calls and peers hold an [`Inner`], and the peers are counted:
/// so the calls need no count of their own, and each costs no more than to take hold and to let go.
#[derive(Debug)]
pub(super) struct Underway {
    inner: Arc<Inner>,
    /// Where it counts, if elsewhere.
    first: Option<Arc<Inner>>,
}

/// What each call needs stands first and close together, for calls wait for memory the longest.
#[repr(C)]
struct Inner {
    /// The first that stood for the process behind the address, if the node was another one then.
    first: Option<Peer>,
    /// What calls have shown, unless `first` has that.
    stats: Stats,
    node: Arc<Node>,
    /// The service in the node's version.
    version: Arc<str>,
    weight: f64,
    /// Where it stands in the list of its tier. The selector's task alone asks.
    seat: AtomicUsize,
    /// Its address as a part of URLs, once a call needed that.
    #[cfg(feature = "hyper")]
    authority: std::sync::OnceLock<Authority>,
}

/// What calls have shown of the process behind an address: stays when the node's metadata changes.
#[repr(C)]
struct Stats {
    /// How many peers hold them. Whoever else does is a call.
    holders: AtomicUsize,
    latency: Latency,
    reports: Arc<Reports>,
    /// Calls are under way, and since then none of them has ended, in nanoseconds; 0 if one has.
    silent_since: AtomicU64,
    /// It refuses connections, and until then none is tried, in nanoseconds; 0 if it does not.
    refuses_until: AtomicU64,
    /// Until then the registry hears of no more refusals.
    reported_until: AtomicU64,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The selector's task was told, and has not answered by [`reset`](Peer::reset).
    told: AtomicBool,
}

/// Where stats report nodes that fail.
#[derive(Debug)]
pub(super) struct Reports {
    /// What time is counted from.
    pub(super) start: Instant,
    /// So many failures without a success between are told.
    pub(super) failures: u32,
    pub(super) told: mpsc::UnboundedSender<Told>,
}

/// What the selector's task is told: once until it has answered, and of refusals once a second.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) peer: Peer,
    /// No connection came about.
    pub(super) refused: bool,
}

impl Reports {
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
    fn new(reports: &Arc<Reports>) -> Self {
        Self {
            holders: AtomicUsize::new(0),
            latency: Latency::default(),
            failures: AtomicU32::new(0),
            silent_since: AtomicU64::new(0),
            refuses_until: AtomicU64::new(0),
            reported_until: AtomicU64::new(0),
            told: AtomicBool::new(false),
            reports: Arc::clone(reports),
        }
    }

    /// A call begins. Mostly there is nothing to write.
    fn begin(&self, now: u64) {
        if self.silent_since.load(Ordering::Relaxed) == 0 {
            self.silent_since.store(now.max(1), Ordering::Relaxed);
        }
    }

    fn end(&self, now: u64, took: u64, succeeded: bool) {
        self.latency.record(now, took, succeeded);
        if self.silent_since.load(Ordering::Relaxed) > 0 {
            self.silent_since.store(0, Ordering::Relaxed);
        }
    }

    /// How long calls have been under way without an end, in nanoseconds.
    fn silence(&self, now: u64) -> u64 {
        match self.silent_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
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
}

/// 64 bits of them last for centuries.
const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

fn weight(node: &Node) -> f64 {
    let said = node.metadata.get(Node::WEIGHT);
    let weight = said.and_then(|weight| weight.trim().parse().ok());
    weight
        .filter(|weight: &f64| weight.is_finite() && *weight > 0.0)
        .unwrap_or(1.0)
}

impl Underway {
    pub(super) fn peer(&self) -> Peer {
        Peer::of(Arc::clone(&self.inner))
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.inner.node
    }

    /// The node's address as a part of URLs.
    #[cfg(feature = "hyper")]
    pub(super) fn authority(&self) -> Result<Authority, InvalidUri> {
        let known = &self.inner.authority;
        if let Some(known) = known.get() {
            return Ok(known.clone());
        }
        let read = Authority::try_from(&*self.inner.node.address)?;
        Ok(known.get_or_init(|| read).clone())
    }

    /// The nanoseconds since the selector was made.
    pub(super) fn now(&self) -> u64 {
        self.inner.stats.reports.now()
    }

    /// Whether it may go there although the node may refuse: one each second finds out.
    #[cfg(feature = "hyper")]
    pub(super) fn may_try(&self) -> bool {
        let stats = self.stats();
        let until = &stats.refuses_until;
        let seen = until.load(Ordering::Relaxed);
        if seen == 0 {
            return true;
        }
        let now = stats.reports.now();
        let next = now + nanos(REFUSES);
        now >= seen
            && until
                .compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn stats(&self) -> &Stats {
        &self.first.as_ref().unwrap_or(&self.inner).stats
    }

    /// Takes in how it ended, if not cancelled, and that it began so many nanoseconds after the selector.
    pub(super) fn report(&self, outcome: Option<Outcome>, start: u64) {
        let stats = self.stats();
        let now = stats.reports.now();
        let took = now.saturating_sub(start);
        stats.end(now, took, outcome == Some(Outcome::Success));
        match outcome {
            Some(Outcome::Success) => stats.succeeded(),
            Some(Outcome::Failure) => {
                let failures = stats.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= stats.reports.failures {
                    self.tell(false);
                }
            }
            Some(Outcome::Refused) => {
                let until = now + nanos(REFUSES);
                stats.refuses_until.store(until, Ordering::Relaxed);
                let is_news = stats.reported_until.load(Ordering::Relaxed) <= now;
                if is_news {
                    stats.reported_until.store(until, Ordering::Relaxed);
                }
                self.tell(is_news);
            }
            None => {}
        }
    }

    fn tell(&self, refused: bool) {
        let stats = self.stats();
        // A refusal is for the registry, too, which may not have heard of what was told before.
        if !stats.told.swap(true, Ordering::Relaxed) || refused {
            let peer = self.peer();
            // Without a task there is no selector either.
            let _ = stats.reports.told.send(Told { peer, refused });
        }
    }
}

impl Peer {
    /// A node of which no call has shown anything yet.
    pub(super) fn new(node: &Arc<Node>, service: &Service, reports: &Arc<Reports>) -> Self {
        Self::with_first(None, node, service, reports)
    }

    /// Another node for the same process.
    pub(super) fn renewed(&self, node: &Arc<Node>, service: &Service) -> Self {
        Self::with_first(Some(self.first().clone()), node, service, self.reports())
    }

    fn with_first(
        first: Option<Self>,
        node: &Arc<Node>,
        service: &Service,
        reports: &Arc<Reports>,
    ) -> Self {
        Self::of(Arc::new(Inner {
            stats: Stats::new(reports),
            first,
            node: Arc::clone(node),
            version: Arc::clone(&service.version),
            weight: weight(node),
            seat: AtomicUsize::new(0),
            #[cfg(feature = "hyper")]
            authority: std::sync::OnceLock::new(),
        }))
    }

    fn of(inner: Arc<Inner>) -> Self {
        inner.stats.holders.fetch_add(1, Ordering::Relaxed);
        Self(inner)
    }

    fn first(&self) -> &Self {
        self.0.first.as_ref().unwrap_or(self)
    }

    fn stats(&self) -> &Stats {
        &self.first().0.stats
    }

    fn reports(&self) -> &Arc<Reports> {
        &self.0.stats.reports
    }

    /// Sends a call there, so many nanoseconds after the selector was made.
    pub(super) fn begin(&self, now: u64) -> Underway {
        self.stats().begin(now);
        let first = self.0.first.as_ref();
        Underway {
            inner: Arc::clone(&self.0),
            first: first.map(|first| Arc::clone(&first.0)),
        }
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where it stands in the list of its tier.
    pub(super) fn seat(&self) -> &AtomicUsize {
        &self.0.seat
    }

    /// After so many failures, more of them are told again.
    pub(super) fn reset(&self, failures: u32) {
        let stats = self.stats();
        stats.failures.store(failures, Ordering::Relaxed);
        stats.told.store(false, Ordering::Relaxed);
    }

    /// What the process behind it can be told by, as long as a peer of it is there.
    pub(super) fn process(&self) -> *const () {
        ptr::from_ref(self.stats()).cast()
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    /// The version of the service that it runs.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.0.version
    }

    /// How many calls of this selector are under way there: guards that were not dropped yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let first = self.first();
        // Who comes or goes meanwhile counts or not.
        let holders = first.0.stats.holders.load(Ordering::Relaxed);
        Arc::strong_count(&first.0).saturating_sub(holders)
    }

    /// How long its calls take: a moving average that follows a rise at once and a fall slowly, and
    /// fades while there are none. None before the first call.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let nanos = self.stats().latency.at(self.reports().time(now))?;
        Some(Duration::from_nanos(nanos as u64))
    }

    /// How long a call may have to wait there, in nanoseconds: the latency for each call under way
    /// and the new one, or for how long those under way have been waiting, if that is more. A node that has not answered yet gets one call, and no second one while
    /// there are others.
    #[must_use]
    pub fn load(&self, now: Instant) -> f32 {
        self.load_at(self.reports().time(now))
    }

    // The compiler would compute the loads of two nodes as one, which takes longer.
    #[inline(never)]
    fn load_at(&self, time: u64) -> f32 {
        let in_flight = self.in_flight() as f32;
        match self.stats().latency.at(time) {
            // Who has kept silent for longer than he takes may hang.
            Some(nanos) => nanos.max(self.stats().silence(time) as f32) * (in_flight + 1.0),
            None => in_flight * 1e9,
        }
    }

    /// Whether less [`load`](Self::load) awaits a call there than at another node of the selector.
    pub(crate) fn is_less_loaded(&self, than: &Self, call: &Call) -> bool {
        let time = match call.start {
            Some(start) => start.nanos,
            None => self.reports().now(),
        };
        self.load_at(time) < than.load_at(time)
    }

    /// Whether it refused a connection, and has answered none since.
    #[cfg(feature = "hyper")]
    pub(crate) fn refuses(&self) -> bool {
        self.stats().refuses_until.load(Ordering::Relaxed) > 0
    }

    /// Its share of the calls: `vine.weight`, or else 1.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.0.weight
    }

    /// Whether it is still this node in this version.
    pub(super) fn is(&self, node: &Arc<Node>, service: &Service) -> bool {
        Arc::ptr_eq(&self.0.node, node) && self.0.version == service.version
    }
}

impl Clone for Peer {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.0))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.stats.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.first.as_ref().map_or(&self.stats, Peer::stats);
        f.debug_struct("Peer")
            .field("node", &self.node)
            .field("version", &self.version)
            .field("latency", &stats.latency)
            .field("failures", &stats.failures)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin(usize),
        End(usize),
        Clone(usize),
        Drop(usize),
        Renew(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<usize>().prop_map(Step::Begin),
            any::<usize>().prop_map(Step::End),
            any::<usize>().prop_map(Step::Clone),
            any::<usize>().prop_map(Step::Drop),
            any::<usize>().prop_map(Step::Renew),
        ]
    }

    fn any_of<T>(list: &mut Vec<T>, number: usize) -> Option<T> {
        let len = list.len();
        (len > 0).then(|| list.swap_remove(number % len))
    }

    proptest! {
        /// The calls under way at a process are counted, whoever holds its peers, and however often its
        /// node was another one since.
        #[test]
        fn calls_under_way_are_counted(steps in prop::collection::vec(step(), 0..200)) {
            let (told, _failures) = mpsc::unbounded_channel();
            let reports = Arc::new(Reports { start: Instant::now(), failures: 1, told });
            let service = Service::new("s", "v1");
            let node = Arc::new(Node::new("a", "h:1"));
            let mut peers = vec![Peer::new(&node, &service, &reports)];
            let mut calls = Vec::new();
            for step in steps {
                match step {
                    Step::Begin(at) => calls.push(peers[at % peers.len()].begin(1)),
                    Step::End(at) => drop(any_of(&mut calls, at)),
                    Step::Clone(at) => peers.push(peers[at % peers.len()].clone()),
                    Step::Drop(at) if peers.len() > 1 => drop(any_of(&mut peers, at)),
                    Step::Drop(_) => {}
                    Step::Renew(at) => peers.push(peers[at % peers.len()].renewed(&node, &service)),
                }
                for peer in &peers {
                    prop_assert_eq!(peer.in_flight(), calls.len());
                }
                for call in &calls {
                    prop_assert_eq!(call.peer().in_flight(), calls.len());
                }
            }
        }
    }
}
