use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use vine_registry::{Node, Service, Services};

use super::{
    Config, Exclusion,
    peer::{Peer, Stats, Watch},
};
use crate::Known;

/// What is thought of each node that is known, from one table to the next: what calls have shown of a
/// node outlasts a table. Most nodes stand where they stood before, and are not looked at again.
#[derive(Default)]
pub(super) struct Roster {
    live: Versions,
    suspects: Versions,
}

#[derive(Default)]
struct Versions(Vec<Version>);

/// The nodes of a version, in the order in which they are listed.
struct Version {
    service: Arc<Service>,
    nodes: Vec<Judged>,
    /// Which of them were not judged yet.
    open: Vec<usize>,
}

/// A node, and whether it fits.
pub(super) struct Judged {
    node: Arc<Node>,
    /// None until it is judged.
    pub(super) verdict: Option<Result<Arc<Peer>, Exclusion>>,
    /// Whether it is in the preferred zone.
    pub(super) is_near: bool,
}

/// Those that no longer stand where they stood, by id: some stand elsewhere.
#[derive(Default)]
struct Moved(HashMap<Arc<str>, Arc<Peer>, RandomState>);

impl Roster {
    /// Takes in what is known now.
    pub(super) fn renew(&mut self, config: &Config, watch: &Arc<Watch>, known: &Known) {
        let mut moved = Moved::default();
        self.live.list(&known.services, &mut moved);
        self.suspects.list(&known.suspects, &mut moved);
        for versions in [&mut self.live, &mut self.suspects] {
            versions.judge(config, |node, service| moved.peer(watch, node, service));
        }
    }

    /// The nodes that the registry has.
    pub(super) fn live(&self) -> impl Iterator<Item = &Judged> {
        self.live.nodes()
    }

    /// Those that vanished with many others.
    pub(super) fn suspects(&self) -> impl Iterator<Item = &Judged> {
        self.suspects.nodes()
    }

    /// The processes behind the live nodes that fit.
    pub(super) fn processes(&self) -> HashSet<*const Stats> {
        let peers = self.live().filter_map(Judged::peer);
        peers.map(|peer| Arc::as_ptr(&peer.stats)).collect()
    }
}

impl Versions {
    fn nodes(&self) -> impl Iterator<Item = &Judged> {
        self.0.iter().flat_map(|version| &version.nodes)
    }

    /// Lists the nodes there are now, and leaves those open that were not listed at that place.
    fn list(&mut self, services: &Services, moved: &mut Moved) {
        let mut before = std::mem::take(&mut self.0);
        for service in services {
            let is_it = |version: &Version| version.service.version == service.version;
            let mut version = match before.iter().position(is_it) {
                Some(at) => before.swap_remove(at),
                None => Version::new(service),
            };
            version.list(service, moved);
            self.0.push(version);
        }
        for gone in before {
            gone.nodes.into_iter().for_each(|judged| moved.add(judged));
        }
    }

    fn judge(&mut self, config: &Config, mut peer: impl FnMut(&Arc<Node>, &Service) -> Arc<Peer>) {
        for Version {
            service,
            nodes,
            open,
        } in &mut self.0
        {
            let all_out = config.filter.excludes_service(service);
            for at in open.drain(..) {
                let judged = &mut nodes[at];
                let node = &judged.node;
                let out = all_out.or_else(|| config.filter.excludes_node(service, node));
                judged.is_near = config.is_near(node);
                judged.verdict = Some(out.map_or_else(|| Ok(peer(node, service)), Err));
            }
        }
    }
}

impl Version {
    fn new(service: &Arc<Service>) -> Self {
        Self {
            service: Arc::clone(service),
            nodes: Vec::new(),
            open: Vec::new(),
        }
    }

    fn list(&mut self, service: &Arc<Service>, moved: &mut Moved) {
        // What is said of the service counts for each node.
        let is_same = self.service.metadata == service.metadata
            && self.service.endpoints == service.endpoints;
        self.service = Arc::clone(service);
        for (at, node) in service.nodes.iter().enumerate() {
            match self.nodes.get_mut(at) {
                Some(judged) if is_same && Arc::ptr_eq(&judged.node, node) => continue,
                Some(judged) => moved.add(std::mem::replace(judged, Judged::new(node))),
                None => self.nodes.push(Judged::new(node)),
            }
            self.open.push(at);
        }
        let gone = self.nodes.drain(service.nodes.len()..);
        gone.for_each(|judged| moved.add(judged));
    }
}

impl Judged {
    fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::clone(node),
            verdict: None,
            is_near: false,
        }
    }

    /// The node as one that gets calls, if it fits.
    pub(super) fn peer(&self) -> Option<&Arc<Peer>> {
        self.verdict.as_ref()?.as_ref().ok()
    }
}

impl Moved {
    fn add(&mut self, judged: Judged) {
        if let Some(Ok(peer)) = judged.verdict {
            self.0.insert(Arc::clone(&judged.node.id), peer);
        }
    }

    /// The peer as before if nothing changed; a new one at the same address keeps its stats.
    fn peer(&self, watch: &Arc<Watch>, node: &Arc<Node>, service: &Service) -> Arc<Peer> {
        match self.0.get(&node.id) {
            Some(peer) if peer.is(node, service) => Arc::clone(peer),
            Some(peer) if peer.node().address == node.address => {
                Arc::new(Peer::new(node, service, Arc::clone(&peer.stats)))
            }
            _ => {
                let stats = Arc::new(Stats::new(node, watch));
                Arc::new(Peer::new(node, service, stats))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{sync::mpsc, time::Instant};

    use super::*;
    use crate::{Random, Standing};

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
                ),
                1..8,
            ),
        ) {
            let (told, _failures) = mpsc::unbounded_channel();
            let watch = Arc::new(Watch { start: Instant::now(), failures: 1, told });
            let config = Config {
                filter: crate::selector::filter::Filter::default(),
                zone: None,
                strategy: Box::new(Random),
                ejection: crate::Ejection::new(),
            };
            let (mut roster, mut kept) = (Roster::default(), HashMap::new());
            let mut before: HashMap<Arc<str>, Arc<Peer>> = HashMap::new();
            for (state, order) in states {
                let known = Known {
                    services: services(&order, &state, &mut kept),
                    suspects: Services::new(),
                    standing: Standing::Live,
                };
                roster.renew(&config, &watch, &known);
                let listed = known.services.iter().flat_map(|service| &service.nodes);
                prop_assert!(listed.map(Arc::as_ptr).eq(roster.live().map(|judged| Arc::as_ptr(&judged.node))));
                let mut now = HashMap::new();
                for judged in roster.live() {
                    let id: u8 = judged.node.id.parse().unwrap();
                    let (_, draining, version) = state[&id];
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
                        before.values().any(|before| Arc::ptr_eq(&before.stats, &peer.stats))
                    );
                    now.insert(Arc::clone(&judged.node.id), Arc::clone(peer));
                }
                before = now;
            }
        }
    }
}
