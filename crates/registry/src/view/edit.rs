use std::{collections::HashMap, fmt, sync::Arc};

use smallvec::SmallVec;

use super::{
    Entry, Held, Name, Version, View,
    reader::{Key, Pair},
};
use crate::{Action, Event, Node, Nodes, Service, Services, model::ById, watch::Change};

/// Changes to the nodes of one service, which show all at once.
///
/// Dropping it commits, too.
pub struct Edit<'a, T> {
    view: &'a mut View<T>,
    key: Key,
    /// The nodes touched, as they were before: version and node, if there was one.
    touched: HashMap<Arc<str>, Option<Placed>, foldhash::fast::RandomState>,
}

type Placed = (Arc<str>, Arc<Node>);

/// What happens to one version.
struct Delta {
    version: Arc<str>,
    deleted: List,
    updated: List,
    created: List,
}

type List = SmallVec<[Arc<Node>; 1]>;

impl<'a, T> Edit<'a, T> {
    pub(super) fn new(view: &'a mut View<T>, namespace: &str, name: &str) -> Self {
        let known = view.names.get_key_value(&(namespace, name) as &dyn Pair);
        let key = known.map_or_else(|| Key::new(namespace, name), |(key, _)| key.clone());
        Self {
            view,
            key,
            touched: HashMap::default(),
        }
    }

    /// A node of this service as it is now, changes of this edit included.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Entry<&T>> {
        self.view.get(&self.key.namespace, &self.key.name, id)
    }

    /// Adds a node, or puts it in the place of the one with its id, in whatever version that is.
    pub fn put(&mut self, entry: Entry<T>) {
        let id = Arc::clone(&entry.node.id);
        self.take_out(&id);
        let name = self
            .view
            .names
            .entry(self.key.clone())
            .or_insert_with(|| Name {
                nodes: HashMap::default(),
                versions: HashMap::new(),
                slot: self.view.reader.add(self.key.clone()),
            });
        let version = name
            .versions
            .entry(Arc::clone(&entry.source.version))
            .or_default();
        version.order.insert((entry.changed, Arc::clone(&id)));
        let Entry {
            source,
            node,
            changed,
            tag,
        } = entry;
        name.nodes.insert(
            ById(node),
            Held {
                source,
                changed,
                tag,
            },
        );
        self.touched.entry(id).or_insert(None);
    }

    /// Takes a node out and gives what the engine remembered of it.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        self.take_out(id)
    }

    /// Shows the changes to readers and watchers.
    pub fn commit(self) {}

    fn take_out(&mut self, id: &str) -> Option<T> {
        let name = self.view.names.get_mut(&self.key.pair() as &dyn Pair)?;
        let (ById(node), held) = name.nodes.remove_entry(id)?;
        let id = Arc::clone(&node.id);
        let version = Arc::clone(&held.source.version);
        if let Some(known) = name.versions.get_mut(&version) {
            known.order.remove(&(held.changed, Arc::clone(&id)));
        }
        self.touched.entry(id).or_insert(Some((version, node)));
        Some(held.tag)
    }

    fn publish(&mut self) {
        let Some(name) = self.view.names.get_mut(&self.key.pair() as &dyn Pair) else {
            return;
        };
        let mut deltas = SmallVec::<[Delta; 1]>::new();
        for (id, before) in self.touched.drain() {
            let now = name.nodes.get_key_value(&*id);
            let now =
                now.map(|(ById(node), held)| (Arc::clone(&held.source.version), Arc::clone(node)));
            note(&mut deltas, before, now);
        }
        deltas.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        let before = name.slot.load();
        let mut list: SmallVec<[Arc<Service>; 1]> = before.iter().cloned().collect();
        for delta in &deltas {
            list.retain(|service| service.version != delta.version);
            list.extend(name.apply(&self.key, delta, before.version(&delta.version)));
        }
        let after: Services = list.into_iter().collect();
        if before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| Arc::ptr_eq(a, b))
        {
            return;
        }
        name.slot.store(after.clone());
        if after.is_empty() {
            self.view.names.remove(&self.key.pair() as &dyn Pair);
            self.view.reader.remove(&self.key.namespace, &self.key.name);
        }
        if self.view.interest.any() {
            let events = events(&deltas, &before, &after);
            let Key { namespace, name } = self.key.clone();
            let change = Change {
                namespace,
                name,
                before,
                after,
                events,
            };
            self.view.log.push_change(&Arc::new(change));
        }
    }
}

