use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use vine_registry::{Node, Nodes, Service, Services};

use super::{
    Config, Exclusion,
    ejection::Ejected,
    peer::{Peer, Reports},
    ranks::{Rank, Ranks},
    table::Tier,
};
use crate::Known;

/// What is thought of each node that is known, from one table to the next: what calls have shown of a
/// node outlasts a table. Who stands where he stood before is not looked at again.
#[derive(Default)]
pub(super) struct Roster {
    live: Versions,
    suspects: Versions,
    ranks: Ranks,
    /// Some are ranked as ejected.
    any_out: bool,
}

#[derive(Default)]
struct Versions(Vec<Version>);

/// The nodes of a version, in the order in which they are listed.
struct Version {
    service: Arc<Service>,
    listed: Nodes,
    nodes: Vec<Judged>,
    /// Which of them are not judged yet.
    open: Vec<usize>,
}

/// A node, and whether it fits.
pub(super) struct Judged {
    node: Arc<Node>,
    /// It vanished with many others.
    is_suspect: bool,
    /// Whether it is in the preferred zone.
    is_near: bool,
    /// None until it is judged.
    verdict: Option<Result<Peer, Exclusion>>,
    /// Among whom it is, if it fits.
    pub(super) rank: Option<Rank>,
}

/// Those that no longer stand where they stood, by id: some stand elsewhere.
#[derive(Default)]
struct Moved(HashMap<Arc<str>, Peer, RandomState>);

impl Roster {
    /// Takes in what is known now, and keeps those ejected within their limits.
    pub(super) fn renew(
        &mut self,
        config: &Config,
        reports: &Arc<Reports>,
        known: &Known,
        ejected: &mut Ejected,
    ) {
        let Self { ranks, .. } = self;
        let mut moved = Moved::default();
        for (versions, services, is_suspect) in [
            (&mut self.live, &known.services, false),
            (&mut self.suspects, &known.suspects, true),
        ] {
            versions.list(services, is_suspect, |judged| {
                ranks.leave(&judged);
                moved.add(judged);
            });
        }
        for versions in [&mut self.live, &mut self.suspects] {
            versions.judge(config, |judged, service, out| {
                judged.verdict = Some(match out {
                    Some(out) => Err(out),
                    None => Ok(moved.peer(reports, &judged.node, service)),
                });
                ranks.enter(judged);
            });
        }
        if !ejected.is_empty() {
            let processes = self.processes();
            let is_there = |peer: &Peer| processes.contains(&peer.process());
            ejected.keep(&config.ejection, self.ranks.fit(), is_there);
        }
        self.rank(ejected);
    }

    /// How many nodes fit, those left out that vanished.
    pub(super) fn fit(&self) -> usize {
        self.ranks.fit()
    }

    /// Those that fit, arranged.
    pub(super) fn tiers(&mut self, config: &Config) -> SmallVec<[Tier; 1]> {
        self.ranks.tiers(config)
    }

    /// The processes behind the live nodes that fit.
    fn processes(&self) -> HashSet<*const ()> {
        let peers = self.live.nodes().filter_map(Judged::peer);
        peers.map(Peer::process).collect()
    }

    fn rank(&mut self, ejected: &Ejected) {
        let any_out = ejected.any_out();
        if any_out || self.any_out {
            for judged in self.live.nodes_mut() {
                let rank = match ejected.is_out(&judged.node.id) {
                    true => Rank::Ejected,
                    false => judged.rank_by_place(),
                };
                self.ranks.put(judged, rank);
            }
        }
        self.any_out = any_out;
    }
}

impl Versions {
    fn nodes(&self) -> impl Iterator<Item = &Judged> {
        self.0.iter().flat_map(|version| &version.nodes)
    }

    fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Judged> {
        self.0.iter_mut().flat_map(|version| &mut version.nodes)
    }

    /// Lists the nodes there are now, and leaves those open that were not listed at that place.
    fn list(&mut self, services: &Services, is_suspect: bool, mut leave: impl FnMut(Judged)) {
        let mut before = std::mem::take(&mut self.0);
        for service in services {
            let is_it = |version: &Version| version.service.version == service.version;
            let mut version = match before.iter().position(is_it) {
                Some(at) => before.swap_remove(at),
                None => Version::new(service),
            };
            version.list(service, is_suspect, &mut leave);
            self.0.push(version);
        }
        for gone in before {
            gone.nodes.into_iter().for_each(&mut leave);
        }
    }

