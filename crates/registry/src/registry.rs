use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    DeregisterOptions, GetOptions, ListOptions, NodeRef, Options, RegisterOptions, Result, Service,
    ServiceSummary, Services, WatchOptions, Watcher,
};

/// Where services are registered and found.
///
/// The methods here are the general ones; [`RegistryExt`] has the short forms for everyday use.
/// Every method may be dropped before it ends: what it was doing is then done or not done, never
/// half done.
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    /// What engine this is: `memory`, `mdns`, `etcd` or a third party's. Go's `String()`.
    fn name(&self) -> &str;

    /// The options that it was made with.
    fn options(&self) -> &Options;

    /// What the engine can do.
    fn capabilities(&self) -> Capabilities;

    /// Checks the options and connects. Optional: the first use does it, too.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::Error::InvalidOption), [`Unavailable`](crate::Error::Unavailable),
    /// [`PermissionDenied`](crate::Error::PermissionDenied).
    async fn init(&self) -> Result<()> {
        Ok(())
    }

    /// Registers every node of `service`, until its ttl ends or it is deregistered.
    ///
    /// Nodes are merged by id with those registered before; a known id is replaced, and moves if
    /// the version is another one. Repeating the call renews the ttl, and costs next to nothing
    /// with the same `Arc`.
    ///
    /// # Errors
    /// [`InvalidService`](crate::Error::InvalidService) and [`TooLarge`](crate::Error::TooLarge),
    /// with nothing registered; [`Replaced`](crate::Error::Replaced) when somebody else registered
    /// the same id later, until this handle deregisters it; [`Unavailable`](crate::Error::Unavailable)
    /// and [`Timeout`](crate::Error::Timeout): call again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old or the new registration; a later deregister removes
    /// either.
    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()>;

    /// Ends this handle's registrations of the nodes of `service`, or, if it names none, all of
    /// them in that version. Unknown ones are none to end.
    ///
    /// # Errors
    /// [`NotOwner`](crate::Error::NotOwner), with nothing ended, when somebody else registered one
    /// of the nodes named; with force, [`Unsupported`](crate::Error::Unsupported) by engines that
    /// can't.
    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()>;

    /// The live nodes of a service, one [`Service`] for each version, sorted by version.
    ///
    /// # Errors
    /// [`NotFound`](crate::Error::NotFound) when there is none;
    /// [`Unavailable`](crate::Error::Unavailable) when the present state can't be known, unless
    /// [`allow_stale`](GetOptions::allow_stale).
    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services>;

    /// What services there are, sorted by namespace and name; little of each by design.
    ///
    /// # Errors
    /// [`Unavailable`](crate::Error::Unavailable) when the present state can't be known, unless
    /// [`allow_stale`](ListOptions::allow_stale).
    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>>;

    /// Watches services: a snapshot, then every change.
    ///
    /// Returns once the present state is known, as far as the engine can know it.
    ///
    /// # Errors
    /// [`Unavailable`](crate::Error::Unavailable) when it can't be known within
    /// [`Options::timeout`].
    async fn watch(&self, options: WatchOptions) -> Result<Watcher>;

    /// Says that a caller could not connect to a node, so that the engine looks after it.
    ///
    /// # Errors
    /// [`Closed`](crate::Error::Closed).
    async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        let _ = node;
        Ok(())
    }

    /// Ends what this handle and its clones registered, and its watches, and lets everything go.
    /// Every later call gives [`Closed`](crate::Error::Closed); closing again is fine.
    ///
    /// # Errors
    /// [`Unavailable`](crate::Error::Unavailable) when others may still see the registrations,
    /// until they run out.
    async fn close(&self) -> Result<()>;
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[async_trait]
        impl<R: Registry + ?Sized> Registry for $pointer<R> {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn options(&self) -> &Options {
                (**self).options()
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            async fn init(&self) -> Result<()> {
                (**self).init().await
            }
            async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
                (**self).register_with(service, options).await
            }
            async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
                (**self).deregister_with(service, options).await
            }
            async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
                (**self).get_service_with(name, options).await
            }
            async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
                (**self).list_services_with(options).await
            }
            async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
                (**self).watch(options).await
            }
            async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
                (**self).report_unreachable(node).await
            }
            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
        }
    )*};
}

