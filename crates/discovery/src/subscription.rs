use std::{fmt, sync::Arc};

use tokio::sync::watch;
use vine_registry::{Error, NodeRef, Result, Services};

use crate::{
    Known, Standing,
    cache::{Entry, Inner},
};

/// One service, as the cache knows it at every moment.
///
/// As long as it lives, the cache follows the service, through outages of the registry, too. Clones
/// are cheap, and each waits for changes on its own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vine_registry::Result<()> {
/// use vine_discovery::Cache;
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};
///
/// let cache = Cache::new(MemoryRegistry::new());
/// let mut subscription = cache.subscribe("go.vine.test");
/// assert!(subscription.ready().await?.is_empty());
///
/// cache.register(Service::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80"))).await?;
/// subscription.changed().await?;
/// assert_eq!(subscription.services().node_count(), 1);
/// assert!(!subscription.known().is_stale());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Subscription {
    cache: Arc<Inner>,
    entry: Arc<Entry>,
    changes: watch::Receiver<u64>,
}

impl Subscription {
    pub(crate) fn new(cache: Arc<Inner>, entry: Arc<Entry>, changes: watch::Receiver<u64>) -> Self {
        Self {
            cache,
            entry,
            changes,
        }
    }

    /// The name of the service.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.entry.name
    }

    /// The namespace of the service.
    #[must_use]
    pub fn namespace(&self) -> &Arc<str> {
        &self.entry.namespace
    }

    /// The service in its versions, as the registry says or said last. A pointer copy.
    #[must_use]
    pub fn services(&self) -> Services {
        self.entry.known().services.clone()
    }

    /// All that is known of the service: suspects and age, too.
    #[must_use]
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.entry.known())
    }

    /// Waits until it is known which nodes there are, from the registry or from before an outage,
    /// and gives them; there may be none.
    ///
    /// # Errors
    /// Why the registry can't tell, after it was asked once more. Call again to wait on, unless it
    /// can't change: [`Error::Closed`], [`Error::InvalidService`] for a name that can't be one, and
    /// [`Error::InvalidOption`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn ready(&mut self) -> Result<Services> {
        let known = self.asked(Known::is_known).await;
        match &known.standing {
            Standing::Unknown(error) => Err(error.clone().unwrap_or(Error::Closed)),
            _ => Ok(known.services.clone()),
        }
    }

    /// Waits until something changed that this subscription has not waited for yet: nodes, suspects,
    /// or how far that can be trusted. Several changes may count as one.
    ///
    /// # Errors
    /// Why nothing will change any more: [`Error::Closed`] when the registry was closed,
    /// [`Error::InvalidService`] for a name that can't be one, [`Error::InvalidOption`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<()> {
        let end = self.entry.known().end().cloned();
        match end {
            Some(end) if !self.changes.has_changed().unwrap_or(false) => Err(end),
            _ => self.changes.changed().await.map_err(|_| Error::Closed),
        }
    }

    /// Says that a node of this service could not be connected to: it is no longer a suspect then,
    /// and the registry looks after it.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn report_unreachable(&self, id: &str) -> Result<()> {
        self.entry.refuse(id);
        let node =
            NodeRef::new(Arc::clone(self.name()), id).with_namespace(Arc::clone(self.namespace()));
        self.cache.report_unreachable(&node).await
    }

    /// Waits until what is known will do, or else until one more attempt to learn it has failed.
    pub(crate) async fn asked(&mut self, will_do: impl Fn(&Known) -> bool) -> Arc<Known> {
        self.changes.mark_unchanged();
        let mut known = self.known();
        let mut waits = known.is_awaited;
        if matches!(known.standing, Standing::Unknown(Some(_))) {
            self.entry.want();
            waits = true;
        }
        while waits && !will_do(&known) && self.changed().await.is_ok() {
            known = self.known();
            waits = known.is_awaited;
        }
        known
    }

    /// From now on, only what comes is a change.
    pub(crate) fn mark_seen(&mut self) {
        self.changes.mark_unchanged();
    }

    pub(crate) fn entry(&self) -> Arc<Entry> {
        Arc::clone(&self.entry)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}
