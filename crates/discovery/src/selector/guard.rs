use std::{sync::Arc, time::Duration};

use vine_registry::Node;

use super::peer::Peer;

/// A node that was picked for a call. Keep it while the call is under way, and say how it ended.
///
/// Dropped without that it counts as cancelled: neither as a success nor as a failure, but as
/// something that took longer than until then.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    peer: Arc<Peer>,
    /// In nanoseconds since the selector was made.
    start: u64,
    reported: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The node did what it was asked, or said properly that it won't.
    Success,
    /// The node failed: it broke off, timed out or said that the fault is its own.
    Failure,
    /// No connection to the node came about, so it has not seen the call.
    Refused,
}

impl Guard {
    pub(super) fn new(peer: &Arc<Peer>, start: u64) -> Self {
        peer.stats.begin();
        Self {
            peer: Arc::clone(peer),
            start,
            reported: false,
        }
    }

    /// The node that was picked.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        self.peer.node()
    }

    /// The node, with what its calls have shown.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// How long ago it was picked.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let now = self.peer.stats.watch.now();
        Duration::from_nanos(now.saturating_sub(self.start))
    }

    /// Says how the call ended, and that it took until now; only the first time counts. Until the
    /// guard is dropped, the call goes on counting as under way: of an answer in parts, report the
    /// beginning and drop the guard at the end.
    pub fn report(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.reported, true) {
            self.peer.stats.report(Some(outcome), self.start);
        }
    }

    /// Reports a success; the call is over.
    pub fn succeed(mut self) {
        self.report(Outcome::Success);
    }

    /// Reports a failure; the call is over.
    pub fn fail(mut self) {
        self.report(Outcome::Failure);
    }

    /// Reports that no connection came about; the call is over.
    pub fn refuse(mut self) {
        self.report(Outcome::Refused);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.reported {
            self.peer.stats.report(None, self.start);
        }
        self.peer.stats.end();
    }
}
