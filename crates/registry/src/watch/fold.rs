use std::{collections::BTreeMap, sync::Arc};

use super::{Change, diff::diff};
use crate::{Action, Event, Service, Services};

/// Services as they are after a snapshot and the events that followed it.
///
/// ```
/// use vine_registry::{Action, Event, Fold, Node, Service, Services};
///
/// let service = Service::new("go.vine.test", "v1.0.0").with_node(Node::new("a", "127.0.0.1:80"));
/// let mut fold = Fold::new(&Services::new());
/// assert!(fold.apply(&Event::new(Action::Create, service.clone())));
/// assert_eq!(fold.services().node_count(), 1);
/// assert!(!fold.apply(&Event::new(Action::Create, service)), "that changes nothing");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Fold {
    names: BTreeMap<(Arc<str>, Arc<str>), Services>,
}

impl Fold {
    /// Starts from a snapshot.
    #[must_use]
    pub fn new(snapshot: &Services) -> Self {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for service in snapshot {
            names
                .entry(key(service))
                .or_default()
                .push(Arc::clone(service));
        }
        Self {
            names: names
                .into_iter()
                .map(|(key, services)| (key, services.into_iter().collect()))
                .collect(),
        }
    }

    /// Takes an event in; says whether it changed anything.
    pub fn apply(&mut self, event: &Event) -> bool {
        self.change(event).is_some()
    }

    /// One service in its versions.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Services {
        self.names
            .get(&(namespace.into(), name.into()))
            .cloned()
            .unwrap_or_default()
    }

    /// All services.
    #[must_use]
    pub fn services(&self) -> Services {
        self.names
            .values()
            .flat_map(|services| services.iter().cloned())
            .collect()
    }

    pub(super) fn change(&mut self, event: &Event) -> Option<Change> {
        let key = key(&event.service);
        let before = self.names.get(&key).cloned().unwrap_or_default();
        let after = applied(&before, event)?;
        if after.is_empty() {
            self.names.remove(&key);
        } else {
            self.names.insert(key.clone(), after.clone());
        }
        let (namespace, name) = key;
        let events = [event.clone()].into();
        Some(Change {
            namespace,
            name,
            before,
            after,
            events,
        })
    }

    /// Takes in that all services are now these.
    pub(super) fn replace(&mut self, services: &Services) -> Vec<Change> {
        let new = Self::new(services);
        let old = std::mem::replace(self, new);
        let gone = old
            .names
            .keys()
            .filter(|key| !self.names.contains_key(*key));
        let mut changes = Vec::new();
        for key in gone.chain(self.names.keys()) {
            let before = old.names.get(key).cloned().unwrap_or_default();
            let after = self.names.get(key).cloned().unwrap_or_default();
            let events = diff(&before, &after);
            if !events.is_empty() {
                let (namespace, name) = key.clone();
                changes.push(Change {
                    namespace,
                    name,
                    before,
                    after,
                    events,
                });
            }
        }
        changes
    }
}

fn key(service: &Service) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&service.namespace), Arc::clone(&service.name))
}

/// The state after the event, if it is another one.
fn applied(before: &Services, event: &Event) -> Option<Services> {
    let change = &event.service;
    let old = before.version(&change.version);
    let mut nodes = old.map(|old| old.nodes.clone()).unwrap_or_default();
    let mut changed = false;
    for node in &change.nodes {
        let known = nodes.get(&node.id);
        match event.action {
            Action::Delete if known.is_some() => nodes.remove(&node.id),
            Action::Create | Action::Update if known != Some(node) => {
                nodes.insert(Arc::clone(node))
            }
            _ => continue,
        }
        changed = true;
    }
    let fields = match (old, event.action) {
        (Some(old), Action::Delete) => old,
        (Some(old), _) => {
            changed |= !old.same_fields(change);
            change
        }
        (None, _) => change,
    };
    if !changed {
        return None;
    }
    let this = (!nodes.is_empty()).then(|| Arc::new(fields.with_only(nodes)));
    Some(before.with_version(&change.version, this))
}
