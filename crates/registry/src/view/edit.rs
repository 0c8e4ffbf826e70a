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
    before: Services,
    /// The versions touched, with their nodes as they will be.
    work: SmallVec<[Work; 1]>,
    /// The nodes touched, as they were before: version and node, if there was one. Of one that was
    /// touched again, the first counts. None if nobody watches.
    touched: Option<Touched>,
}

type Touched = SmallVec<[(Arc<str>, Option<Placed>); 1]>;
type Placed = (Arc<str>, Arc<Node>);

struct Work {
    version: Arc<str>,
    nodes: Nodes,
}

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
            at,
            before: view.names[at].slot.load(),
            work: SmallVec::new(),
            touched: view.interest.any().then(SmallVec::new),
            view,
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
            mut node,
            changed,
            tag,
        } = entry;
        let known = self.take(&node.id);
        self.touch(&node.id, known.as_ref());
        let nodes = nodes_of(&mut self.work, &self.before, &source.version);
        let at = match known {
            Some((old, held)) if held.source.version == source.version => {
                if *old == *node {
                    node = old;
                } else {
                    nodes.replace(held.at as usize, Arc::clone(&node));
                }
                held.at
            }
            known => {
                let at = nodes.len() as u32;
                nodes.push(Arc::clone(&node));
                if let Some((_, held)) = known {
                    self.vacate(&held.source.version, held.at);
                }
                at
            }
        };
        let name = &mut self.view.names[self.at];
        let order = &mut name.version(&source.version).order;
        order.insert((changed, ById(Arc::clone(&node))));
        let held = Held {
            source,
            changed,
            at,
            tag,
        };
        name.nodes.insert(ById(node), held);
    }

    /// Takes a node out and gives what the engine remembered of it.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        let known = self.take(id)?;
        self.touch(&known.0.id, Some(&known));
        let (_, held) = known;
        self.vacate(&held.source.version, held.at);
        Some(held.tag)
    }

    /// Shows the changes to readers and watchers.
    pub fn commit(self) {}

    /// Takes a node from everywhere but its place among the nodes of its version.
    fn take(&mut self, id: &str) -> Option<(Arc<Node>, Held<T>)> {
        let name = &mut self.view.names[self.at];
        let (node, held) = name.nodes.remove_entry(id)?;
        let key = (held.changed, node);
        name.version(&held.source.version).order.remove(&key);
        Some((key.1.0, held))
    }

    fn touch(&mut self, id: &Arc<str>, before: Option<&(Arc<Node>, Held<T>)>) {
        if let Some(touched) = &mut self.touched {
            let before =
                before.map(|(node, held)| (Arc::clone(&held.source.version), Arc::clone(node)));
            touched.push((Arc::clone(id), before));
        }
    }

    /// Fills the place of a node that is gone with the last one of its version.
    fn vacate(&mut self, version: &Arc<str>, at: u32) {
        let nodes = nodes_of(&mut self.work, &self.before, version);
        nodes.swap_remove(at as usize);
        let known = &mut self.view.names[self.at].nodes;
        if let Some(moved) = nodes.nth(at as usize)
            && let Some(held) = known.get_mut(&*moved.id)
        {
            held.at = at;
        }
    }

    fn publish(&mut self) {
        let name = &mut self.view.names[self.at];
        let mut after = None::<Services>;
        for Work { version, nodes } in self.work.drain(..) {
            let old = self.before.version(&version);
            let new = name.service(&version, nodes, old);
            let is_same = match (old, &new) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                let services = after.as_ref().unwrap_or(&self.before);
                after = Some(services.with_version(&version, new));
            }
        }
        if let Some(after) = after {
            name.slot.store(after.clone());
            if let Some(touched) = self.touched.take() {
                let deltas = name.deltas(touched);
                let Key { namespace, name } = name.slot.key.clone();
                let change = Change {
                    namespace,
                    name,
                    events: events(&deltas, &self.before, &after),
                    before: self.before.clone(),
                    after,
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

/// The nodes of a version as they will be.
fn nodes_of<'a>(
    work: &'a mut SmallVec<[Work; 1]>,
    before: &Services,
    version: &Arc<str>,
) -> &'a mut Nodes {
    let at = work
        .iter()
        .position(|known| known.version == *version)
        .unwrap_or_else(|| {
            let nodes = before.version(version).map(|old| old.nodes.clone());
            work.push(Work {
                version: Arc::clone(version),
                nodes: nodes.unwrap_or_default(),
            });
            work.len() - 1
        });
    &mut work[at].nodes
}

impl<T> Name<T> {
    fn version(&mut self, version: &Arc<str>) -> &mut Version {
        let at = self
            .versions
            .iter()
            .position(|known| known.version == *version)
            .unwrap_or_else(|| {
                self.versions.push(Version {
                    version: Arc::clone(version),
                    order: BTreeSet::new(),
                });
                self.versions.len() - 1
            });
        &mut self.versions[at]
    }

    /// The service in one version as it is with these nodes, if there are any.
    fn service(
        &mut self,
        version: &str,
        nodes: Nodes,
        before: Option<&Arc<Service>>,
    ) -> Option<Arc<Service>> {
        let at = self
            .versions
            .iter()
            .position(|known| *known.version == *version)?;
        let Some((_, last)) = self.versions[at].order.last() else {
            self.versions.swap_remove(at);
            return None;
        };
        let source = &self.nodes.get(last)?.source;
        match before {
            Some(before) if before.nodes.ptr_eq(&nodes) && before.same_fields(source) => {
                Some(Arc::clone(before))
            }
            _ => Some(Arc::new(Service {
                name: Arc::clone(&self.slot.key.name),
                version: Arc::clone(&source.version),
                namespace: Arc::clone(&self.slot.key.namespace),
                metadata: source.metadata.clone(),
                endpoints: Arc::clone(&source.endpoints),
                nodes,
                ttl: source.ttl,
                apis: Arc::clone(&source.apis),
            })),
        }
    }

    /// What became of the nodes that were touched.
    fn deltas(&self, mut touched: Touched) -> SmallVec<[Delta; 1]> {
        if touched.len() > 1 {
            touched.sort_by(|(a, _), (b, _)| a.cmp(b));
            touched.dedup_by(|(later, _), (first, _)| later == first);
        }
        let mut deltas = SmallVec::new();
        for (id, before) in touched {
            let now = self.nodes.get_key_value(&*id);
            let now =
                now.map(|(ById(node), held)| (Arc::clone(&held.source.version), Arc::clone(node)));
            note(&mut deltas, before, now);
        }
        deltas.sort_unstable_by(|a: &Delta, b| a.version.cmp(&b.version));
        deltas
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
            .field("service", &self.view.names[self.at].slot.key.name)
            .finish_non_exhaustive()
    }
}
