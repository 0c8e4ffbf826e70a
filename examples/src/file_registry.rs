//! A registry in a JSON file: how to write an engine of one's own.
//!
//! Processes that name the same file find each other. An engine has three things to bring:
//!
//! 1. Where registrations live, and who holds them: `store.rs`, a file that is read whole and
//!    replaced whole, under a lock.
//! 2. How changes get to watches: `watching.rs`, which reads the file again when it has changed
//!    and hands the whole to a [`Publisher`](vine::Publisher). What is different, in which order
//!    and for how slow a reader is the publisher's business.
//! 3. The calls: this file. [`validate`] checks what is given, the namespace and the ttl are
//!    settled, and the store does the rest.
//!
//! `tests/file_registry.rs` runs the suite of cases that every engine passes. A program takes the
//! engine in by name: `registries.insert("file", FileRegistry::new)`, see
//! `examples/file_registry.rs`.

mod store;
mod watching;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use vine::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
    validate,
};

use self::{
    store::{Contents, Holder, Store},
    watching::{Scope, Watches},
};

const NAME: &str = "file";

/// A handle of a registry in a JSON file. Its one setting, `path`, names the file.
#[derive(Clone, Debug)]
pub struct FileRegistry(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    options: Options,
    store: Arc<Store>,
    /// What this handle holds. Locked until a call has taken effect, also when the caller has
    /// dropped it: so calls take effect in the order in which they were made.
    holder: Arc<tokio::sync::Mutex<Holder>>,
    watches: Arc<Watches>,
}

impl FileRegistry {
    /// A registry in the file that the parameter `path` names. It need not be there yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] without a path, and for settings that there are none of.
    pub fn new(options: Options) -> Result<Self> {
        let unknown = options.parameters.keys().find(|key| *key != "path");
        if let Some(unknown) = unknown {
            let reason = "is none of the file registry's; it has just path";
            return Err(Error::invalid_option(unknown.clone(), reason));
        }
        let Some(path) = options.parameters.get("path") else {
            let reason = "is missing; say --registry.option path=services.json";
            return Err(Error::invalid_option("path", reason));
        };
        let (store, holder) = (Arc::new(Store::new(path)), Holder::new());
        Ok(Self(Arc::new(Handle {
            watches: Watches::new(Arc::clone(&store), holder.owner.clone()),
            holder: Arc::new(tokio::sync::Mutex::new(holder)),
            store,
            options,
        })))
    }

    /// Changes the file, alone among all processes.
    async fn change(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Holder, &mut Contents) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Handle { store, holder, .. } = &*self.0;
        self.in_time(operation, async {
            let mut holder = Arc::clone(holder).lock_owned().await;
            self.0.watches.check_open()?;
            let store = Arc::clone(store);
            blocking(move || store.change(|contents| change(&mut holder, contents))).await
        })
        .await?;
        self.0.watches.attend();
        Ok(())
    }

    /// Reads the file. It is always whole, so no lock is needed.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(Contents) -> T + Send + 'static,
    ) -> Result<T> {
        self.0.watches.check_open()?;
        let store = Arc::clone(&self.0.store);
        let reading = blocking(move || Ok(read(store.load()?)));
        self.in_time(operation, reading).await
    }

    async fn in_time<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let after = self.0.options.timeout;
        let answer = tokio::time::timeout(after, call).await;
        answer.unwrap_or_else(|_| {
            let operation = operation.into();
            Err(Error::Timeout { operation, after })
        })
    }

    fn namespace(&self, given: &Arc<str>) -> Arc<str> {
        let own = &self.0.options.namespace;
        Arc::clone(if given.is_empty() { own } else { given })
    }
}

#[async_trait]
impl Registry for FileRegistry {
    fn name(&self) -> &str {
        NAME
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn capabilities(&self) -> Capabilities {
        // The model's JSON has whole seconds.
        let second = Duration::from_secs(1);
        Capabilities::unlimited().with_ttl(second, second * 1_000_000_000, second)
    }

    async fn init(&self) -> Result<()> {
        self.read("init", drop).await
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        validate::service(&service, options.ttl, &self.capabilities())?;
        let mut service = Service::clone(&service);
        service.namespace = self.namespace(&service.namespace);
        service.ttl = options.ttl.or(service.ttl).map(whole_seconds);
        self.change("register", move |holder, contents| {
            contents.register(holder, &service)
        })
        .await
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        let namespace = self.namespace(&service.namespace);
        let service = service.clone().with_namespace(namespace);
        let force = options.force;
        self.change("deregister", move |holder, contents| {
            contents.deregister(holder, &service, force)
        })
        .await
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let namespace = self.namespace(&options.namespace.clone().unwrap_or_default());
        let limit = self.capabilities().max_name_len;
        validate::name("namespace", &namespace, limit)?;
        validate::name("name", name, limit)?;
        let scope = Scope::one(Arc::clone(&namespace), name);
        let services = self.read("get_service", move |contents| {
            contents.services(|service| scope.has(service))
        });
        match services.await? {
            none if none.is_empty() => Err(Error::not_found(namespace, name)),
            services => Ok(services),
        }
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let scope = Scope::new(&options.namespace, &self.0.options.namespace, None);
        self.read("list_services", move |contents| {
            summaries(&contents.services(|service| scope.has(service)))
        })
        .await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        if let Some(name) = &options.service {
            validate::name("service", name, self.capabilities().max_name_len)?;
        }
        let own = &self.0.options.namespace;
        let scope = Scope::new(&options.namespace, own, options.service.clone());
        let watches = Arc::clone(&self.0.watches);
        let watcher = self.in_time("watch", blocking(move || watches.begin(scope)));
        let watcher = watcher.await?;
        self.0.watches.attend();
        Ok(watcher)
    }

    async fn report_unreachable(&self, _node: &NodeRef) -> Result<()> {
        self.0.watches.check_open()
    }

    async fn close(&self) -> Result<()> {
        let watches = Arc::clone(&self.0.watches);
        let ended = self.change("close", move |holder, contents| {
            contents.remove_all(holder);
            watches.close();
            Ok(())
        });
        let ended = ended.await;
        self.0.watches.close();
        match ended {
            Err(Error::Closed) => Ok(()),
            answer => answer,
        }
    }
}

/// One summary for each name; the services are sorted by namespace and name.
fn summaries(services: &Services) -> Vec<ServiceSummary> {
    let same =
        |a: &Arc<Service>, b: &Arc<Service>| (&a.namespace, &a.name) == (&b.namespace, &b.name);
    let summary = |group: &[Arc<Service>]| {
        let versions = group.iter().map(|service| Arc::clone(&service.version));
        let nodes = group.iter().map(|service| service.nodes.len()).sum();
        let (namespace, name) = (Arc::clone(&group[0].namespace), Arc::clone(&group[0].name));
        ServiceSummary::new(namespace, name, versions, Some(nodes))
    };
    services.chunk_by(same).map(summary).collect()
}

fn whole_seconds(ttl: Duration) -> Duration {
    Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
}

/// Files are read and written by threads that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Engine {
            registry: NAME.into(),
            retryable: false,
            source: Arc::new(error),
        }),
    }
}
