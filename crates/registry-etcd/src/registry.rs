use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
    next_epoch, validate, view::Topic,
};

use crate::{
    EtcdOptions, NAME,
    catalog::Catalog,
    client::Client,
    keys::Keys,
    listing,
    proto::{DeleteRangeRequest, LeaseGrantRequest, PutRequest},
    value::{self, MAX_VALUE},
};

const MAX_NAME_LEN: usize = 255;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
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
    client: Client,
    keys: Keys,
    closed: AtomicBool,
}

impl EtcdRegistry {
    /// A registry with these options.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], with the option and what would be right.
    pub fn new(options: Options, etcd: EtcdOptions) -> Result<Self> {
        etcd.check()?;
        Ok(Self(Arc::new(Inner {
            client: Client::new(&options)?,
            keys: Keys(etcd.layout),
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

    async fn catalog(&self, topic: &Topic) -> Result<Catalog> {
        let prefix = self.keys.prefix(topic);
        let listing = listing::list(&self.client, &prefix, self.options.timeout).await?;
        let mut catalog = Catalog::new(self.keys, Arc::clone(&self.options.namespace));
        catalog.replace(&listing.kvs);
        Ok(catalog)
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
        self.0.check_open()?;
        self.0.catalog(&Topic::service("vine", "vine")).await?;
        Ok(())
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        let inner = &*self.0;
        inner.check_open()?;
        let ttl = options.ttl.or(service.ttl);
        validate::service(&service, ttl, &self.capabilities())?;
        let namespace = inner.namespace(&service.namespace);
        let mut source = Service::clone(&service).with_namespace(Arc::clone(&namespace));
        source.ttl = ttl;
        let limit = inner.options.timeout;
        let lease = LeaseGrantRequest {
            ttl: i64::try_from(ttl.unwrap_or(inner.etcd.lease_ttl).as_secs()).unwrap_or(i64::MAX),
            id: 0,
        };
        let grant = inner.client.call(limit, |connection| async move {
            connection.lease().lease_grant(lease).await
        });
        let lease = grant.await?.id;
        let epoch = next_epoch();
        for node in &service.nodes {
            let value = value::encode(&source, node, epoch, epoch)?;
            let put = PutRequest {
                key: inner.keys.node(&namespace, &service.name, &node.id).into(),
                value: value.into(),
                lease,
            };
            inner
                .client
                .call(limit, |connection| {
                    let put = put.clone();
                    async move { connection.kv().put(put).await }
                })
                .await?;
        }
        Ok(())
    }

    async fn deregister_with(&self, service: &Service, _options: &DeregisterOptions) -> Result<()> {
        let inner = &*self.0;
        inner.check_open()?;
        let namespace = inner.namespace(&service.namespace);
        for node in &service.nodes {
            let request = DeleteRangeRequest {
                key: inner.keys.node(&namespace, &service.name, &node.id).into(),
                ..Default::default()
            };
            inner
                .client
                .call(inner.options.timeout, |connection| {
                    let request = request.clone();
                    async move { connection.kv().delete_range(request).await }
                })
                .await?;
        }
        Ok(())
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let inner = &*self.0;
        inner.check_open()?;
        let namespace = match &options.namespace {
            Some(namespace) if !namespace.is_empty() => namespace,
            _ => &inner.options.namespace,
        };
        validate::name("namespace", namespace, MAX_NAME_LEN)?;
        validate::name("name", name, MAX_NAME_LEN)?;
        let catalog = inner
            .catalog(&Topic::service(Arc::clone(namespace), name))
            .await?;
        let services = catalog.view.reader().get(namespace, name);
        if services.is_empty() {
            return Err(Error::not_found(Arc::clone(namespace), name));
        }
        Ok(services)
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let inner = &*self.0;
        inner.check_open()?;
        let namespace = options.namespace.resolve(&inner.options.namespace);
        let catalog = inner.catalog(&Topic::new(namespace.cloned(), None)).await?;
        Ok(catalog
            .view
            .reader()
            .list(namespace.map(|namespace| &**namespace)))
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        let inner = &*self.0;
        inner.check_open()?;
        Err(Error::Unsupported {
            registry: NAME.into(),
            operation: format!("watch {options:?}").into(),
            remedy: "look services up".into(),
        })
    }

    async fn report_unreachable(&self, _node: &NodeRef) -> Result<()> {
        self.0.check_open()
    }

    async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        Ok(())
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
