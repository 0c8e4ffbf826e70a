use std::{collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use vine_registry::Services;

use super::{
    Config, Exclusion,
    peer::{Peer, Stats},
};
use crate::{Arrangement, Known};

/// Who may get the next call, in tiers: one of the first, and only when all of that were tried, one of
/// the next. Made anew whenever something changes.
pub(super) struct Table {
    /// What it was made for.
    pub(super) known: Arc<Known>,
    pub(super) tiers: SmallVec<[Tier; 1]>,
    /// How many nodes are known, fit or not.
    pub(super) considered: usize,
}

/// Nodes as good as each other.
pub(super) struct Tier {
    pub(super) peers: Vec<Arc<Peer>>,
    pub(super) arrangement: Box<dyn Arrangement>,
}

/// All nodes that fit, by id: what their calls have shown outlasts a table.
pub(super) type Roster = HashMap<Arc<str>, Arc<Peer>, RandomState>;

impl Tier {
    pub(super) fn choose(&self, key: Option<u64>) -> Option<&Arc<Peer>> {
        let at = self.arrangement.choose(key);
        self.peers.get(at).or_else(|| self.peers.first())
    }
}

/// Goes through the nodes and says of each why it is out, if it is.
pub(super) fn sift(config: &Config, services: &Services, mut each: impl FnMut(Sifted<'_>)) {
    for service in services {
        let all_out = config.filter.excludes_service(service);
        for node in &service.nodes {
            let out = all_out.or_else(|| config.filter.excludes_node(service, node));
            each(Sifted { service, node, out });
        }
    }
}

pub(super) struct Sifted<'a> {
    pub(super) service: &'a vine_registry::Service,
    pub(super) node: &'a Arc<vine_registry::Node>,
    pub(super) out: Option<Exclusion>,
}

impl Table {
    /// The table for what is known now; the roster becomes that of the nodes there are now.
    pub(super) fn build(config: &Config, known: Arc<Known>, roster: &mut Roster) -> Self {
        let old = std::mem::take(roster);
        let mut tiers = SmallVec::new();
        let mut considered = 0;
        for services in [&known.services, &known.suspects] {
            let mut peers = Vec::new();
            sift(config, services, |sifted| {
                considered += 1;
                if sifted.out.is_none() {
                    let peer = renew(&old, &sifted);
                    roster.insert(Arc::clone(&peer.node().id), Arc::clone(&peer));
                    peers.push(peer);
                }
            });
            if !peers.is_empty() {
                let arrangement = config.strategy.arrange(&peers);
                tiers.push(Tier { peers, arrangement });
            }
        }
        Self {
            known,
            tiers,
            considered,
        }
    }

    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.tiers.iter().flat_map(|tier| &tier.peers);
        peers.cloned().collect()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            known: Arc::new(Known::unknown(None)),
            tiers: SmallVec::new(),
            considered: 0,
        }
    }
}

/// The peer as before if nothing changed; a new one at the same address keeps its stats.
fn renew(old: &Roster, sifted: &Sifted<'_>) -> Arc<Peer> {
    let Sifted { service, node, .. } = sifted;
    match old.get(&node.id) {
        Some(peer) if peer.is(node, service) => Arc::clone(peer),
        Some(peer) if peer.node().address == node.address => {
            Arc::new(Peer::new(node, service, Arc::clone(&peer.stats)))
        }
        _ => Arc::new(Peer::new(node, service, Arc::new(Stats::default()))),
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.tiers.iter().map(|tier| &tier.peers))
            .finish()
    }
}
