use std::{fmt, sync::Arc};

use smallvec::SmallVec;

use super::{
    Config, Exclusion, Fallback,
    ejection::Ejected,
    peer::{Peer, Stats, Watch},
    roster::{Judged, Roster},
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
pub(super) struct Tier {
    /// Why they are not preferred, if not.
    pub(super) fallback: Option<Fallback>,
    pub(super) peers: Arc<[Arc<Peer>]>,
    arrangement: Box<dyn Arrangement>,
}

/// The nodes by how good they are.
#[derive(Default)]
struct Sorted {
    near: Vec<Arc<Peer>>,
    /// How many nodes there are in the own zone, healthy or not.
    near_known: usize,
    far: Vec<Arc<Peer>>,
    ejected: Vec<Arc<Peer>>,
    suspects: Vec<Arc<Peer>>,
}

impl Table {
    /// The table for what is known now, which the roster takes in.
    pub(super) fn build(
        config: &Config,
        watch: &Arc<Watch>,
        known: Arc<Known>,
        ejected: &mut Ejected,
        roster: &mut Roster,
    ) -> Self {
        roster.renew(config, watch, &known);
        if !ejected.is_empty() {
            let fit = roster.live().filter(|judged| judged.peer().is_some());
            let processes = roster.processes();
            let is_there = |stats: &Arc<Stats>| processes.contains(&Arc::as_ptr(stats));
            ejected.keep(&config.ejection, fit.count(), is_there);
        }
        let mut sorted = Sorted::default();
        for judged in roster.live() {
            sorted.add(judged, ejected);
        }
        for judged in roster.suspects() {
            sorted.add_suspect(judged);
        }
        let tiers = sorted.into_tiers(config);
        Self { known, tiers }
    }

    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.tiers.iter().flat_map(|tier| &*tier.peers);
        peers.cloned().collect()
    }

    /// How many of the nodes fit, those left out that vanished.
    pub(super) fn fit(&self) -> usize {
        let tiers = self.tiers.iter();
        let live = tiers.filter(|tier| tier.fallback != Some(Fallback::Suspect));
        live.map(|tier| tier.peers.len()).sum()
    }
}

impl Sorted {
    fn add(&mut self, judged: &Judged, ejected: &Ejected) {
        let is_near = judged.is_near;
        match &judged.verdict {
            Some(Ok(peer)) => {
                self.near_known += usize::from(is_near);
                let list = if ejected.is_out(&peer.node().id) {
                    &mut self.ejected
                } else if is_near {
                    &mut self.near
                } else {
                    &mut self.far
                };
                list.push(Arc::clone(peer));
            }
            Some(Err(Exclusion::Draining | Exclusion::Down)) => {
                self.near_known += usize::from(is_near);
            }
            _ => {}
        }
    }

    fn add_suspect(&mut self, judged: &Judged) {
        if let Some(peer) = judged.peer() {
            self.near_known += usize::from(judged.is_near);
            self.suspects.push(Arc::clone(peer));
        }
    }

    fn into_tiers(mut self, config: &Config) -> SmallVec<[Tier; 1]> {
        let needed = config.zone.as_ref().map_or(0.0, |zone| zone.min_healthy);
        let healthy = self.near.len() as f64;
        if self.near.is_empty() || healthy < needed * self.near_known as f64 {
            self.near.append(&mut self.far);
        }
        let tiers = [
            (None, self.near),
            (Some(Fallback::Zone), self.far),
            (Some(Fallback::Ejected), self.ejected),
            (Some(Fallback::Suspect), self.suspects),
        ];
        let there = tiers.into_iter().filter(|(_, peers)| !peers.is_empty());
        let tiers = there.map(|(fallback, peers)| {
            let peers = peers.into();
            Tier {
                fallback,
                arrangement: config.strategy.arrange(&peers),
                peers,
            }
        });
        tiers.collect()
    }
}

impl Tier {
    pub(super) fn choose(&self, call: &Call) -> Option<&Arc<Peer>> {
        let at = self.arrangement.choose(call);
        self.peers.get(at).or_else(|| self.peers.first())
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            known: Arc::new(Known::unknown(None)),
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