forward!(Arc Box);

/// The short forms of [`Registry`]'s methods, for every registry.
#[async_trait]
pub trait RegistryExt: Registry {
    /// [`Registry::register_with`] without options.
    ///
    /// # Errors
    /// As there.
    async fn register(&self, service: impl Into<Arc<Service>> + Send) -> Result<()> {
        self.register_with(service.into(), &RegisterOptions::default())
            .await
    }

    /// [`Registry::deregister_with`] without options.
    ///
    /// # Errors
    /// As there.
    async fn deregister(&self, service: &Service) -> Result<()> {
        self.deregister_with(service, &DeregisterOptions::default())
            .await
    }

    /// [`Registry::get_service_with`] without options.
    ///
    /// # Errors
    /// As there.
    async fn get_service(&self, name: &str) -> Result<Services> {
        self.get_service_with(name, &GetOptions::default()).await
    }

    /// [`Registry::list_services_with`] without options.
    ///
    /// # Errors
    /// As there.
    async fn list_services(&self) -> Result<Vec<ServiceSummary>> {
        self.list_services_with(&ListOptions::default()).await
    }

    /// [`Registry::watch`] of one service.
    ///
    /// # Errors
    /// As there.
    async fn watch_service(&self, name: impl Into<Arc<str>> + Send) -> Result<Watcher> {
        self.watch(WatchOptions::service(name)).await
    }
}

impl<R: Registry + ?Sized> RegistryExt for R {}

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The shortest ttl that is kept as given; a shorter one is refused.
    pub min_ttl: Duration,
    /// The longest ttl that is kept as given; a longer one is refused.
    pub max_ttl: Duration,
    /// What a ttl is rounded up to.
    pub ttl_granularity: Duration,
    /// How many bytes the name, the namespace and the id may have, each.
    pub max_name_len: usize,
    /// How many bytes a service with one node may take, as the engine counts; none: no limit.
    pub max_service_size: Option<usize>,
    /// Whether [`force`](DeregisterOptions::force) works.
    pub force_deregister: bool,
    /// Whether a name, a namespace and an id may be any text; else they are made of ASCII letters,
    /// digits and `-_/:` in parts with dots between them, and other texts may be refused.
    pub any_names: bool,
    /// Whether an address may have a host name; else only IP addresses are surely taken.
    pub host_names: bool,
}

impl Capabilities {
    /// An engine that can do everything and has no limit but names of 255 bytes.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            min_ttl: Duration::from_millis(1),
            max_ttl: Duration::from_secs(10 * 365 * 24 * 3600),
            ttl_granularity: Duration::from_millis(1),
            max_name_len: 255,
            max_service_size: None,
            force_deregister: true,
            any_names: true,
            host_names: true,
        }
    }

    /// Sets the ttls that are kept as given, and what they are rounded up to.
    #[must_use]
    pub fn with_ttl(mut self, min: Duration, max: Duration, granularity: Duration) -> Self {
        self.min_ttl = min;
        self.max_ttl = max;
        self.ttl_granularity = granularity;
        self
    }

    /// Sets how many bytes the name, the namespace and the id may have, each.
    #[must_use]
    pub fn with_max_name_len(mut self, bytes: usize) -> Self {
        self.max_name_len = bytes;
        self
    }

    /// Sets how many bytes a service with one node may take.
    #[must_use]
    pub fn with_max_service_size(mut self, bytes: usize) -> Self {
        self.max_service_size = Some(bytes);
        self
    }

    /// Sets whether names, namespaces and ids may be any text.
    #[must_use]
    pub fn with_any_names(mut self, any: bool) -> Self {
        self.any_names = any;
        self
    }

    /// Sets whether addresses may have host names.
    #[must_use]
    pub fn with_host_names(mut self, may: bool) -> Self {
        self.host_names = may;
        self
    }

    /// Sets whether force works.
    #[must_use]
    pub fn with_force_deregister(mut self, works: bool) -> Self {
        self.force_deregister = works;
        self
    }
}
