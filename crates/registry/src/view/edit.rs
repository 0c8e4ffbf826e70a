use std::{collections::BTreeSet, fmt, sync::Arc};

use indexmap::{IndexMap, map};
use smallvec::SmallVec;

use super::{
    ById, Entry, Held, Name, Version, View,
    edited::{Edited, Placed, Step, Steps},
    merge::show,
    reader::{Key, Pair},
};
use crate::{Node, Nodes, Service, Services};

/// Changes to the nodes of one service, which show all at once.
///
/// Dropping it commits, too.
pub struct Edit<'a, T> {
    view: &'a mut View<T>,
    /// Where the view has this service.
    at: usize,
    before: Services,
    /// How many nodes there were.
    had: usize,
    /// The versions touched, with their nodes as they will be.
    work: SmallVec<[Work; 1]>,
    /// What was done, for those who watch; none if nobody does.
    steps: Option<Steps>,
}

struct Work {
    version: Arc<str>,
    nodes: Nodes,
}

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
                nodes: IndexMap::default(),
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
            had: view.names[at].nodes.len(),
            steps: view.interest.any().then(Steps::new),
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
        let name = &mut self.view.names[self.at];
        match name.nodes.entry(ById(Arc::clone(&entry.node))) {
            map::Entry::Occupied(known) => {
                let known = known.swap_remove_entry();
                self.exchange(known, entry);
            }
            map::Entry::Vacant(place) => {
                if let Some(steps) = &mut self.steps {
                    steps.push(Step::put(None, placed(&entry.source, &entry.node)));
                }
                let nodes = nodes_of(&mut self.work, &self.before, &entry.source.version);
                let at = nodes.len() as u32;
                nodes.push(Arc::clone(&entry.node));
                place.insert(hold(&mut name.versions, entry, at).1);
            }
        }
    }

    /// Takes a node out whose owner said so, and gives what the engine remembered of it.
    pub fn deregister(&mut self, id: &str) -> Option<T> {
        self.take_out(id, true)
    }

    /// Takes a node out and gives what the engine remembered of it. It was lost, or the engine
    /// can't tell.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        self.take_out(id, false)
    }

    /// Shows the changes to readers and watchers.
    pub fn commit(self) {}

    fn take_out(&mut self, id: &str, deregistered: bool) -> Option<T> {
        let name = &mut self.view.names[self.at];
        let (node, held) = name.nodes.swap_remove_entry(id)?;
        if let Some(steps) = &mut self.steps {
            steps.push(Step::take_out(placed(&held.source, &node.0), deregistered));
        }
        self.forget(&node, &held);
        self.vacate(&held.source.version, held.at);
        Some(held.tag)
    }

    /// Puts a node in the place of one that was just taken out.
    fn exchange(&mut self, (old, held): (ById, Held<T>), mut new: Entry<T>) {
        self.forget(&old, &held);
        let watched = self.steps.is_some();
        let before = watched.then(|| placed(&held.source, &old.0));
        let nodes = nodes_of(&mut self.work, &self.before, &new.source.version);
        let mut at = held.at;
        if held.source.version != new.source.version {
            at = nodes.len() as u32;
            nodes.push(Arc::clone(&new.node));
            self.vacate(&held.source.version, held.at);
        } else if *old.0 == *new.node {
            new.node = old.0;
        } else {
            nodes.replace(at as usize, Arc::clone(&new.node));
        }
        if let Some(steps) = &mut self.steps {
            steps.push(Step::put(before, placed(&new.source, &new.node)));
        }
        let name = &mut self.view.names[self.at];
        let (node, held) = hold(&mut name.versions, new, at);
        name.nodes.insert(node, held);
    }

    fn forget(&mut self, node: &ById, held: &Held<T>) {
        let versions = &mut self.view.names[self.at].versions;
        let order = &mut version_of(versions, &held.source.version).order;
        order.remove(&(held.changed, node.clone()));
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
            if let Some(steps) = self.steps.take() {
                let edited = Edited {
                    slot: Arc::clone(&name.slot),
                    before: std::mem::take(&mut self.before),
                    after,
                    steps,
                };
                self.view.log.push_change(edited);
            }
        }
        self.view.nodes = self.view.nodes + name.nodes.len() - self.had;
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

fn version_of<'a>(versions: &'a mut SmallVec<[Version; 1]>, version: &Arc<str>) -> &'a mut Version {
    let at = versions
        .iter()
        .position(|known| known.version == *version)
        .unwrap_or_else(|| {
            versions.push(Version {
                version: Arc::clone(version),
                order: BTreeSet::new(),
            });
            versions.len() - 1
        });
    &mut versions[at]
}

/// Enters a node among those of its version in the order of their changes.
fn hold<T>(versions: &mut SmallVec<[Version; 1]>, entry: Entry<T>, at: u32) -> (ById, Held<T>) {
    let Entry {
        source,
        node,
        changed,
        tag,
    } = entry;
    let order = &mut version_of(versions, &source.version).order;
    order.insert((changed, ById(Arc::clone(&node))));
    let held = Held {
        source,
        changed,
        at,
        tag,
    };
    (ById(node), held)
}

fn placed(source: &Service, node: &Arc<Node>) -> Placed {
    Placed {
        version: Arc::clone(&source.version),
        node: Arc::clone(node),
    }
}

impl<T> Name<T> {
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
            _ => {
                let Key { namespace, name } = &self.slot.key;
                Some(Arc::new(show(namespace, name, source, nodes)))
            }
        }
    }
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
