use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::Instrument;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, Wait, WatchOptions,
    Watcher, telemetry::Telemetry, validate, view::Topic,
};

use crate::{
    Dialect, MdnsOptions, Statistics,
    driver::{Command, Deregistered, Driver, Settle, Shared},
    engine::Question,
    mapping::MAX_INFLATED,
};

/// What this engine is called.
pub(crate) const NAME: &str = "mdns";

pub(crate) const TELEMETRY: Telemetry = Telemetry::new(NAME);

/// What the keys of a TXT record leave of its strings of 255 bytes.
const MAX_NAME_LEN: usize = 252;

/// The longest name without dots in the Go dialect.
const MAX_LABEL_LEN: usize = 63;

/// What surely fits into a packet of the Go dialect: deflated, as hexadecimal digits.
const MAX_VINE_SIZE: usize = 4_000;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The registry that needs no server: processes on one network find each other by multicast DNS.
///
/// Nothing is opened before the first use, which has to be within a tokio runtime. Clones share
/// everything; a task in the background owns it, and ends with the last clone or with
/// [`close`](Registry::close).
///
/// Who has registered or deregistered has been said to be there or gone when the call returns, unless
/// more was to be said than others can follow at once.
///
/// ```no_run
/// use vine_registry::{Node, Options, RegistryExt, Service};
/// use vine_registry_mdns::{MdnsOptions, MdnsRegistry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vine_registry::Result<()> {
/// let registry = MdnsRegistry::new(Options::new(), MdnsOptions::new())?;
/// registry.register(Service::new("go.vine.test", "v1.0.0").with_node(Node::new("a", "10.0.0.7:11500"))).await?;
///
/// let other = MdnsRegistry::new(Options::new(), MdnsOptions::new())?;
/// assert_eq!(other.get_service("go.vine.test").await?.node_count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MdnsRegistry(Arc<Inner>);

struct Inner {
    options: Options,
    mdns: MdnsOptions,
    running: ArcSwapOption<Running>,
    /// Taken to start, so that only one does.
    starting: Mutex<()>,
    closed: AtomicBool,
}

/// The way to the driver.
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl MdnsRegistry {
    /// A registry with these options.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when they contradict each other.
    pub fn new(options: Options, mdns: MdnsOptions) -> Result<Self> {
        mdns.check()?;
        Ok(Self(Arc::new(Inner {
            options,
            mdns,
            running: ArcSwapOption::empty(),
            starting: Mutex::new(()),
            closed: AtomicBool::new(false),
        })))
    }

    /// What has happened on the network since this registry was first used, as far as DNS-SD goes.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Unavailable`] without a tokio runtime.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn statistics(&self) -> Result<Statistics> {
        let command = |reply| Command::Statistics { reply };
        let inner = &*self.0;
        inner
            .ask("statistics", inner.options.timeout, command)
            .await
    }

    /// What it does with the network.
    #[must_use]
    pub fn mdns_options(&self) -> &MdnsOptions {
        &self.0.mdns
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

    /// The way to the driver, which is started if need be; again if its runtime has ended.
    fn running(&self) -> Result<Arc<Running>> {
        self.check_open()?;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        let runtime = Handle::try_current().map_err(|_| {
            Error::unavailable(NAME, "there is no tokio runtime; call it from within one")
        })?;
        let (commands, received) = mpsc::unbounded_channel();
        let namespace = Arc::clone(&self.options.namespace);
        let driver = Driver::new(self.mdns.clone(), namespace, received);
        let shared = driver.shared();
        runtime.spawn(driver.run());
        let running = Arc::new(Running { commands, shared });
        self.running.store(Some(Arc::clone(&running)));
        Ok(running)
    }

    fn alive(&self) -> Option<Arc<Running>> {
        let running = self.running.load_full()?;
        (!running.commands.is_closed()).then_some(running)
    }

    /// Asks the driver and waits for its answer.
    async fn ask<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T> {
        let running = self.running()?;
        let (reply, answer) = oneshot::channel();
        // If the driver has just ended, the answer says so.
        let _ = running.commands.send(command(reply));
        match timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.why_ended()),
            Err(_) => Err(running
                .shared
                .staleness()
                .unwrap_or_else(|| Error::Timeout {
                    operation: operation.into(),
                    after: limit,
                })),
        }
    }

    fn why_ended(&self) -> Error {
        match self.check_open() {
            Err(closed) => closed,
            Ok(()) => Error::unavailable(NAME, "its tokio runtime has ended; call it again"),
        }
    }

    /// Waits until the answer to a question is as complete as is wanted.
    async fn settle(
        &self,
        operation: &'static str,
        question: Question,
        wait: Wait,
        patient: bool,
    ) -> Result<()> {
        let limit = match wait {
            Wait::For(time) => self.options.timeout.saturating_add(time),
            _ => self.options.timeout,
        };
        let command = |reply| {
            Command::Settle(Settle {
                question,
                wait,
                patient,
                reply,
            })
        };
        self.ask(operation, limit, command).await?
    }

    /// What is known when the present state can't be told, if that will do.
    fn stale_or<T>(
        error: Error,
        allow_stale: bool,
        known: impl FnOnce() -> Option<T>,
    ) -> Result<T> {
        if allow_stale && error.is_retryable() {
            known().ok_or(error)
        } else {
            Err(error)
        }
    }
}