    /// Judges those left open: why they are out, if so.
    fn judge(
        &mut self,
        config: &Config,
        mut judge: impl FnMut(&mut Judged, &Service, Option<Exclusion>),
    ) {
        for Version {
            service,
            nodes,
            open,
            ..
        } in &mut self.0
        {
            let all_out = config.filter.excludes_service(service);
            for at in open.drain(..) {
                let judged = &mut nodes[at];
                let out = all_out.or_else(|| config.filter.excludes_node(service, &judged.node));
                judged.is_near = config.is_near(&judged.node);
                judge(judged, service, out);
            }
        }
    }
}

impl Version {
    fn new(service: &Arc<Service>) -> Self {
        Self {
            service: Arc::clone(service),
            listed: Nodes::new(),
            nodes: Vec::new(),
            open: Vec::new(),
        }
    }

    fn list(&mut self, service: &Arc<Service>, is_suspect: bool, leave: &mut impl FnMut(Judged)) {
        // What is said of the service counts for each node.
        let is_same = self.service.metadata == service.metadata
            && self.service.endpoints == service.endpoints;
        self.open = match is_same {
            true => service.nodes.differences(&self.listed),
            false => (0..service.nodes.len()).collect(),
        };
        self.service = Arc::clone(service);
        self.listed = service.nodes.clone();
        for &at in &self.open {
            let Some(node) = service.nodes.nth(at) else {
                continue;
            };
            let new = Judged::new(node, is_suspect);
            match self.nodes.get_mut(at) {
                Some(judged) => leave(std::mem::replace(judged, new)),
                None => self.nodes.push(new),
            }
        }
        let gone = self.nodes.drain(service.nodes.len()..);
        gone.for_each(leave);
    }
}

impl Judged {
    fn new(node: &Arc<Node>, is_suspect: bool) -> Self {
        Self {
            node: Arc::clone(node),
            is_suspect,
            is_near: false,
            verdict: None,
            rank: None,
        }
    }

    /// The node as one that gets calls, if it fits.
    pub(super) fn peer(&self) -> Option<&Peer> {
        self.verdict.as_ref()?.as_ref().ok()
    }

    /// How good it is as long as it does not fail.
    pub(super) const fn rank_by_place(&self) -> Rank {
        match (self.is_suspect, self.is_near) {
            (true, _) => Rank::Suspect,
            (_, true) => Rank::Near,
            _ => Rank::Far,
        }
    }

    /// Whether it counts as one of its zone, which is healthy or not.
    pub(super) const fn is_known_near(&self) -> bool {
        let counts = match self.verdict {
            Some(Ok(_)) => true,
            Some(Err(Exclusion::Draining | Exclusion::Down)) => !self.is_suspect,
            _ => false,
        };
        counts && self.is_near
    }
}

impl Moved {
    fn add(&mut self, judged: Judged) {
        if let Some(Ok(peer)) = judged.verdict {
            self.0.insert(judged.node.id.clone(), peer);
        }
    }

