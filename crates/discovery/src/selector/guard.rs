use std::{sync::Arc, time::Duration};

#[cfg(feature = "hyper")]
use http::uri::{Authority, InvalidUri};
use vine_registry::Node;

use super::{Peer, peer::Underway};

/// A node that was picked for a call. Keep it while the call is under way, and say how it ended.
///
/// Dropped without that it counts as cancelled: neither as a success nor as a failure, but as
/// something that took longer than until then.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    call: Underway,
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
    pub(super) fn new(peer: &Peer, start: u64) -> Self {
        Self {
            call: peer.begin(start),
            start,
            reported: false,
        }
    }

    /// The node that was picked.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        self.call.node()
    }

    /// The node, with what its calls have shown.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.call.peer()
    }

    /// The node's address as a part of URLs.
    #[cfg(feature = "hyper")]
    pub(crate) fn authority(&self) -> Result<Authority, InvalidUri> {
        self.call.authority()
    }

    /// Whether the call may go there although the node may refuse: one each second finds out.
    #[cfg(feature = "hyper")]
    pub(crate) fn may_try(&self) -> bool {
        self.call.may_try()
    }

    /// How long ago it was picked.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let now = self.call.now();
        Duration::from_nanos(now.saturating_sub(self.start))
    }

    /// Says how the call ended, and that it took until now; only the first time counts. Until the
    /// guard is dropped, the call goes on counting as under way: of an answer in parts, report the
    /// beginning and drop the guard at the end.
    pub fn report(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.reported, true) {
            self.call.report(Some(outcome), self.start);
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
            self.call.report(None, self.start);
        }
    }
}
