//! What the contracts say, as plainly as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vine_registry::{Node, Service, Services};

/// Namespace, service and node.
type Key = (String, String, String);

/// What there is, and who has lost what.
#[derive(Debug, Default)]
pub(crate) struct Model {
    nodes: BTreeMap<Key, Registered>,
    lost: BTreeSet<(usize, Key)>,
    changes: u64,
}

#[derive(Clone, Debug)]
struct Registered {
    owner: usize,
    node: Arc<Node>,
    /// Version and fields.
    service: Service,
    changed: u64,
    deadline: Option<Instant>,
}

/// What a call gives, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Replaced,
    NotOwner,
}

impl Model {
    /// `service` has its namespace.
    pub(crate) fn register(&mut self, owner: usize, service: &Service) -> Answer {
        let lost = |node: &Arc<Node>| self.lost.contains(&(owner, key(service, &node.id)));
        if service.nodes.iter().any(lost) {
            return Answer::Replaced;
        }
        self.changes += 1;
        for node in &service.nodes {
            let key = key(service, &node.id);
            let before = self.nodes.get(&key);
            let unchanged = before.filter(|before| {
                before.owner == owner
                    && before.node == *node
                    && before.service.version == service.version
                    && before.service.same_fields(service)
            });
            let registered = Registered {
                owner,
                node: Arc::clone(node),
                service: service.clone(),
                changed: unchanged.map_or(self.changes, |before| before.changed),
                deadline: service.ttl.map(|ttl| Instant::now() + ttl),
            };
            if let Some(before) = before
                && before.owner != owner
            {
                self.lost.insert((before.owner, key.clone()));
            }
            self.nodes.insert(key, registered);
        }
        Answer::Done
    }

    /// `service` has its namespace.
    pub(crate) fn deregister(&mut self, owner: usize, service: &Service, force: bool) -> Answer {
        let of_service = |key: &Key| *key.0 == *service.namespace && *key.1 == *service.name;
        let named = |key: &Key| {
            of_service(key) && (service.nodes.is_empty() || service.nodes.get(&key.2).is_some())
        };
        let there = |registered: &Registered| registered.service.version == service.version;
        for (key, registered) in &self.nodes {
            let own = registered.owner == owner || self.lost.contains(&(owner, key.clone()));
            if named(key) && there(registered) && !own && !force && !service.nodes.is_empty() {
                return Answer::NotOwner;
            }
        }
        self.nodes.retain(|key, registered| {
            !(named(key) && there(registered) && (registered.owner == owner || force))
        });
        self.lost
            .retain(|(loser, key)| *loser != owner || !named(key));
        Answer::Done
    }

    pub(crate) fn close(&mut self, owner: usize) {
        self.nodes.retain(|_, registered| registered.owner != owner);
        self.lost.retain(|(loser, _)| *loser != owner);
    }

    /// Ends what has run out.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        self.nodes
            .retain(|_, registered| registered.deadline.is_none_or(|at| at > now));
    }

    /// Whether something runs out about now, so that it is not certain what is still there.
    pub(crate) fn is_uncertain(&self) -> bool {
        let now = Instant::now();
        let about = Duration::from_millis(3);
        let mut deadlines = self
            .nodes
            .values()
            .filter_map(|registered| registered.deadline);
        deadlines.any(|at| at + about > now && now + about > at)
    }

    /// What a look-up gives.
    pub(crate) fn services(&self, namespace: &str, name: &str) -> Services {
        let mut versions = BTreeMap::<_, Vec<(&Key, &Registered)>>::new();
        for (key, registered) in &self.nodes {
            if key.0 == namespace && key.1 == name {
                let version = &registered.service.version;
                versions.entry(version).or_default().push((key, registered));
            }
        }
        let merged = versions.into_values().filter_map(|nodes| {
            let last = nodes
                .iter()
                .max_by_key(|(key, registered)| (registered.changed, key))?;
            let nodes = nodes
                .iter()
                .map(|(_, registered)| Arc::clone(&registered.node));
            Some(last.1.service.clone().with_nodes(nodes))
        });
        merged.collect()
    }
}

fn key(service: &Service, id: &str) -> Key {
    (
        service.namespace.to_string(),
        service.name.to_string(),
        id.to_owned(),
    )
}