    /// The peer as before if nothing changed; a new one at the same address keeps its stats.
    fn peer(&mut self, reports: &Arc<Reports>, node: &Arc<Node>, service: &Service) -> Peer {
        match self.0.remove(&node.id) {
            Some(peer) if peer.is(node, service) => peer,
            Some(peer) if peer.node().address == node.address => peer.renewed(node, service),
            _ => Peer::new(node, service, reports),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{sync::mpsc, time::Instant};

    use super::*;
    use crate::{Fallback, Random, Standing};

    /// A node by number: its port, whether it is draining, and its version.
    type State = HashMap<u8, (u8, bool, u8)>;

    fn services(
        order: &[u8],
        state: &State,
        kept: &mut HashMap<(u8, u8, bool), Arc<Node>>,
    ) -> Services {
        let versions = [0, 1].map(|version| {
            let nodes = order.iter().filter_map(|id| {
                let (port, draining, of) = *state.get(id)?;
                (of == version).then(|| {
                    let node = kept.entry((*id, port, draining)).or_insert_with(|| {
                        let node = Node::new(id.to_string(), format!("h:{port}"));
                        Arc::new(match draining {
                            true => node.with_metadata([(Node::STATE, "draining")]),
                            false => node,
                        })
                    });
                    Arc::clone(node)
                })
            });
            Service::new("s", format!("v{version}")).with_nodes(nodes)
        });
        let there = versions
            .into_iter()
            .filter(|service| !service.nodes.is_empty());
        there.collect()
    }

    proptest! {
        /// Whatever comes, goes, moves and changes: each node is judged as it is, and keeps what its
        /// calls have shown for as long as it fits at the same address.
        #[test]
        fn each_node_is_judged_as_it_is(
            states in prop::collection::vec(
                (
                    prop::collection::hash_map(0..8_u8, (0..2_u8, prop::bool::weighted(0.2), 0..2_u8), 0..8),
                    Just((0..8_u8).collect::<Vec<_>>()).prop_shuffle(),
                    prop::option::of(0..8_u8),
                    prop::bool::ANY,
                ),
                1..8,
            ),
        ) {
            let (told, _failures) = mpsc::unbounded_channel();
            let reports = Arc::new(Reports { start: Instant::now(), failures: 1, told });
            let config = Config {
                filter: crate::selector::filter::Filter::default(),
                zone: None,
                strategy: Box::new(Random),
                ejection: crate::Ejection::new(),
            };
            let (mut roster, mut kept) = (Roster::default(), HashMap::new());
            let mut ejected = Ejected::default();
            let start = Instant::now();
            let mut before: HashMap<Arc<str>, Peer> = HashMap::new();
            let mut gone = State::new();
            for (state, order, fails, in_bulk) in states {
                gone.retain(|id, _| in_bulk && !state.contains_key(id));
                let known = Known {
                    services: services(&order, &state, &mut kept),
                    suspects: services(&order, &gone, &mut kept),
                    standing: Standing::Live,
                    is_awaited: false,
                };
                roster.renew(&config, &reports, &known, &mut ejected);
                let listed = known.services.iter().flat_map(|service| &service.nodes);
                prop_assert!(listed.map(Arc::as_ptr).eq(roster.live.nodes().map(|judged| Arc::as_ptr(&judged.node))));
                let listed = known.suspects.iter().flat_map(|service| &service.nodes);
                prop_assert!(listed.map(Arc::as_ptr).eq(roster.suspects.nodes().map(|judged| Arc::as_ptr(&judged.node))));
                let mut now = HashMap::new();
                for judged in roster.live.nodes().chain(roster.suspects.nodes()) {
                    let id: u8 = judged.node.id.parse().unwrap();
                    prop_assert_eq!(judged.is_suspect, gone.contains_key(&id));
                    let (_, draining, version) = *state.get(&id).unwrap_or_else(|| &gone[&id]);
                    let Some(peer) = judged.peer() else {
                        prop_assert!(draining);
                        continue;
                    };
                    prop_assert!(!draining);
                    prop_assert!(Arc::ptr_eq(peer.node(), &judged.node));
                    prop_assert_eq!(&**peer.version(), format!("v{version}"));
                    let same = before.get(&judged.node.id)
                        .filter(|before| before.node().address == judged.node.address);
                    prop_assert_eq!(
                        same.is_some(),
                        before.values().any(|before| before.process() == peer.process())
                    );
                    now.insert(Arc::clone(&judged.node.id), peer.clone());
                }
                if let Some(peer) = fails.and_then(|id| now.get(&*id.to_string())) {
                    ejected.fails(&config.ejection, peer, roster.fit(), start);
                    roster.renew(&config, &reports, &known, &mut ejected);
                }
                let tiers = roster.tiers(&config);
                for tier in &tiers {
                    let fallback = |peer: &Peer| {
                        let id: u8 = peer.node().id.parse().unwrap();
                        match gone.contains_key(&id) {
                            true => Some(Fallback::Suspect),
                            false => ejected.is_out(&peer.node().id).then_some(Fallback::Ejected),
                        }
                    };
                    prop_assert!(tier.peers.iter().all(|peer| fallback(peer) == tier.fallback));
                }
                let listed = tiers.iter().flat_map(|tier| tier.peers.iter());
                let listed: HashMap<_, _> = listed.map(|peer| (Arc::as_ptr(peer.node()), peer.process())).collect();
                let fit: HashMap<_, _> = now.values().map(|peer| (Arc::as_ptr(peer.node()), peer.process())).collect();
                prop_assert_eq!(listed, fit);
                let suspects = roster.suspects.nodes().filter(|judged| judged.peer().is_some());
                prop_assert_eq!(roster.fit() + suspects.count(), now.len());
                before = now;
                gone.extend(state);
            }
        }
    }
}
