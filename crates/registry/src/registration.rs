use std::{fmt, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{DeregisterOptions, Error, Node, RegisterOptions, Registry, Result, Service};

/// Holds a service registered until it is closed or dropped.
///
/// It asks the registry again and again whether the registration is still true, so that
/// [`state`](Self::state) is, and brings it back after any outage: it never gives up, unless the
/// service itself is at fault or somebody else registered the same node later.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vine_registry::Result<()> {
/// use vine_registry::{MemoryRegistry, Node, Registration, RegistrationOptions, RegistryExt, Service};
///
/// let registry = MemoryRegistry::new();
/// let service = Service::new("go.vine.test", "v1.0.0").with_node(Node::new("a", "127.0.0.1:11500"));
/// let registration = Registration::start(registry.clone(), service, RegistrationOptions::new());
/// registration.registered().await?;
/// assert_eq!(registry.get_service("go.vine.test").await?.node_count(), 1);
/// registration.close().await?;
/// assert!(registry.get_service("go.vine.test").await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Registration {
    /// What is to be registered.
    desired: watch::Sender<Arc<Service>>,
    /// Dropped to end it.
    end: Option<oneshot::Sender<()>>,
    observer: Observer,
    task: JoinHandle<Result<()>>,
}

/// Options of a [`Registration`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RegistrationOptions {
    /// How long the registration holds without being renewed, if the process can't any more; if
    /// not set, the service's own ttl, and if that is not set, what the engine does by default.
    pub ttl: Option<Duration>,
    /// How often to ask whether the registration is still true, at least every 50 ms; if not set, every
    /// second. Where there is a ttl, three times in that in any case.
    pub interval: Option<Duration>,
}

/// How a [`Registration`] is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrationState {
    /// The first attempt is under way.
    Pending,
    /// Others can find the service.
    Registered,
    /// The last attempt failed, and the next one follows.
    Retrying(Error),
    /// The service can't be registered as it is; [`Registration::update`] may mend it.
    Failed(Error),
    /// Somebody else registered the same node later, and holds it now.
    Replaced,
    /// It was closed, or the registry was.
    Closed,
}

const INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const AFTER_DENIAL: Duration = Duration::from_secs(30);

impl Registration {
    /// Begins to hold `service` registered, in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use = "dropping it deregisters the service"]
    pub fn start(
        registry: impl Registry,
        service: impl Into<Arc<Service>>,
        options: RegistrationOptions,
    ) -> Self {
        let service = service.into();
        let span = info_span!("registration", registry = registry.name(), service = %service.name, version = %service.version);
        let (desired, wanted) = watch::channel(Arc::clone(&service));
        let (told, observer) = watch::channel(Told {
            service,
            state: RegistrationState::Pending,
        });
        let keeper = Keeper {
            registry,
            options,
            wanted,
            told,
            held: Vec::new(),
            failures: 0,
        };
        let (end, ended) = oneshot::channel();
        Self {
            desired,
            end: Some(end),
            observer: Observer(observer),
            task: tokio::spawn(keeper.run(ended).instrument(span)),
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> RegistrationState {
        self.observer.state()
    }

    /// Waits for its state to become another one than it is now. Cancel safe.
    pub async fn changed(&self) -> RegistrationState {
        let mut observer = self.observer();
        observer.changed().await;
        observer.state()
    }

    /// Something that tells the state from elsewhere.
    #[must_use]
    pub fn observer(&self) -> Observer {
        let mut observer = self.observer.clone();
        observer.0.mark_unchanged();
        observer
    }

    /// Waits until others can find the service, as it was [updated](Self::update) last. Cancel safe.
    ///
    /// # Errors
    /// What is wrong with the service; [`Error::Replaced`]; [`Error::Closed`]. An outage is no
    /// error: it waits for its end.
    pub async fn registered(&self) -> Result<()> {
        let mut observer = self.observer.clone();
        loop {
            let Told { service, state } = observer.0.borrow_and_update().clone();
            let is_current = Arc::ptr_eq(&service, &self.desired.borrow());
            match state {
                RegistrationState::Closed => return Err(Error::Closed),
                RegistrationState::Registered if is_current => return Ok(()),
                RegistrationState::Failed(error) if is_current => return Err(error),
                RegistrationState::Replaced if is_current => return Err(self.replaced()),
                _ => {}
            }
            if !observer.changed().await {
                return Err(Error::Closed);
            }
        }
    }

    /// The service that is held.
    #[must_use]
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.desired.borrow())
    }

