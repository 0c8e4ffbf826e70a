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
use crate::Peer;

/// A rule by which one of several nodes gets a call. A type of your own is as good as those here.
///
/// Whenever the nodes change, they are arranged anew; in between, each call takes one of the
/// arrangement, so that choosing costs nanoseconds.
///
/// ```
/// use std::sync::Arc;
/// use vine_discovery::{Arrangement, Call, Peer, Strategy};
///
/// /// Always the first by id, as long as it is there.
/// #[derive(Debug)]
/// struct First;
///
/// impl Strategy for First {
///     fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement> {
///         let first = (0..peers.len()).min_by_key(|&at| &peers[at].node().id);
///         Box::new(Always(first.unwrap_or(0)))
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
    fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement>;
}

/// The call that a node is chosen for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Call {
    /// The hash of what calls are held together by.
    pub key: Option<u64>,
    /// When the node was asked for, if that was needed already: see [`time`](Self::time).
    pub(crate) start: Option<Instant>,
}

impl Call {
    /// When the node was asked for. Reads the clock if nobody did.
    #[must_use]
    pub fn time(&self) -> Instant {
        self.start.unwrap_or_else(Instant::now)
    }
}

/// Nodes as a [`Strategy`] has arranged them.
pub trait Arrangement: Send + Sync {
    /// The position of a node for the next call; one beyond the end stands for the first node.
    ///
    /// When a call is tried again on another node, it comes with another key.
    fn choose(&self, call: &Call) -> usize;
}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement> {
        (**self).arrange(peers)
    }
}
