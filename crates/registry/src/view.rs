//! What an engine knows of all services: merged by one writer, read by anybody without a lock,
//! and told to watchers. For authors of engines.
//!
//! An engine [`edit`](View::edit)s the nodes of a service; the view works out what the service looks
//! like then, publishes that to its [`Reader`]s and tells the [`Watcher`]s the exact difference.
//! A task hands the changes out, so an edit costs the same whether one watches or ten thousand do.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use std::sync::Arc;
//! use vine_registry::{Node, Service, view::{Entry, Topic, View}};
//!
//! let mut view = View::new("example");
//! let mut watcher = view.watch(Topic::service("vine", "go.vine.test"), 0);
//!
//! let service = Arc::new(Service::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80")));
//! let mut edit = view.edit("vine", "go.vine.test");
//! for node in &service.nodes {
//!     edit.put(Entry { source: service.clone(), node: node.clone(), changed: 1, tag: () });
//! }
//! edit.commit();
//!
//! assert_eq!(view.reader().get("vine", "go.vine.test").node_count(), 1);
//! assert_eq!(watcher.next_event().await.map(|event| event.service.nodes.len()), Some(1));
//! # }
//! ```

mod dispatcher;
mod edit;
mod edited;
mod log;
mod merge;
mod reader;
mod slot;

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use indexmap::IndexMap;
use slab::Slab;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

pub use self::{dispatcher::Topic, edit::Edit, merge::merge, reader::Reader};
use self::{
    dispatcher::{Command, Dispatcher, Interest},
    log::Log,
    reader::{Key, Pair},
    slot::Slot,
};
use crate::{Error, Node, Service, Update, Watcher, telemetry::Telemetry, watch::Queue};

/// One node as it was registered.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "engines make it")]
pub struct Entry<T> {
    /// The service that the node was registered with: its version and what belongs to the service.
    /// Its nodes and its namespace do not matter here.
    pub source: Arc<Service>,
    /// The node.
    pub node: Arc<Node>,
    /// Orders the changes of all nodes of a service; of two alike, the greater id counts as later.
    pub changed: u64,
    /// What the engine itself wants to remember.
    pub tag: T,
}

/// The services that an engine knows; see the [module](self).
pub struct View<T> {
    index: HashMap<Key, usize, foldhash::fast::RandomState>,
    names: Slab<Name<T>>,
    reader: Reader,
    /// How many nodes there are.
    nodes: usize,
    log: Arc<Log>,
    dispatcher: Option<JoinHandle<()>>,
    interest: Arc<Interest>,
    telemetry: Telemetry,
    stale: Option<Error>,
}

/// One service in all its versions.
struct Name<T> {
    /// By id: a small table beside the entries, so that one among many is found, or found missing,
    /// with few steps outside the processor's caches.
    nodes: IndexMap<ById, Held<T>, foldhash::fast::RandomState>,
    versions: SmallVec<[Version; 1]>,
    slot: Arc<Slot>,
}

/// A node, hashed and compared by its id alone.
#[derive(Clone)]
struct ById(Arc<Node>);

struct Held<T> {
    source: Arc<Service>,
    changed: u64,
    /// Its position among the nodes of its version.
    at: u32,
    tag: T,
}

struct Version {
    version: Arc<str>,
    /// Who changed when: what belongs to the service is taken from the last.
    order: BTreeSet<(u64, ById)>,
}

impl<T> View<T> {
    /// A view without services, for an engine of this [name](crate::Registry::name): under that it
    /// tells of its watchers, see [`telemetry`](crate::telemetry).
    #[must_use]
    pub fn new(registry: &'static str) -> Self {
        let telemetry = Telemetry::new(registry);
        Self {
            index: HashMap::default(),
            names: Slab::new(),
            reader: Reader::new(),
            nodes: 0,
            log: Log::new(),
            dispatcher: None,
            interest: Interest::new(telemetry),
            telemetry,
            stale: None,
        }
    }