    /// Registers another state of the service, at once. Nodes that are no longer in it are
    /// deregistered.
    pub fn update(&self, service: impl Into<Arc<Service>>) {
        self.desired.send_replace(service.into());
    }

    /// Deregisters the service, and waits for that.
    ///
    /// # Errors
    /// Those of [`Registry::deregister_with`]: others may see the service until its ttl ends.
    ///
    /// # Cancel safety
    /// The service is deregistered in the background when the future is dropped.
    pub async fn close(mut self) -> Result<()> {
        self.end = None;
        // An error here means that the runtime has ended, and the engine with it.
        (&mut self.task).await.unwrap_or(Err(Error::Closed))
    }

    fn replaced(&self) -> Error {
        let service = self.service();
        Error::Replaced {
            name: Arc::clone(&service.name),
            id: service
                .nodes
                .nth(0)
                .map(|node| Arc::clone(&node.id))
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("service", &self.service().name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// How the attempts to register a state of the service are doing.
#[derive(Clone, Debug)]
struct Told {
    service: Arc<Service>,
    state: RegistrationState,
}

/// Tells how a [`Registration`] is doing, from anywhere.
#[derive(Clone, Debug)]
pub struct Observer(watch::Receiver<Told>);

impl Observer {
    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> RegistrationState {
        self.0.borrow().state.clone()
    }

    /// Waits for a state that this observer has not told yet; says whether there will be more.
    /// Cancel safe.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl RegistrationState {
    /// Whether others can find the service.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        matches!(self, Self::Registered)
    }
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("registering"),
            Self::Registered => f.write_str("registered"),
            Self::Retrying(error) => write!(f, "not registered, trying again: {error}"),
            Self::Failed(error) => write!(f, "not registered: {error}"),
            Self::Replaced => f.write_str("replaced by a later registration with the same id"),
            Self::Closed => f.write_str("deregistered"),
        }
    }
}

impl RegistrationOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the registration holds without being renewed.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets how often to ask whether the registration is still true.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    fn interval(&self, service: &Service) -> Duration {
        let interval = self.interval.unwrap_or(INTERVAL).max(SHORTEST_BACKOFF);
        self.third(service)
            .map_or(interval, |third| interval.min(third))
    }

    /// The ttl must not end meanwhile, and the permission may be given back.
    fn after_denial(&self, service: &Service) -> Duration {
        let third = self.third(service).unwrap_or(AFTER_DENIAL);
        third.clamp(SHORTEST_BACKOFF, AFTER_DENIAL)
    }

    fn third(&self, service: &Service) -> Option<Duration> {
        self.ttl.or(service.ttl).map(|ttl| ttl / 3)
    }
}

/// The task behind a [`Registration`].
struct Keeper<R> {
    registry: R,
    options: RegistrationOptions,
    wanted: watch::Receiver<Arc<Service>>,
    told: watch::Sender<Told>,
    /// Whatever calls so far may have registered, what is wanted now last.
    held: Vec<Arc<Service>>,
    failures: u32,
}

