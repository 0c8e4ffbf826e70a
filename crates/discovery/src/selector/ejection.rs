use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::peer::Peer;
use crate::time::FOREVER;

/// When a node that fails gets no calls for a while.
///
/// After so many failures in a row, or one connection refused, a node is ejected: it gets calls only
/// when nothing better is left. After a time it is tried again; the next failure ejects it for
/// twice as long. A node that did well for as long as it was ejected starts anew.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ejection {
    /// How many failures in a row. 5 by default.
    pub failures: u32,
    /// How long at first. One second by default.
    pub base: Duration,
    /// How long at most. A minute by default.
    pub max: Duration,
    /// Which share of the nodes that fit may be ejected at a time, from 0 (none) to 1; rounded down
    /// to whole nodes. 0.5 by default.
    pub max_share: f64,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            max_share: 0.5,
        }
    }
}

impl Ejection {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many failures in a row eject a node.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how long a node is ejected, at first and at most.
    #[must_use]
    pub fn with_times(mut self, base: Duration, max: Duration) -> Self {
        (self.base, self.max) = (base, max);
        self
    }

    /// Sets which share of the nodes may be ejected at a time.
    #[must_use]
    pub fn with_max_share(mut self, share: f64) -> Self {
        self.max_share = share;
        self
    }

    fn time(&self, times: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
        self.base.saturating_mul(doubled).min(self.max).min(FOREVER)
    }

    fn limit(&self, nodes: usize) -> usize {
        (nodes as f64 * self.max_share.clamp(0.0, 1.0)) as usize
    }
}

/// The nodes of a selector that are ejected, or were lately, by id.
#[derive(Debug, Default)]
pub(super) struct Ejected(HashMap<Arc<str>, Case>);

#[derive(Debug)]
struct Case {
    peer: Peer,
    /// How often in a row.
    times: u32,
    until: Instant,
    is_out: bool,
}

impl Ejected {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_out(&self, id: &str) -> bool {
        !self.is_empty() && self.0.get(id).is_some_and(|case| case.is_out)
    }

    pub(super) fn any_out(&self) -> bool {
        self.0.values().any(|case| case.is_out)
    }

    /// When the next one comes back.
    pub(super) fn next(&self) -> Option<Instant> {
        let out = self.0.values().filter(|case| case.is_out);
        out.map(|case| case.until).min()
    }

    /// A node fails, of so many that fit; says whether it is ejected for that.
    pub(super) fn fails(
        &mut self,
        rules: &Ejection,
        peer: &Peer,
        nodes: usize,
        now: Instant,
    ) -> bool {
        let out = self.0.values().filter(|case| case.is_out).count();
        let id = &peer.node().id;
        let is_out = self.0.get(id).filter(|case| case.is_out);
        if is_out.is_some_and(|case| case.peer.process() == peer.process()) {
            // It is heard again when its time is over.
            return false;
        }
        if is_out.is_some() || out >= rules.limit(nodes) {
            peer.reset(0);
            return false;
        }
        let before = self.0.get(id).filter(|case| !case.is_over(rules, now));
        let times = before.map_or(1, |case| case.times.saturating_add(1));
        let case = Case {
            peer: peer.clone(),
            times,
            until: now + rules.time(times),
            is_out: true,
        };
        self.0.insert(Arc::clone(id), case);
        true
    }

    /// Takes back whose time is over, and forgets who did well since.
    pub(super) fn come_back(&mut self, rules: &Ejection, now: Instant) {
        self.0.retain(|_, case| {
            if case.is_out && case.until <= now {
                case.release(rules);
            }
            !case.is_over(rules, now)
        });
    }

    /// Keeps to the nodes that there are, and to the share of them: who would come back first comes
    /// back now.
    pub(super) fn keep(
        &mut self,
        rules: &Ejection,
        nodes: usize,
        is_there: impl Fn(&Peer) -> bool,
    ) {
        self.0.retain(|_, case| {
            let is_there = is_there(&case.peer);
            if !is_there {
                // As a suspect, or once it is back, it is heard again.
                case.peer.reset(0);
            }
            is_there
        });
        let mut out: Vec<_> = self.0.values_mut().filter(|case| case.is_out).collect();
        let above = out.len().saturating_sub(rules.limit(nodes));
        out.sort_unstable_by_key(|case| case.until);
        for case in out.into_iter().take(above) {
            case.release(rules);
        }
    }
}

impl Case {
    /// Whether it did well for as long as it was ejected.
    fn is_over(&self, rules: &Ejection, now: Instant) -> bool {
        !self.is_out && now >= self.until + rules.time(self.times)
    }

    /// The next failure ejects it again.
    fn release(&mut self, rules: &Ejection) {
        self.is_out = false;
        self.peer.reset(rules.failures.saturating_sub(1));
    }
}
