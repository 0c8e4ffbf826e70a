use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use smallvec::SmallVec;

use super::{
    ById, Entry, Held, Name, Version, View,
    reader::{Key, Pair},
};
use crate::{Action, Event, Node, Nodes, Service, Services, watch::Change};

/// Changes to the nodes of one service, which show all at once.
///
/// Dropping it commits, too.
pub struct Edit<'a, T> {
    view: &'a mut View<T>,
    /// Where the view has this service.
    at: usize,
    /// The nodes touched, as they were before: version and node, if there was one. Of one that was
    /// touched again, the first counts.
    touched: SmallVec<[(Arc<str>, Option<Placed>); 1]>,
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
    pub(super) fn new(
        view: &'a mut View<T>,
        namespace: impl AsRef<str> + Into<Arc<str>>,
        name: impl AsRef<str> + Into<Arc<str>>,
    ) -> Self {
        let pair = (namespace.as_ref(), name.as_ref());
        let known = view.index.get(&pair as &dyn Pair).copied();
        let at = known.unwrap_or_else(|| {
            let key = Key {
                namespace: namespace.into(),
                name: name.into(),
            };
            let at = view.names.insert(Name {
                nodes: HashMap::default(),
                versions: SmallVec::new(),
                slot: view.reader.add(key.clone()),
            });
            view.index.insert(key, at);
            at
        });
        Self {
            view,
            at,
            touched: SmallVec::new(),
        }
    }

    /// A node of this service as it is now, changes of this edit included.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Entry<&T>> {
        self.view.names.get(self.at)?.get(id)
    }

    /// What the engine remembers of a node, changes of this edit included.
    #[must_use]
    pub fn tag(&self, id: &str) -> Option<&T> {
        Some(&self.view.names.get(self.at)?.nodes.get(id)?.tag)
    }

    /// Adds a node, or puts it in the place of the one with its id, in whatever version that is.
    pub fn put(&mut self, entry: Entry<T>) {
        let Entry {
            source,
            node,
            changed,
            tag,
        } = entry;
        let name = &mut self.view.names[self.at];
        let (before, _) = name.take_out(&node.id);
        self.touched.push((Arc::clone(&node.id), before));
        name.version(&source.version)
            .order
            .insert((changed, ById(Arc::clone(&node))));
        name.nodes.insert(
            ById(node),
            Held {
                source,
                changed,
                tag,
            },
        );
    }

    /// Takes a node out and gives what the engine remembered of it.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        let (before, tag) = self.view.names[self.at].take_out(id);
        let (_, node) = before.as_ref()?;
        self.touched.push((Arc::clone(&node.id), before));
        tag
    }

    /// Shows the changes to readers and watchers.
    pub fn commit(self) {}

    fn publish(&mut self) {
        let name = &mut self.view.names[self.at];
        if self.touched.len() > 1 {
            self.touched.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.touched
                .dedup_by(|(later, _), (first, _)| later == first);
        }
        let mut deltas = SmallVec::<[Delta; 1]>::new();
        for (id, before) in self.touched.drain(..) {
            let now = name.nodes.get_key_value(&*id);
            let now =
                now.map(|(ById(node), held)| (Arc::clone(&held.source.version), Arc::clone(node)));
            note(&mut deltas, before, now);
        }
        deltas.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        let before = name.slot.load();
        let mut after = before.clone();
        for delta in &deltas {
            let old = before.version(&delta.version);
            let new = name.apply(delta, old);
            let is_same = match (old, &new) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                after = after.with_version(&delta.version, new);
            }
        }
        if !after.ptr_eq(&before) {
            name.slot.store(after.clone());
            if self.view.interest.any() {
                let events = events(&deltas, &before, &after);
                let Key { namespace, name } = name.slot.key.clone();
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
        if name.nodes.is_empty() {
            let name = self.view.names.remove(self.at);
            self.view.index.remove(&name.slot.key);
            self.view.reader.remove(&name.slot);
        }
    }
}

impl<T> Name<T> {
    /// Gives where the node was, and what the engine remembered of it.
    fn take_out(&mut self, id: &str) -> (Option<Placed>, Option<T>) {
        let Some((ById(node), held)) = self.nodes.remove_entry(id) else {
            return (None, None);
        };
        let version = Arc::clone(&held.source.version);
        self.version(&version)
            .order
            .remove(&(held.changed, ById(Arc::clone(&node))));
        (Some((version, node)), Some(held.tag))
    }

    fn version(&mut self, version: &Arc<str>) -> &mut Version {
        let at = self
            .versions
            .iter()
            .position(|known| known.version == *version)
            .unwrap_or_else(|| {
                self.versions.push(Version {
                    version: Arc::clone(version),
                    nodes: Nodes::new(),
                    order: BTreeSet::new(),
                });
                self.versions.len() - 1
            });
        &mut self.versions[at]
    }

    /// The service in the delta's version as it is after it, if it still has nodes.
    fn apply(&mut self, delta: &Delta, before: Option<&Arc<Service>>) -> Option<Arc<Service>> {
        let at = self
            .versions
            .iter()
            .position(|version| version.version == delta.version)?;
        let version = &mut self.versions[at];
        let Some((_, last)) = version.order.last() else {
            self.versions.swap_remove(at);
            return None;
        };
        let source = &self.nodes.get(last)?.source;
        let moved = version.apply(delta);
        match before {
            Some(before) if !moved && before.same_fields(source) => Some(Arc::clone(before)),
            _ => Some(Arc::new(Service {
                name: Arc::clone(&self.slot.key.name),
                namespace: Arc::clone(&self.slot.key.namespace),
                ..source.with_only(version.nodes.clone())
            })),
        }
    }
}

impl Version {
    /// Says whether the nodes are others now.
    fn apply(&mut self, delta: &Delta) -> bool {
        for node in &delta.deleted {
            self.nodes.remove(&node.id);
        }
        for node in delta.updated.iter().chain(&delta.created) {
            self.nodes.insert(Arc::clone(node));
        }
        !(delta.deleted.is_empty() && delta.updated.is_empty() && delta.created.is_empty())
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
            .field("touched", &self.touched.len())
            .finish_non_exhaustive()
    }
}
