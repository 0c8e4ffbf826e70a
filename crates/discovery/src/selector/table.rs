use std::{fmt, sync::Arc};

use smallvec::SmallVec;

use super::{
    Config, Fallback,
    ejection::Ejected,
    peer::{Peer, Reports},
    peers::Peers,
    roster::Roster,
};
use crate::{Arrangement, Call, Known};

/// Who may get the next call, in tiers: one of the first, and only when all of that were tried, one of
/// the next. Made anew whenever something changes.
pub(super) struct Table {
    /// What it was made for.
    pub(super) known: Arc<Known>,
    pub(super) tiers: SmallVec<[Tier; 1]>,
}

/// Nodes as good as each other; there is at least one.
#[derive(Clone)]
pub(super) struct Tier {
    /// Why they are not preferred, if not.
    pub(super) fallback: Option<Fallback>,
    pub(super) peers: Peers,
    pub(super) arrangement: Arc<dyn Arrangement>,
}

impl Table {
    /// The table for what is known now, which the roster takes in.
    pub(super) fn build(
        config: &Config,
        reports: &Arc<Reports>,
        known: Arc<Known>,
        ejected: &mut Ejected,
        roster: &mut Roster,
    ) -> Self {
        roster.renew(config, reports, &known, ejected);
        Self {
            known,
            tiers: roster.tiers(config),
        }
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        let peers = self.tiers.iter().flat_map(|tier| tier.peers.iter());
        peers.cloned().collect()
    }
}

impl Tier {
    pub(super) fn choose(&self, call: &Call) -> Option<&Peer> {
        let at = self.arrangement.choose(call);
        self.peers.get(at).or_else(|| self.peers.get(0))
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            known: Arc::new(Known::unknown()),
            tiers: SmallVec::new(),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = self.tiers.iter().map(|tier| (tier.fallback, &tier.peers));
        f.debug_list().entries(tiers).finish()
    }
}