impl<T> Name<T> {
    /// The service in the delta's version as it is after it, if it still has nodes.
    fn apply(
        &mut self,
        key: &Key,
        delta: &Delta,
        before: Option<&Arc<Service>>,
    ) -> Option<Arc<Service>> {
        let version = self.versions.get_mut(&delta.version)?;
        let Some((_, last)) = version.order.last() else {
            self.versions.remove(&delta.version);
            return None;
        };
        let source = &self.nodes.get(&**last)?.source;
        version.apply(delta);
        let moved =
            !(delta.deleted.is_empty() && delta.updated.is_empty() && delta.created.is_empty());
        match before {
            Some(before) if !moved && before.same_fields(source) => Some(Arc::clone(before)),
            _ => Some(Arc::new(Service {
                name: Arc::clone(&key.name),
                namespace: Arc::clone(&key.namespace),
                ..source.with_only(version.nodes.clone())
            })),
        }
    }
}

impl Version {
    fn apply(&mut self, delta: &Delta) {
        for node in &delta.deleted {
            self.nodes.remove(&node.id);
        }
        for node in delta.updated.iter().chain(&delta.created) {
            self.nodes.insert(Arc::clone(node));
        }
    }
}

/// Enters the change of one node where it belongs.
fn note(deltas: &mut SmallVec<[Delta; 1]>, before: Option<Placed>, now: Option<Placed>) {
    match (before, now) {
        (Some((old, node)), Some((new, now))) if old == new => {
            let delta = delta(deltas, new);
            if !Arc::ptr_eq(&node, &now) && node != now {
                delta.updated.push(now);
            }
        }
        (before, now) => {
            if let Some((version, node)) = before {
                delta(deltas, version).deleted.push(node);
            }
            if let Some((version, node)) = now {
                delta(deltas, version).created.push(node);
            }
        }
    }
}

fn delta(deltas: &mut SmallVec<[Delta; 1]>, version: Arc<str>) -> &mut Delta {
    let at = deltas
        .iter()
        .position(|delta| delta.version == version)
        .unwrap_or_else(|| {
            deltas.push(Delta {
                version,
                deleted: List::new(),
                updated: List::new(),
                created: List::new(),
            });
            deltas.len() - 1
        });
    &mut deltas[at]
}

/// What is gone first, so that a node that moves is deleted before it is created.
fn events(deltas: &[Delta], before: &Services, after: &Services) -> SmallVec<[Event; 1]> {
    let mut events = SmallVec::new();
    for delta in deltas.iter().filter(|delta| !delta.deleted.is_empty()) {
        if let Some(old) = before.version(&delta.version) {
            events.push(Event::new(
                Action::Delete,
                old.with_only(nodes(&delta.deleted)),
            ));
        }
    }
    for delta in deltas {
        let Some(new) = after.version(&delta.version) else {
            continue;
        };
        let fields_changed = before
            .version(&delta.version)
            .is_some_and(|old| !old.same_fields(new));
        if !delta.updated.is_empty() || fields_changed && delta.created.is_empty() {
            events.push(Event::new(
                Action::Update,
                new.with_only(nodes(&delta.updated)),
            ));
        }
        if !delta.created.is_empty() {
            events.push(Event::new(
                Action::Create,
                new.with_only(nodes(&delta.created)),
            ));
        }
    }
    events
}

fn nodes(list: &List) -> Nodes {
    list.iter().cloned().collect()
}

impl<T> Drop for Edit<'_, T> {
    fn drop(&mut self) {
        self.publish();
    }
}

impl<T> fmt::Debug for Edit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("namespace", &self.key.namespace)
            .field("name", &self.key.name)
            .field("touched", &self.touched.len())
            .finish_non_exhaustive()
    }
}
