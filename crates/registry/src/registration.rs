use std::{fmt, sync::Arc, time::Duration};

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
    /// How often to ask whether the registration is still true; if not set, every second, and
    /// three times in a ttl.
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
        let (desired, wanted) = watch::channel(service);
        let (state, observer) = watch::channel(RegistrationState::Pending);
        let keeper = Keeper {
            registry,
            options,
            wanted,
            state,
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

    /// Waits until others can find the service. Cancel safe.
    ///
    /// # Errors
    /// What is wrong with the service; [`Error::Replaced`]; [`Error::Closed`]. An outage is no
    /// error: it waits for its end.
    pub async fn registered(&self) -> Result<()> {
        let mut observer = self.observer.clone();
        loop {
            match observer.state() {
                RegistrationState::Registered => return Ok(()),
                RegistrationState::Failed(error) => return Err(error),
                RegistrationState::Replaced => return Err(self.replaced()),
                RegistrationState::Closed => return Err(Error::Closed),
                RegistrationState::Pending | RegistrationState::Retrying(_) => {
                    observer.changed().await
                }
            };
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

/// Tells how a [`Registration`] is doing, from anywhere.
#[derive(Clone, Debug)]
pub struct Observer(watch::Receiver<RegistrationState>);

impl Observer {
    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> RegistrationState {
        self.0.borrow().clone()
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
        let third = self.third(service).unwrap_or(INTERVAL);
        self.interval.unwrap_or(INTERVAL).min(third)
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
    state: watch::Sender<RegistrationState>,
    /// Whatever calls so far may have registered, what is wanted now last.
    held: Vec<Arc<Service>>,
    failures: u32,
}

impl<R: Registry> Keeper<R> {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) -> Result<()> {
        loop {
            let wanted = Arc::clone(&self.wanted.borrow_and_update());
            self.held.retain(|old| left_over(old, &wanted).is_some());
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

    /// Tries once; gives the time for the next attempt, if trying again can help.
    async fn attempt(&mut self, wanted: &Arc<Service>) -> Option<Instant> {
        let wait = match self.bring_about(wanted).await {
            Ok(()) => {
                self.failures = 0;
                self.enter(RegistrationState::Registered);
                self.options.interval(wanted)
            }
            Err(Error::Replaced { .. }) => {
                self.enter(RegistrationState::Replaced);
                return None;
            }
            Err(Error::Closed) => {
                self.enter(RegistrationState::Closed);
                return None;
            }
            Err(error @ Error::PermissionDenied { .. }) => {
                self.enter(RegistrationState::Retrying(error));
                self.options.after_denial(wanted)
            }
            Err(error) if error.is_retryable() => {
                self.enter(RegistrationState::Retrying(error));
                self.backoff(self.options.interval(wanted))
            }
            Err(error) => {
                self.enter(RegistrationState::Failed(error));
                return None;
            }
        };
        Some(Instant::now() + wait)
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
            if let Some(old) = left_over(old, wanted) {
                self.registry
                    .deregister_with(&old, &DeregisterOptions::default())
                    .await?;
            }
            self.held.remove(0);
        }
        Ok(())
    }

    async fn end(self) -> Result<()> {
        let closed = matches!(*self.state.borrow(), RegistrationState::Closed);
        let mut result = Ok(());
        for service in self.held.iter().filter(|_| !closed) {
            let deregistered = self
                .registry
                .deregister_with(service, &DeregisterOptions::default())
                .await;
            result = result.and(deregistered);
        }
        self.state.send_replace(RegistrationState::Closed);
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

    fn enter(&self, state: RegistrationState) {
        let same_kind =
            std::mem::discriminant(&*self.state.borrow()) == std::mem::discriminant(&state);
        if same_kind {
            if let RegistrationState::Retrying(error) = &state {
                debug!(%error, "still not registered");
                self.state.send_replace(state);
            }
            return;
        }
        match &state {
            RegistrationState::Retrying(_)
            | RegistrationState::Failed(_)
            | RegistrationState::Replaced => warn!("{state}"),
            _ => info!("{state}"),
        }
        self.state.send_replace(state);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What registering `new` leaves of `old`: under another name or version all of it, else the nodes
/// that are only there.
fn left_over(old: &Service, new: &Service) -> Option<Service> {
    let same = old.name == new.name && old.namespace == new.namespace && old.version == new.version;
    let left = |node: &&Arc<Node>| !(same && new.nodes.get(&node.id).is_some());
    let nodes: Vec<_> = old.nodes.iter().filter(left).cloned().collect();
    (!nodes.is_empty()).then(|| old.clone().with_nodes(nodes))
}

#[cfg(test)]
mod tests;