impl<R: Registry> Keeper<R> {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) -> Result<()> {
        loop {
            let wanted = Arc::clone(&self.wanted.borrow_and_update());
            let own = &self.registry.options().namespace;
            self.held
                .retain(|old| left_over(own, old, &wanted).is_some());
            self.held.push(Arc::clone(&wanted));
            let next = tokio::select! {
                biased;
                _ = &mut ended => break,
                next = self.attempt(&wanted) => next,
            };
            tokio::select! {
                _ = &mut ended => break,
                _ = self.wanted.changed() => {}
                () = at(next) => {}
            }
        }
        self.end().await
    }

    /// Tries once; gives the time for the next attempt, if it comes and trying again can help.
    async fn attempt(&mut self, wanted: &Arc<Service>) -> Option<Instant> {
        let wait = match self.bring_about(wanted).await {
            Ok(()) => {
                self.failures = 0;
                self.enter(wanted, RegistrationState::Registered);
                self.options.interval(wanted)
            }
            Err(Error::Replaced { .. }) => {
                self.enter(wanted, RegistrationState::Replaced);
                return None;
            }
            Err(Error::Closed) => {
                self.enter(wanted, RegistrationState::Closed);
                return None;
            }
            Err(error @ Error::PermissionDenied { .. }) => {
                self.enter(wanted, RegistrationState::Retrying(error));
                self.options.after_denial(wanted)
            }
            Err(error) if error.is_retryable() => {
                self.enter(wanted, RegistrationState::Retrying(error));
                self.backoff(self.options.interval(wanted))
            }
            Err(error) => {
                self.enter(wanted, RegistrationState::Failed(error));
                return None;
            }
        };
        Instant::now().checked_add(wait)
    }

    /// Registers what is wanted, and deregisters what was before and is not any more.
    async fn bring_about(&mut self, wanted: &Arc<Service>) -> Result<()> {
        let options = RegisterOptions {
            ttl: self.options.ttl,
        };
        self.registry
            .register_with(Arc::clone(wanted), &options)
            .await?;
        while let Some(old) = self.held.first().filter(|old| !Arc::ptr_eq(old, wanted)) {
            if let Some(old) = left_over(&self.registry.options().namespace, old, wanted) {
                match self.take_back(&old).await {
                    // What can't be taken back is no reason to give up what is registered.
                    Err(error) if !may_pass(&error) => {
                        warn!(%error, "could not deregister what was before");
                    }
                    done => done?,
                }
            }
            self.held.remove(0);
        }
        Ok(())
    }

    /// Deregisters what of this is ours: some of it may never have been.
    async fn take_back(&self, service: &Service) -> Result<()> {
        let options = DeregisterOptions::default();
        match self.registry.deregister_with(service, &options).await {
            Err(Error::NotOwner { .. }) => {}
            done => return done,
        }
        let mut result = Ok(());
        for node in &service.nodes {
            let one = service.clone().with_nodes([Arc::clone(node)]);
            match self.registry.deregister_with(&one, &options).await {
                Err(Error::NotOwner { .. }) => debug!(node = %node.id, "somebody else holds it"),
                done => result = result.and(done),
            }
        }
        result
    }

    async fn end(self) -> Result<()> {
        let closed = matches!(self.told.borrow().state, RegistrationState::Closed);
        let mut result = Ok(());
        for service in self.held.iter().filter(|_| !closed) {
            result = result.and(self.take_back(service).await);
        }
        match &result {
            Ok(()) => info!("deregistered"),
            Err(error) => {
                warn!(%error, "could not deregister; others may see the service until its ttl ends")
            }
        }
        result
    }

    /// Between a short wait and one that doubles with each failure, by chance, so that many
    /// processes do not come back at the same moment. Never longer than between two questions when
    /// all is well: the state would lag behind the truth, and a ttl could end meanwhile.
    fn backoff(&mut self, interval: Duration) -> Duration {
        let longest = SHORTEST_BACKOFF
            .saturating_mul(1 << self.failures.min(16))
            .min(interval.min(LONGEST_BACKOFF))
            .max(SHORTEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        let shortest = SHORTEST_BACKOFF.max(longest / 10);
        shortest + (longest - shortest).mul_f64(fastrand::f64())
    }

    fn enter(&self, service: &Arc<Service>, state: RegistrationState) {
        let (is_same, is_same_kind) = {
            let told = self.told.borrow();
            (
                Arc::ptr_eq(&told.service, service),
                mem::discriminant(&told.state) == mem::discriminant(&state),
            )
        };
        match &state {
            RegistrationState::Retrying(error) if is_same_kind => {
                debug!(%error, "still not registered");
            }
            _ if is_same && is_same_kind => return,
            RegistrationState::Retrying(_)
            | RegistrationState::Failed(_)
            | RegistrationState::Replaced => warn!("{state}"),
            _ => info!("{state}"),
        }
        let service = Arc::clone(service);
        self.told.send_replace(Told { service, state });
    }
}

/// However its task ends, even by a panic of the engine, nobody is told that it is registered.
impl<R> Drop for Keeper<R> {
    fn drop(&mut self) {
        self.told
            .send_modify(|told| told.state = RegistrationState::Closed);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether trying again may help.
fn may_pass(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::PermissionDenied { .. } | Error::Closed)
}

/// What registering `new` leaves of `old`: under another name or version all of it, else the nodes
/// that are only there. Who names no namespace means the registry's `own`.
fn left_over(own: &str, old: &Service, new: &Service) -> Option<Service> {
    let of = |service: &Service| match &*service.namespace {
        "" => own.to_owned(),
        given => given.to_owned(),
    };
    let same = old.name == new.name && of(old) == of(new) && old.version == new.version;
    let left = |node: &&Arc<Node>| !(same && new.nodes.get(&node.id).is_some());
    let nodes: Vec<_> = old.nodes.iter().filter(left).cloned().collect();
    (!nodes.is_empty()).then(|| old.clone().with_nodes(nodes))
}

#[cfg(test)]
mod tests;