    /// Reads this view from anywhere.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Begins to change the nodes of one service. Nothing shows before
    /// [`commit`](Edit::commit).
    pub fn edit(
        &mut self,
        namespace: impl AsRef<str> + Into<Arc<str>>,
        name: impl AsRef<str> + Into<Arc<str>>,
    ) -> Edit<'_, T> {
        Edit::new(self, namespace, name)
    }

    /// A node of a service.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str, id: &str) -> Option<Entry<&T>> {
        self.name(namespace, name)?.get(id)
    }

    /// What the engine remembers of a node.
    #[must_use]
    pub fn tag(&self, namespace: &str, name: &str, id: &str) -> Option<&T> {
        Some(&self.name(namespace, name)?.nodes.get(id)?.tag)
    }

    /// The nodes of a service, in all its versions.
    pub fn nodes(&self, namespace: &str, name: &str) -> impl Iterator<Item = Entry<&T>> {
        self.name(namespace, name)
            .into_iter()
            .flat_map(Name::entries)
    }

    /// How many nodes of all services there are.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.nodes
    }

    /// All nodes of all services, with namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Entry<&T>)> {
        self.names.iter().flat_map(|(_, name)| {
            let Key {
                namespace,
                name: own,
            } = &name.slot.key;
            name.entries().map(move |entry| (namespace, own, entry))
        })
    }

    /// Watches what `topic` covers, from the present state on. The owner is any number of the
    /// engine's, for [`end_watches`](Self::end_watches).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(&mut self, topic: Topic, owner: u64) -> Watcher {
        self.dispatch();
        let snapshot = self.reader.snapshot(&topic);
        let queue = Queue::new();
        if let Some(error) = &self.stale {
            queue.push_control(Update::Stale(error.clone()).into());
        }
        let subscription = Interest::subscribe(&self.interest, &self.log, topic, owner, &queue);
        Watcher::new(snapshot, queue, Some(Box::new(subscription)))
    }

    /// Ends the watches of an owner.
    pub fn end_watches(&self, owner: u64) {
        self.log.push_command(Command::End(owner));
    }

    /// How many watchers this topic itself has; wider ones do not count.
    #[must_use]
    pub fn watchers(&self, topic: &Topic) -> usize {
        self.interest.count(topic)
    }

    /// Tells all watchers that the registry can't be reached. Again means nothing.
    pub fn stale(&mut self, error: Error) {
        if self.stale.is_none() {
            self.stale = Some(error.clone());
            self.log.push_command(Command::Status(Update::Stale(error)));
        }
    }

    /// Tells all watchers that the registry can be reached again, if it could not.
    pub fn live(&mut self) {
        if self.stale.take().is_some() {
            self.log.push_command(Command::Status(Update::Live));
        }
    }

    /// Why the registry can't be reached, if so.
    #[must_use]
    pub fn staleness(&self) -> Option<&Error> {
        self.stale.as_ref()
    }

    fn name(&self, namespace: &str, name: &str) -> Option<&Name<T>> {
        let at = *self.index.get(&(namespace, name) as &dyn Pair)?;
        self.names.get(at)
    }

    /// Sees to it that changes are handed out: again, if the runtime that did it is gone.
    fn dispatch(&mut self) {
        if self.dispatcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let dispatcher = Dispatcher::new(Arc::clone(&self.log), self.telemetry);
            self.dispatcher = Some(tokio::spawn(dispatcher.run()));
        }
    }
}

impl<T> Name<T> {
    fn get(&self, id: &str) -> Option<Entry<&T>> {
        let (node, held) = self.nodes.get_key_value(id)?;
        Some(held.entry(node))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<&T>> {
        self.nodes.iter().map(|(node, held)| held.entry(node))
    }
}

impl<T> Held<T> {
    fn entry<'a>(&'a self, node: &ById) -> Entry<&'a T> {
        Entry {
            source: Arc::clone(&self.source),
            node: Arc::clone(&node.0),
            changed: self.changed,
            tag: &self.tag,
        }
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl<T> Drop for View<T> {
    fn drop(&mut self) {
        self.log.close();
    }
}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("names", &self.names.len())
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