#[async_trait]
impl Registry for MdnsRegistry {
    fn name(&self) -> &str {
        NAME
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn capabilities(&self) -> Capabilities {
        let can = Capabilities::unlimited()
            .with_ttl(
                Duration::from_millis(100),
                10 * YEAR,
                Duration::from_nanos(1),
            )
            .with_force_deregister(false);
        match self.0.mdns.dialect {
            Dialect::DnsSd | Dialect::Both => can
                .with_max_name_len(MAX_NAME_LEN)
                .with_max_service_size(MAX_INFLATED),
            Dialect::Vine => can
                .with_max_name_len(MAX_LABEL_LEN)
                .with_max_service_size(MAX_VINE_SIZE)
                .with_any_names(false)
                .with_host_names(false),
        }
    }

    async fn init(&self) -> Result<()> {
        let running = self.0.running()?;
        running.shared.staleness().map_or(Ok(()), Err)
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        let span = TELEMETRY.register(&service);
        async {
            let inner = &*self.0;
            inner.check_open()?;
            let ttl = options.ttl.or(service.ttl);
            // Longer names with dots in them may do in the Go dialect, too.
            let can = self.capabilities().with_max_name_len(MAX_NAME_LEN);
            validate::service(&service, ttl, &can)?;
            let namespace = inner.namespace(&service.namespace);
            let command = |reply| Command::Register {
                service,
                namespace,
                ttl,
                reply,
            };
            inner
                .ask("register", inner.options.timeout, command)
                .await?
        }
        .instrument(span)
        .await
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        let span = TELEMETRY.deregister(service);
        async {
            let inner = &*self.0;
            let namespace = inner.namespace(&service.namespace);
            let name = &service.name;
            let mut looked_up = inner.running()?.shared.service(&namespace, name).is_some();
            loop {
                let command = |reply| Command::Deregister {
                    service: service.clone(),
                    namespace: Arc::clone(&namespace),
                    force: options.force,
                    looked_up,
                    reply,
                };
                let limit = inner.options.timeout;
                match inner.ask("deregister", limit, command).await?? {
                    Deregistered::Done => return Ok(()),
                    Deregistered::LookUpFirst => {}
                }
                let question = Question::Service {
                    namespace: Arc::clone(&namespace),
                    name: Arc::clone(name),
                };
                match inner
                    .settle("deregister", question, Wait::Settled, false)
                    .await
                {
                    // In an outage nobody can tell whose it is; it is none of this handle's.
                    Ok(()) | Err(Error::Unavailable { .. }) => looked_up = true,
                    Err(error) => return Err(error),
                }
            }
        }
        .instrument(span)
        .await
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let span = TELEMETRY.get_service(name);
        async {
            let inner = &*self.0;
            let running = inner.running()?;
            let shared = &running.shared;
            let own = &inner.options.namespace;
            let namespace = match &options.namespace {
                Some(namespace) if !namespace.is_empty() => namespace,
                _ => own,
            };
            let stale = shared.staleness();
            if stale.is_none()
                && let Some(services) = shared.service(namespace, name)
                && !services.is_empty()
            {
                return Ok(services);
            }
            let limit = MAX_NAME_LEN;
            validate::name("namespace", namespace, limit)?;
            validate::name("name", name, limit)?;
            let question = Question::Service {
                namespace: Arc::clone(namespace),
                name: name.into(),
            };
            let known =
                || Some(shared.reader.get(namespace, name)).filter(|known| !known.is_empty());
            match inner
                .settle("get_service", question, options.wait, false)
                .await
            {
                Ok(()) => known().ok_or_else(|| Error::not_found(Arc::clone(namespace), name)),
                Err(error) => Inner::stale_or(error, options.allow_stale, known),
            }
        }
        .instrument(span)
        .await
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let span = TELEMETRY.list_services();
        async {
            let inner = &*self.0;
            let running = inner.running()?;
            let shared = &running.shared;
            let namespace = options.namespace.resolve(&inner.options.namespace);
            let namespace = namespace.map(|namespace| &**namespace);
            if shared.staleness().is_none()
                && let Some(list) = shared.list(namespace)
            {
                return Ok(list);
            }
            let known = || Some(shared.reader.list(namespace));
            match inner
                .settle("list_services", Question::All, options.wait, false)
                .await
            {
                Ok(()) => Ok(shared.reader.list(namespace)),
                Err(error) => Inner::stale_or(error, options.allow_stale, known),
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
            let question = match (&namespace, &options.service) {
                (Some(namespace), Some(name)) => Question::Service {
                    namespace: Arc::clone(namespace),
                    name: Arc::clone(name),
                },
                _ => Question::All,
            };
            let patient = !options.allow_stale;
            let settled = inner
                .settle("watch", question.clone(), options.wait, patient)
                .await;
            if let Err(error) = settled {
                Inner::stale_or(error, options.allow_stale, || Some(()))?;
            }
            let topic = Topic::new(namespace, options.service);
            let command = |reply| Command::Watch {
                topic,
                question,
                reply,
            };
            inner.ask("watch", inner.options.timeout, command).await
        }
        .instrument(span)
        .await
    }

    async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        let inner = &*self.0;
        let mut node = node.clone();
        node.namespace = inner.namespace(&node.namespace);
        // If the driver has just ended, there is nothing to be doubted any more.
        let _ = inner.running()?.commands.send(Command::Reconfirm(node));
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        let inner = &*self.0;
        if inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _starting = inner
            .starting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(running) = inner.alive() else {
            return Ok(());
        };
        drop(_starting);
        let (reply, answer) = oneshot::channel();
        let _ = running.commands.send(Command::Close { reply });
        // Without an answer the driver was ending already.
        answer.await.unwrap_or(Ok(()))
    }
}

impl fmt::Debug for MdnsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.0.running.load();
        f.debug_struct("MdnsRegistry")
            .field("options", &self.0.options)
            .field("mdns", &self.0.mdns)
            .field("shared", &running.as_ref().map(|running| &running.shared))
            .finish_non_exhaustive()
    }
}
