//! The registry in this process: for tests, for several services in one program.

mod expiry;
mod store;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use self::store::{Owner, Store};
use crate::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
    telemetry::Telemetry,
    validate,
    view::{Reader, Topic},
};

/// A registry that lives and ends with the process.
///
/// A look-up copies a pointer, whatever the number of nodes. Registrations live until they are
/// deregistered, their ttl ends or the handle that made them is closed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vine_registry::Result<()> {
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};
///
/// let registry = MemoryRegistry::new();
/// registry.register(Service::new("go.vine.test", "v1.0.0").with_node(Node::new("a", "127.0.0.1:11500"))).await?;
///
/// // Another handle over the same store: what it registers is its own.
/// let other = registry.handle();
/// assert_eq!(other.get_service("go.vine.test").await?.node_count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryRegistry(Arc<Handle>);

struct Handle {
    options: Options,
    owner: Owner,
    store: Arc<Store>,
    /// Beside the store, so that look-ups go straight to it.
    reader: Reader,
}

const NAME: &str = "memory";

const TELEMETRY: Telemetry = Telemetry::new(NAME);

impl MemoryRegistry {
    /// A registry without services.
    #[must_use]
    pub fn new() -> Self {
        Self::over(Store::new(), Options::default())
    }

    /// A registry that starts with [`Options::services`]. Those stay until they are deregistered,
    /// whatever their ttl.
    ///
    /// # Errors
    /// [`Error::InvalidService`] when one of them is not valid.
    pub fn with_options(mut options: Options) -> Result<Self> {
        let services = std::mem::take(&mut options.services);
        let registry = Self::over(Store::new(), options);
        for service in &services {
            validate::service(service, None, &registry.capabilities())?;
            registry.0.store.register(
                &registry.0.owner,
                registry.0.namespace(&service.namespace),
                service,
                None,
            )?;
        }
        Ok(registry)
    }

    /// Another handle over the same store, as another process would have.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self::over(Arc::clone(&self.0.store), self.0.options.clone())
    }

    /// Another handle over the same store with options of its own.
    #[must_use]
    pub fn handle_with(&self, options: Options) -> Self {
        Self::over(Arc::clone(&self.0.store), options)
    }

    fn over(store: Arc<Store>, options: Options) -> Self {
        Self(Arc::new(Handle {
            owner: store.owner(&options.namespace),
            options,
            reader: store.reader(),
            store,
        }))
    }
}

impl Handle {
    fn namespace<'a>(&'a self, given: &'a Arc<str>) -> &'a Arc<str> {
        if given.is_empty() {
            &self.options.namespace
        } else {
            given
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.owner.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }
}

impl Drop for Handle {
    /// What it registered stays: only [`Registry::close`] ends that.
    fn drop(&mut self) {
        self.store.leave(&self.owner);
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    fn name(&self) -> &str {
        NAME
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::unlimited()
    }

    async fn init(&self) -> Result<()> {
        self.0.check_open()
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        let _span = TELEMETRY.register(&service).entered();
        let handle = &*self.0;
        handle.check_open()?;
        let namespace = handle.namespace(&service.namespace);
        let ttl = options.ttl.or(service.ttl);
        if handle.store.renew(&handle.owner, namespace, &service, ttl) {
            return Ok(());
        }
        validate::service(&service, ttl, &self.capabilities())?;
        handle
            .store
            .register(&handle.owner, namespace, &service, ttl)
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        let _span = TELEMETRY.deregister(service).entered();
        let handle = &*self.0;
        handle.check_open()?;
        handle.store.deregister(
            &handle.owner,
            handle.namespace(&service.namespace),
            service,
            options.force,
        )
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let handle = &*self.0;
        handle.check_open()?;
        let given = options.namespace.as_ref().filter(|given| !given.is_empty());
        let namespace = given.unwrap_or(&handle.options.namespace);
        let services = handle.reader.get(namespace, name);
        if services.is_empty() {
            let limit = self.capabilities().max_name_len;
            validate::name("namespace", namespace, limit)?;
            validate::name("name", name, limit)?;
            return Err(Error::not_found(Arc::clone(namespace), name));
        }
        Ok(services)
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let _span = TELEMETRY.list_services().entered();
        let handle = &*self.0;
        handle.check_open()?;
        let namespace = options.namespace.resolve(&handle.options.namespace);
        Ok(handle.reader.list(namespace.map(|namespace| &**namespace)))
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        let _span = TELEMETRY.watch(options.service.as_deref()).entered();
        let handle = &*self.0;
        handle.check_open()?;
        if let Some(service) = &options.service {
            validate::name("service", service, self.capabilities().max_name_len)?;
        }
        let namespace = options
            .namespace
            .resolve(&handle.options.namespace)
            .cloned();
        handle
            .store
            .watch(&handle.owner, Topic::new(namespace, options.service))
    }

    async fn report_unreachable(&self, _node: &NodeRef) -> Result<()> {
        self.0.check_open()
    }

    async fn close(&self) -> Result<()> {
        self.0.store.close(&self.0.owner);
        Ok(())
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegistry")
            .field("options", &self.0.options)
            .field("services", &self.0.reader)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
