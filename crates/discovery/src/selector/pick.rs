use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{peer::Peer, table::Table};

/// What a call asks of the choice.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Pick<'a> {
    /// The hash of what calls are held together by, for [`ConsistentHash`](crate::ConsistentHash).
    pub key: Option<u64>,
    /// Ids of nodes that are not to be picked: those that the call was tried on.
    pub avoid: &'a [Arc<str>],
}

impl<'a> Pick<'a> {
    /// Any node.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what calls are held together by. It is hashed by XXH3, so every process that does so
    /// picks the same node.
    #[must_use]
    pub fn with_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(xxh3_64(key.as_ref()));
        self
    }

    /// Sets the ids of nodes that are not to be picked.
    #[must_use]
    pub fn avoiding(mut self, ids: &'a [Arc<str>]) -> Self {
        self.avoid = ids;
        self
    }

    fn avoids(&self, peer: &Peer) -> bool {
        self.avoid.contains(&peer.node().id)
    }
}

/// How often a strategy is asked for a node that is not avoided, before the next one is taken.
const ATTEMPTS: u64 = 4;

impl Table {
    pub(super) fn choose(&self, pick: &Pick<'_>) -> Option<&Arc<Peer>> {
        let first = self.tiers.first()?;
        if pick.avoid.is_empty() {
            return first.choose(pick.key);
        }
        for tier in &self.tiers {
            for attempt in 0..ATTEMPTS {
                // Another step than that of ConsistentHash, so that attempts share no places.
                let step = attempt.wrapping_mul(0xd1b5_4a32_d192_ed03);
                let key = pick.key.map(|key| key.wrapping_add(step));
                if let Some(peer) = tier.choose(key).filter(|peer| !pick.avoids(peer)) {
                    return Some(peer);
                }
            }
            if let Some(peer) = tier.peers.iter().find(|peer| !pick.avoids(peer)) {
                return Some(peer);
            }
        }
        None
    }
}
