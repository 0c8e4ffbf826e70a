use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tracing::Instrument;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
    validate, view::Topic,
};

use crate::{
    EtcdOptions, NAME, TELEMETRY, catalog::Catalog, client::Client, keys::Keys, listing,
    lookups::Lookups, own::Own, scopes::Scopes, value::MAX_VALUE,
};

const MAX_NAME_LEN: usize = 255;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// For ever, and yet a time that can be added to another.
const LONGEST_TIMEOUT: Duration = YEAR.saturating_mul(30);
const SECOND: Duration = Duration::from_secs(1);

/// The registry for many machines: services are kept in an etcd cluster.
///
/// Nothing is connected before the first use, which has to be within a tokio runtime. Clones share
/// everything.
#[derive(Clone)]
pub struct EtcdRegistry(Arc<Inner>);

struct Inner {
    options: Options,
    etcd: EtcdOptions,
    client: Arc<Client>,
    keys: Keys,
    own: Own,
    lookups: Lookups,
    scopes: Scopes,
    closed: AtomicBool,
}

impl EtcdRegistry {
    /// A registry with these options.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], with the option and what would be right.
    pub fn new(mut options: Options, etcd: EtcdOptions) -> Result<Self> {
        etcd.check()?;
        options.timeout = options.timeout.min(LONGEST_TIMEOUT);
        let client = Arc::new(Client::new(&options)?);
        let keys = Keys(etcd.layout);
        let (namespace, limit) = (&options.namespace, options.timeout);
        Ok(Self(Arc::new(Inner {
            lookups: Lookups::new(Arc::clone(&client), keys, Arc::clone(namespace), limit),
            scopes: Scopes::new(Arc::clone(&client), keys, Arc::clone(namespace), limit),
            own: Own::new(Arc::clone(&client), keys, &options, &etcd),
            client,
            keys,
            options,
            etcd,
            closed: AtomicBool::new(false),
        })))
    }

    /// How it uses the cluster.
    #[must_use]
    pub fn etcd_options(&self) -> &EtcdOptions {
        &self.0.etcd
    }
}

impl Inner {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn namespace(&self, given: &Arc<str>) -> Arc<str> {
        let own = &self.options.namespace;
        Arc::clone(if given.is_empty() { own } else { given })
    }
}

#[async_trait]
impl Registry for EtcdRegistry {
    fn name(&self) -> &str {
        NAME
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::unlimited()
            .with_ttl(SECOND, 10 * YEAR, SECOND)
            .with_max_name_len(MAX_NAME_LEN)
            .with_max_service_size(MAX_VALUE)
    }

    async fn init(&self) -> Result<()> {
        let inner = &*self.0;
        inner.check_open()?;
        let topic = Topic::new(Some(Arc::clone(&inner.options.namespace)), None);
        let prefix = inner.keys.prefix(&topic);
        listing::newest(&inner.client, &prefix, inner.options.timeout).await?;
        Ok(())
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        let span = TELEMETRY.register(&service);
        async {
            let inner = &*self.0;
            inner.check_open()?;
            let ttl = options.ttl.or(service.ttl);
            let namespace = inner.namespace(&service.namespace);
            if let Some(known) = inner.own.repeat(&namespace, &service, ttl) {
                return known;
            }
            validate::service(&service, ttl, &self.capabilities())?;
            inner.own.register(namespace, service, ttl).await
        }
        .instrument(span)
        .await
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        let span = TELEMETRY.deregister(service);
        async {
            let inner = &*self.0;
            inner.check_open()?;
            let namespace = inner.namespace(&service.namespace);
            inner.own.deregister(&namespace, service, options).await
        }
        .instrument(span)
        .await
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let span = TELEMETRY.get_service(name);
        async {
            let inner = &*self.0;
            inner.check_open()?;
            let namespace = match &options.namespace {
                Some(namespace) if !namespace.is_empty() => namespace,
                _ => &inner.options.namespace,
            };
            validate::name("namespace", namespace, MAX_NAME_LEN)?;
            validate::name("name", name, MAX_NAME_LEN)?;
            let name: Arc<str> = name.into();
            let topic = Topic::service(Arc::clone(namespace), Arc::clone(&name));
            let written = inner.own.written(namespace, &name);
            let found = match inner.scopes.proven(&topic, written) {
                Some(reader) => Ok(reader.get(namespace, &name)),
                None => inner.lookups.get(namespace, &name).await,
            };
            let services = match found {
                Err(error) if options.allow_stale && error.is_retryable() => {
                    let watched = inner.scopes.known(&topic);
                    let watched = watched.map(|reader| reader.get(namespace, &name));
                    let known = watched.or_else(|| inner.lookups.known(namespace, &name));
                    known.filter(|known| !known.is_empty()).ok_or(error)?
                }
                other => other?,
            };
            if services.is_empty() {
                return Err(Error::not_found(Arc::clone(namespace), name));
            }
            Ok(services)
        }
        .instrument(span)
        .await
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let span = TELEMETRY.list_services();
        async {
            let inner = &*self.0;
            inner.check_open()?;
            let namespace = options.namespace.resolve(&inner.options.namespace);
            let topic = Topic::new(namespace.cloned(), None);
            let namespace = namespace.map(|namespace| &**namespace);
            let prefix = inner.keys.prefix(&topic);
            match listing::list(&inner.client, &prefix, inner.options.timeout).await {
                Ok(listing) => {
                    let mut catalog =
                        Catalog::new(inner.keys, Arc::clone(&inner.options.namespace));
                    catalog.replace(&listing.kvs);
                    Ok(catalog.view.reader().list(namespace))
                }
                Err(failure) => {
                    let error = Error::from(failure);
                    let known = inner.scopes.known(&topic);
                    match known.filter(|_| options.allow_stale && error.is_retryable()) {
                        Some(reader) => Ok(reader.list(namespace)),
                        None => Err(error),
                    }
                }
            }
        }
        .instrument(span)
        .await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        let span = TELEMETRY.watch(options.service.as_deref());
        async {
            let inner = &*self.0;
            inner.check_open()?;
            if let Some(service) = &options.service {
                validate::name("service", service, MAX_NAME_LEN)?;
            }
            let namespace = options.namespace.resolve(&inner.options.namespace).cloned();
            let topic = Topic::new(namespace, options.service);
            inner.scopes.watch(topic, options.allow_stale).await
        }
        .instrument(span)
        .await
    }

    async fn report_unreachable(&self, _node: &NodeRef) -> Result<()> {
        self.0.check_open()
    }

    async fn close(&self) -> Result<()> {
        if !self.0.closed.swap(true, Ordering::AcqRel) {
            self.0.scopes.close();
            self.0.lookups.clear();
        }
        self.0.own.close().await
    }
}

impl fmt::Debug for EtcdRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdRegistry")
            .field("options", &self.0.options)
            .field("etcd", &self.0.etcd)
            .finish_non_exhaustive()
    }
}
