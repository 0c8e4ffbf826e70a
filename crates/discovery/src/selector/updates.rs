use std::fmt;

use tokio::sync::watch;

use super::{Peer, Selector};

/// The nodes that a selector's calls may go to, whenever they change. Keeps the selector alive.
pub struct Updates {
    selector: Selector,
    published: watch::Receiver<u64>,
}

impl Updates {
    pub(super) fn new(selector: Selector) -> Self {
        let mut published = selector.0.core.published.subscribe();
        published.mark_changed();
        Self {
            selector,
            published,
        }
    }

    /// The nodes now, the preferred ones first: at once the first time, then after each change.
    /// Of several changes, only the last is told.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Vec<Peer> {
        // The selector holds the sender.
        let _ = self.published.changed().await;
        self.selector.peers()
    }

    /// As [`next`](Self::next), without those that get calls only when no other is left.
    #[cfg(feature = "tower")]
    pub(crate) async fn next_preferred(&mut self) -> Vec<Peer> {
        let _ = self.published.changed().await;
        let table = self.selector.0.core.table.load();
        let first = table.tiers.first();
        first.map_or_else(Vec::new, |tier| tier.peers.iter().cloned().collect())
    }
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates")
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}
