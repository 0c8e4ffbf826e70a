use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vine_registry::{Error, Node, NodeRef, Result, Service, next_epoch, view::Entry};

use super::{Driver, Holder};
use crate::{
    engine::{NodeKey, Registered},
    registry::{NAME, TELEMETRY},
};

/// What became of a request to deregister.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deregistered {
    Done,
    /// Nothing was done: a node is not known, and a look-up would tell whose it is.
    LookUpFirst,
}

/// What this handle registered.
#[derive(Debug, Default)]
pub(super) struct Own {
    nodes: HashMap<NodeRef, Registration>,
    keys: HashMap<NodeKey, NodeRef>,
    /// Nodes that somebody else registered later, until they are deregistered here.
    lost: HashSet<NodeRef>,
}

#[derive(Debug)]
struct Registration {
    key: NodeKey,
    /// As the caller gave it: the same one again is known by its address.
    given: Arc<Service>,
    ttl: Option<Duration>,
}

impl Own {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn remove(&mut self, key: NodeKey) -> Option<NodeRef> {
        let node = self.keys.remove(&key)?;
        self.nodes.remove(&node);
        Some(node)
    }

    /// The keys of the nodes of `service`, if this very service was registered.
    fn unchanged(
        &self,
        service: &Arc<Service>,
        namespace: &Arc<str>,
        ttl: Option<Duration>,
    ) -> Option<Vec<NodeKey>> {
        let key = |node: &Arc<Node>| {
            let known = self.nodes.get(&reference(namespace, service, node))?;
            let same = Arc::ptr_eq(&known.given, service) && known.ttl == ttl;
            same.then_some(known.key)
        };
        service.nodes.iter().map(key).collect()
    }

    fn check_not_lost(&self, service: &Service, namespace: &Arc<str>) -> Result<()> {
        if self.lost.is_empty() {
            return Ok(());
        }
        let is_lost = |node: &&Arc<Node>| self.lost.contains(&reference(namespace, service, node));
        match service.nodes.iter().find(is_lost) {
            Some(node) => Err(Error::Replaced {
                name: Arc::clone(&service.name),
                id: Arc::clone(&node.id),
            }),
            None => Ok(()),
        }
    }
}

impl Driver {
    /// Registers or renews; without an interface, it is announced as soon as there is one.
    pub(super) fn register(
        &mut self,
        service: Arc<Service>,
        namespace: Arc<str>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        self.own.check_not_lost(&service, &namespace)?;
        let now = Instant::now().into_std();
        if let Some(keys) = self.own.unchanged(&service, &namespace, ttl)
            && keys.into_iter().all(|key| self.engine.renew(now, key))
        {
            return self.present();
        }
        let source = if service.namespace == namespace && service.ttl == ttl {
            Arc::clone(&service)
        } else {
            let mut source = Service::clone(&service).with_namespace(namespace);
            source.ttl = ttl;
            Arc::new(source)
        };
        let registered = self.engine.register(now, next_epoch(), &source)?;
        let mut edit = self.view.edit(&*source.namespace, &*source.name);
        for node in registered {
            edit.put(Entry {
                source: Arc::clone(&source),
                node: Arc::clone(&node.node),
                changed: node.changed,
                tag: Holder::Own(node.key),
            });
            self.own.insert(&source, &service, node);
        }
        edit.commit();
        self.present()
    }

    /// Whether others can see what is registered.
    fn present(&self) -> Result<()> {
        self.shared.staleness().map_or(Ok(()), Err)
    }

    pub(super) fn deregister(
        &mut self,
        service: &Service,
        namespace: &Arc<str>,
        force: bool,
        looked_up: bool,
    ) -> Result<Deregistered> {
        let mut ended = Vec::new();
        let mut others = None;
        if service.nodes.is_empty() {
            for entry in self.view.nodes(namespace, &service.name) {
                match entry.tag {
                    _ if entry.source.version != service.version => {}
                    Holder::Own(key) => ended.push(*key),
                    Holder::Other if force => others = Some(entry.node),
                    Holder::Other => {}
                }
            }
        }
        for node in &service.nodes {
            let name = reference(namespace, service, node);
            let known = self.view.get(namespace, &service.name, &node.id);
            match known {
                _ if self.own.lost.contains(&name) => {}
                None if looked_up => {}
                None => return Ok(Deregistered::LookUpFirst),
                Some(known) if known.source.version != service.version => {}
                Some(known) => match known.tag {
                    Holder::Own(key) => ended.push(*key),
                    Holder::Other => others = others.or(Some(known.node)),
                },
            }
        }
        if let Some(node) = others {
            return Err(not_own(service, &node, force));
        }
        self.own.lost.retain(|lost| {
            let named = service.nodes.is_empty() || service.nodes.get(&lost.id).is_some();
            !(named && lost.namespace == *namespace && lost.service == service.name)
        });
        self.end(ended);
        Ok(Deregistered::Done)
    }

    /// Ends everything that this handle registered.
    pub(super) fn end_own(&mut self) {
        let all = self.own.keys.keys().copied().collect();
        self.end(all);
    }

    fn end(&mut self, keys: Vec<NodeKey>) {
        let now = Instant::now().into_std();
        let mut gone = Vec::new();
        for key in keys {
            self.engine.deregister(now, key);
            gone.extend(self.own.remove(key));
        }
        gone.sort_unstable();
        let same = |a: &NodeRef, b: &NodeRef| a.namespace == b.namespace && a.service == b.service;
        for nodes in gone.chunk_by(same) {
            let mut edit = self.view.edit(&*nodes[0].namespace, &*nodes[0].service);
            for node in nodes {
                edit.deregister(&node.id);
            }
            edit.commit();
        }
    }

    /// Hears that somebody else has taken over a node, and gives which.
    pub(super) fn lose(&mut self, key: NodeKey) -> Option<NodeRef> {
        let node = self.own.remove(key)?;
        tracing::warn!(%node, "registered again by somebody else, whose registration wins");
        self.own.lost.insert(node.clone());
        Some(node)
    }

    /// Hears that the ttl of a node has run out, and gives of which.
    pub(super) fn expire(&mut self, key: NodeKey) -> Option<NodeRef> {
        let node = self.own.remove(key)?;
        TELEMETRY.expired(1);
        tracing::debug!(%node, "not renewed in time");
        Some(node)
    }
}

impl Own {
    fn insert(&mut self, source: &Service, given: &Arc<Service>, node: Registered) {
        let name = reference(&source.namespace, source, &node.node);
        let registration = Registration {
            key: node.key,
            given: Arc::clone(given),
            ttl: source.ttl,
        };
        if let Some(old) = self.nodes.insert(name.clone(), registration) {
            self.keys.remove(&old.key);
        }
        self.keys.insert(node.key, name);
    }
}

fn reference(namespace: &Arc<str>, service: &Service, node: &Node) -> NodeRef {
    NodeRef::new(Arc::clone(&service.name), Arc::clone(&node.id))
        .with_namespace(Arc::clone(namespace))
}

fn not_own(service: &Service, node: &Node, force: bool) -> Error {
    if force {
        return Error::Unsupported {
            registry: NAME.into(),
            operation: "remove a node that somebody else registered".into(),
            remedy: format!(
                "stop the process of node {:?} of service {:?}; if it is gone already, it is forgotten when its ttl ends, by default after two minutes",
                node.id, service.name
            )
            .into(),
        };
    }
    Error::NotOwner {
        name: Arc::clone(&service.name),
        id: Arc::clone(&node.id),
    }
}
