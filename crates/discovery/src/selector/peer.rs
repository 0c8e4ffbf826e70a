use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use vine_registry::{Node, Service};

use super::Outcome;

/// A node as a selector sees it: with what its calls have shown.
pub struct Peer {
    node: Arc<Node>,
    /// The service in the node's version.
    version: Arc<str>,
    pub(super) stats: Arc<Stats>,
}

/// What calls have shown of the process behind an address: stays when the node's metadata changes.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) in_flight: AtomicU32,
}

impl Stats {
    /// Takes in how a call ended, and how long it took.
    pub(super) fn report(&self, outcome: Outcome, took: Duration) {
        tracing::trace!(?outcome, ?took, "call ended");
    }
}

impl Peer {
    pub(super) fn new(node: &Arc<Node>, service: &Service, stats: Arc<Stats>) -> Self {
        Self {
            node: Arc::clone(node),
            version: Arc::clone(&service.version),
            stats,
        }
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

    /// How many calls of this selector are under way there, those of `with_pick` not counted.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.stats.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is still this node in this version.
    pub(super) fn is(&self, node: &Arc<Node>, service: &Service) -> bool {
        Arc::ptr_eq(&self.node, node) && self.version == service.version
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
