//! A registry in front of another one, which remembers.

mod backoff;
mod disk;
mod entry;
mod follow;
mod idle;
mod loss;
mod names;
mod options;
mod registry;
mod snapshots;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{runtime::Handle, sync::watch};
use vine_registry::{Error, NodeRef, Registry, Result, Services};

pub(crate) use self::entry::Entry;
use self::{disk::Disk, follow::Follower, names::Names};
pub use self::{loss::LossGuard, options::CacheOptions};
use crate::{Known, Subscription};

/// Remembers the services that are looked up, and keeps that true by watching them.
///
/// The first look-up of a name starts a watch, and all who ask meanwhile wait for that one; from
/// then on look-ups copy a pointer. That a name does not exist is known by its watch, too. While
/// the registry can't be reached, what was known is served; [`Subscription::known`] tells how old
/// it is.
///
/// It is a [`Registry`] itself: everything but look-ups by name goes to the registry behind it.
/// Clones share what is remembered. Its tasks run on the runtime of whoever asks first for a name.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vine_registry::Result<()> {
/// use vine_discovery::Cache;
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};
///
/// let cache = Cache::new(MemoryRegistry::new());
/// cache.register(Service::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80"))).await?;
///
/// assert!(cache.peek("go.vine.test").is_none(), "nobody asked yet");
/// assert_eq!(cache.get_service("go.vine.test").await?.node_count(), 1);
/// assert_eq!(cache.peek("go.vine.test").unwrap().node_count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

/// What the clones of a cache and its subscriptions share.
pub(crate) struct Inner {
    registry: Arc<dyn Registry>,
    /// That of the registry's options.
    namespace: Arc<str>,
    options: CacheOptions,
    disk: Option<Arc<Disk>>,
    names: Names,
    /// The same as `closed`, for look-ups, which take no lock.
    is_closed: AtomicBool,
    /// Tells the tasks.
    closed: watch::Sender<bool>,
}

impl Cache {
    /// A cache over `registry`.
    #[must_use]
    pub fn new(registry: impl Registry) -> Self {
        Self::with_options(registry, CacheOptions::default())
    }

    /// A cache over `registry` with options.
    #[must_use]
    pub fn with_options(registry: impl Registry, options: CacheOptions) -> Self {
        let folder = options.snapshots.clone();
        let disk = folder.map(|folder| Disk::new(folder, &registry));
        Self(Arc::new(Inner {
            namespace: Arc::clone(&registry.options().namespace),
            registry: Arc::new(registry),
            disk: disk.map(Arc::new),
            options,
            names: Names::new(),
            is_closed: AtomicBool::new(false),
            closed: watch::Sender::new(false),
        }))
    }

    /// What is known of a service of the registry's own namespace; empty if it is known not to
    /// exist, none if nobody asked for it yet or the registry has not answered.
    ///
    /// Asks nobody and never waits. Of a service known from before an outage it gives that; that there
    /// was none then does not say that there is none.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<Services> {
        self.peek_in(&self.0.namespace, name)
    }

    /// [`peek`](Self::peek) in any namespace.
    #[must_use]
    pub fn peek_in(&self, namespace: &str, name: &str) -> Option<Services> {
        let look = |entry: &Entry, known: &Known| {
            entry.touch();
            (known.is_none() || !known.services.is_empty()).then(|| known.services.clone())
        };
        self.0.names.with(namespace, name, look).flatten()
    }

    /// Follows a service of the registry's own namespace.
    ///
    /// # Panics
    /// Outside a tokio runtime, if nobody asked for the name before.
    #[must_use]
    pub fn subscribe(&self, name: &str) -> Subscription {
        self.subscribe_in(&self.0.namespace, name)
    }

    /// [`subscribe`](Self::subscribe) in any namespace.
    ///
    /// # Panics
    /// Outside a tokio runtime, if nobody asked for the name before.
    #[must_use]
    pub fn subscribe_in(&self, namespace: &str, name: &str) -> Subscription {
        let inner = &self.0;
        let (entry, changes, follower) = inner.names.hold(namespace, name, |entry| {
            (Handle::current(), Follower::new(Arc::clone(entry), inner))
        });
        // Unlocked: on a runtime that shuts down, the task ends here and now, and lets the name go.
        if let Some((runtime, follower)) = follower {
            runtime.spawn(follower.run());
        }
        Subscription::new(Arc::clone(inner), entry, changes)
    }

    /// How many names it follows.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.0.names.len()
    }

    /// Lets names go that nobody holds, so that one more is within what is kept, if possible.
    #[cfg(feature = "hyper")]
    pub(crate) fn make_room(&self) {
        let _has_room = self.0.has_room();
    }

    /// How long names are kept that nobody uses, and how many.
    #[cfg(feature = "hyper")]
    pub(crate) fn limits(&self) -> (std::time::Duration, usize) {
        (self.0.options.idle, self.0.options.max_names)
    }
}

impl Inner {
    pub(crate) async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        self.registry.report_unreachable(node).await
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Whether one more name may be followed for look-ups.
    fn has_room(&self) -> bool {
        while self.names.len() >= self.options.max_names {
            if !self.names.evict() {
                return false;
            }
        }
        true
    }

    fn end(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.send_replace(true);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("registry", &self.0.registry)
            .field("options", &self.0.options)
            .field("names", &self.name_count())
            .finish_non_exhaustive()
    }
}
