use std::{collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use vine_registry::{Node, Service, Services};

use super::{
    Config, Exclusion, Fallback,
    ejection::Ejected,
    peer::{Peer, Stats, Watch},
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

/// The nodes that fit, by id: what their calls have shown outlasts a table.
#[derive(Default)]
pub(super) struct Roster(HashMap<Arc<str>, Arc<Peer>, RandomState>);

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
    /// The table for what is known now; the roster becomes that of the nodes there are now.
    pub(super) fn build(
        config: &Config,
        watch: &Arc<Watch>,
        known: Arc<Known>,
        ejected: &mut Ejected,
        roster: &mut Roster,
    ) -> Self {
        let old = std::mem::take(roster);
        let mut sorted = Sorted::default();
        let mut fit = Vec::new();
        sift(config, &known.services, |service, node, out| {
            if out.is_none() {
                fit.push(roster.renew(&old, watch, service, node));
            }
            let counts = matches!(out, None | Some(Exclusion::Draining | Exclusion::Down));
            sorted.near_known += usize::from(counts && config.is_near(node));
        });
        ejected.keep(&config.ejection, fit.len(), |id, stats| {
            roster.has(id, stats)
        });
        for peer in fit {
            let list = if ejected.is_out(&peer.node().id) {
                &mut sorted.ejected
            } else if config.is_near(peer.node()) {
                &mut sorted.near
            } else {
                &mut sorted.far
            };
            list.push(peer);
        }
        sift(config, &known.suspects, |service, node, out| {
            if out.is_none() {
                sorted.near_known += usize::from(config.is_near(node));
                let peer = roster.renew(&old, watch, service, node);
                sorted.suspects.push(peer);
            }
        });
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

/// Goes through the nodes and says of each why it is out, if it is.
pub(super) fn sift<'a>(
    config: &Config,
    services: &'a Services,
    mut each: impl FnMut(&'a Service, &'a Arc<Node>, Option<Exclusion>),
) {
    for service in services {
        let all_out = config.filter.excludes_service(service);
        for node in &service.nodes {
            let out = all_out.or_else(|| config.filter.excludes_node(service, node));
            each(service, node, out);
        }
    }
}

impl Roster {
    /// The peer as before if nothing changed; a new one at the same address keeps its stats.
    fn renew(
        &mut self,
        old: &Self,
        watch: &Arc<Watch>,
        service: &Service,
        node: &Arc<Node>,
    ) -> Arc<Peer> {
        let peer = match old.0.get(&node.id) {
            Some(peer) if peer.is(node, service) => Arc::clone(peer),
            Some(peer) if peer.node().address == node.address => {
                Arc::new(Peer::new(node, service, Arc::clone(&peer.stats)))
            }
            _ => {
                let stats = Arc::new(Stats::new(node, watch));
                Arc::new(Peer::new(node, service, stats))
            }
        };
        self.0.insert(Arc::clone(&node.id), Arc::clone(&peer));
        peer
    }

    /// Whether this is still the same process.
    fn has(&self, id: &str, stats: &Arc<Stats>) -> bool {
        let peer = self.0.get(id);
        peer.is_some_and(|peer| Arc::ptr_eq(&peer.stats, stats))
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
