use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use super::{peer::Peer, table::Table};
use crate::{Call, strategy::Start};

/// What a call asks of the choice.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct Pick<'a> {
    /// The hash of what calls are held together by, for [`ConsistentHash`](crate::ConsistentHash).
    pub key: Option<u64>,
    /// Ids of nodes that are not to be picked: those that the call was tried on.
    pub avoid: &'a [Arc<str>],
    /// Which nodes may be picked: those that there is a connection to, for instance. All if none.
    pub only: Option<&'a dyn Fn(&Peer) -> bool>,
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

    /// Sets which nodes may be picked.
    #[must_use]
    pub fn only(mut self, may: &'a dyn Fn(&Peer) -> bool) -> Self {
        self.only = Some(may);
        self
    }

    /// What a strategy hears of it.
    pub(super) const fn call(&self, start: Option<Start>) -> Call {
        Call {
            key: self.key,
            start,
        }
    }

    /// Whether any node will do.
    pub(super) fn is_free(&self) -> bool {
        self.avoid.is_empty() && self.only.is_none()
    }

    fn avoids(&self, peer: &Peer) -> bool {
        self.avoid.contains(&peer.node().id) || self.only.is_some_and(|may| !may(peer))
    }
}

/// How often a strategy is asked for a node that is not avoided, before the next one is taken.
const ATTEMPTS: u64 = 4;

impl Table {
    /// The node for a call.
    pub(super) fn choose(&self, pick: &Pick<'_>, call: &Call) -> Option<&Peer> {
        if pick.is_free() {
            return self.tiers.first()?.choose(call);
        }
        for tier in &self.tiers {
            for attempt in 0..ATTEMPTS {
                // Another step than that of ConsistentHash, so that attempts share no places.
                let step = attempt.wrapping_mul(0xd1b5_4a32_d192_ed03);
                let call = Call {
                    key: call.key.map(|key| key.wrapping_add(step)),
                    ..*call
                };
                if let Some(peer) = tier.choose(&call).filter(|peer| !pick.avoids(peer)) {
                    return Some(peer);
                }
            }
            // From anywhere, or else the one after those avoided would get all their calls.
            let any = || fastrand::u64(..);
            let start = pick.key.unwrap_or_else(any) as usize % tier.peers.len().max(1);
            let positions = (start..tier.peers.len()).chain(0..start);
            let mut others = positions.filter_map(|at| tier.peers.get(at));
            if let Some(peer) = others.find(|peer| !pick.avoids(peer)) {
                return Some(peer);
            }
        }
        None
    }
}

impl fmt::Debug for Pick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick")
            .field("key", &self.key)
            .field("avoid", &self.avoid)
            .field("only", &self.only.is_some())
            .finish()
    }
}
