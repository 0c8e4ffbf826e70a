use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    Config, Fallback,
    peers::{List, Peers},
    roster::Judged,
    table::Tier,
};
use crate::Arrangement;

/// How good a node is that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// In the preferred zone, or there is none.
    Near,
    Far,
    Ejected,
    Suspect,
}

/// The nodes that fit by how good they are. Who comes, goes or gets better or worse changes a list;
/// the others are not looked at.
#[derive(Default)]
pub(super) struct Ranks {
    lists: [List; 4],
    /// How many nodes there are in the preferred zone, healthy or not.
    near_known: usize,
    /// As they were arranged last.
    tiers: SmallVec<[Tier; 1]>,
}

impl Ranks {
    /// Takes in a node that was judged.
    pub(super) fn enter(&mut self, judged: &mut Judged) {
        self.near_known += usize::from(judged.is_known_near());
        self.put(judged, judged.rank_by_place());
    }

    /// Lets a node go that was judged.
    pub(super) fn leave(&mut self, judged: &Judged) {
        self.near_known -= usize::from(judged.is_known_near());
        if let (Some(peer), Some(rank)) = (judged.peer(), judged.rank) {
            self.lists[rank as usize].remove(peer);
        }
    }

    /// Moves a node to its rank, if it fits.
    pub(super) fn put(&mut self, judged: &mut Judged, rank: Rank) {
        let Some(peer) = judged.peer() else { return };
        if judged.rank != Some(rank) {
            if let Some(before) = judged.rank {
                self.lists[before as usize].remove(peer);
            }
            self.lists[rank as usize].push(peer);
            judged.rank = Some(rank);
        }
    }

    /// How many nodes fit, those left out that vanished.
    pub(super) fn fit(&self) -> usize {
        let ranks = [Rank::Near, Rank::Far, Rank::Ejected];
        ranks
            .map(|rank| self.lists[rank as usize].len())
            .iter()
            .sum()
    }

    /// The tiers as they are now. What has not changed is not arranged again.
    pub(super) fn tiers(&mut self, config: &Config) -> SmallVec<[Tier; 1]> {
        let [mut near, mut far, ejected, suspects] = self.lists.each_mut().map(List::peers);
        let needed = config.zone.as_ref().map_or(0.0, |zone| zone.min_healthy);
        if near.is_empty() {
            near = std::mem::take(&mut far);
        } else if !far.is_empty() && (near.len() as f64) < needed * self.near_known as f64 {
            near = near.joined(&std::mem::take(&mut far));
        }
        let tiers = [
            (None, near),
            (Some(Fallback::Zone), far),
            (Some(Fallback::Ejected), ejected),
            (Some(Fallback::Suspect), suspects),
        ];
        let there = tiers.into_iter().filter(|(_, peers)| !peers.is_empty());
        let tiers = there.map(|(fallback, peers)| Tier {
            fallback,
            arrangement: self.arrangement(config, fallback, &peers),
            peers,
        });
        self.tiers = tiers.collect();
        self.tiers.clone()
    }

    fn arrangement(
        &self,
        config: &Config,
        fallback: Option<Fallback>,
        peers: &Peers,
    ) -> Arc<dyn Arrangement> {
        if let Some(same) = self.tiers.iter().find(|tier| tier.peers.ptr_eq(peers)) {
            return Arc::clone(&same.arrangement);
        }
        let before = self.tiers.iter().find(|tier| tier.fallback == fallback);
        let quickly = before.and_then(|tier| tier.arrangement.rearrange(peers));
        quickly
            .unwrap_or_else(|| config.strategy.arrange(peers))
            .into()
    }
}
