//! Which of several nodes gets a call.

mod consistent_hash;
mod least_loaded;
mod random;
mod round_robin;
mod weighted;

use std::{fmt, sync::Arc};

use tokio::time::Instant;

pub use self::{
    consistent_hash::ConsistentHash, least_loaded::LeastLoaded, random::Random,
    round_robin::RoundRobin, weighted::Weighted,
};
use crate::Peers;

/// A rule by which one of several nodes gets a call. A type of your own is as good as those here.
///
/// Whenever the nodes change, they are arranged anew, or [by what changed](Arrangement::rearrange);
/// in between, each call takes one of the arrangement, so that choosing costs nanoseconds.
///
/// ```
/// use vine_discovery::{Arrangement, Call, Peers, Strategy};
///
/// /// Always the first by id, as long as it is there.
/// #[derive(Debug)]
/// struct First;
///
/// impl Strategy for First {
///     fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
///         let first = peers.iter().enumerate().min_by_key(|(_, peer)| &peer.node().id);
///         Box::new(Always(first.map_or(0, |(at, _)| at)))
///     }
/// }
///
/// struct Always(usize);
///
/// impl Arrangement for Always {
///     fn choose(&self, _call: &Call) -> usize {
///         self.0
///     }
/// }
/// ```
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// Prepares the choice among these nodes, of which there is at least one.
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement>;
}

/// The call that a node is chosen for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Call {
    /// The hash of what calls are held together by.
    pub key: Option<u64>,
    /// When the node was asked for, if that was needed already: see [`time`](Self::time).
    pub(crate) start: Option<Start>,
}

/// When a call began: on the clock, and in nanoseconds since its selector was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) instant: Instant,
    pub(crate) nanos: u64,
}

impl Call {
    /// When the node was asked for. Reads the clock if nobody did.
    #[must_use]
    pub fn time(&self) -> Instant {
        self.start.map_or_else(Instant::now, |start| start.instant)
    }
}

/// Nodes as a [`Strategy`] has arranged them.
pub trait Arrangement: Send + Sync {
    /// The position of a node for the next call; one beyond the end stands for the first node.
    ///
    /// When a call is tried again on another node, it comes with another key.
    fn choose(&self, call: &Call) -> usize;

    /// The arrangement of other nodes, if it can be made of this one more quickly than anew. Which
    /// of them are others, [`Peers::differences`] finds quickly.
    fn rearrange(&self, _peers: &Peers) -> Option<Box<dyn Arrangement>> {
        None
    }
}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        (**self).arrange(peers)
    }
}
