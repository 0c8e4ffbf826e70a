use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use vine_registry::{Endpoint, Metadata, Options, RegistrationOptions, Registry, Service};

use super::{
    App, BoxError, RunError, Shutdown,
    hooks::{Hooks, boxed},
    run::run,
    signals::{Once, Signals},
};
use crate::{Advertise, Health, Registries};

/// Long enough for clients that watch to hear that the node is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// With the drain time, and a second for a registry that does not answer, the ten seconds that a container
/// gets to stop.
const DEADLINE: Duration = Duration::from_secs(8);

/// Says what an app is, and runs it; made by [`App::builder`].
#[derive(Debug)]
#[must_use = "an app does nothing until it runs"]
pub struct AppBuilder {
    /// Without nodes: where it can be reached shows when it listens.
    pub(super) service: Service,
    pub(super) id: Option<String>,
    pub(super) node_metadata: Metadata,
    pub(super) address: String,
    pub(super) advertise: Result<Advertise, vine_registry::Error>,
    pub(super) registries: Registries,
    pub(super) registry: Source,
    pub(super) registration: RegistrationOptions,
    pub(super) drain: Duration,
    pub(super) deadline: Duration,
    pub(super) health: Health,
    pub(super) hooks: Hooks,
}

/// Where the registry comes from.
#[derive(Debug)]
pub(super) enum Source {
    Default,
    Given(Arc<dyn Registry>),
    #[cfg(feature = "cli")]
    Flags(Box<crate::cli::RegistryFlags>),
}

impl AppBuilder {
    pub(super) fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            service: Service::new(name, ""),
            id: None,
            node_metadata: Metadata::new(),
            address: ":0".to_owned(),
            advertise: Ok(Advertise::Auto),
            registries: Registries::new(),
            registry: Source::Default,
            registration: RegistrationOptions::new(),
            drain: DRAIN,
            deadline: DEADLINE,
            health: Health::new(),
            hooks: Hooks::default(),
        }
    }

    /// Sets the service's name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.service.name = name.into();
        self
    }

    /// Sets the service's version, for instance `v1.0.0`; empty unless set.
    pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.service.version = version.into();
        self
    }

    /// Sets the namespace; that of the registry unless set.
    pub fn namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.service.namespace = namespace.into();
        self
    }

    /// Sets this node's id; random (a version 4 UUID) unless set.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the facts about the service, the same for all its nodes.
    pub fn metadata(mut self, metadata: impl Into<Metadata>) -> Self {
        self.service.metadata = metadata.into();
        self
    }

    /// Sets the facts about this node.
    pub fn node_metadata(mut self, metadata: impl Into<Metadata>) -> Self {
        self.node_metadata = metadata.into();
        self
    }

    /// Sets the methods that the service offers.
    pub fn endpoints(mut self, endpoints: impl Into<Arc<[Endpoint]>>) -> Self {
        self.service.endpoints = endpoints.into();
        self
    }

    /// Sets the service's OpenAPI documents.
    pub fn apis(mut self, apis: impl Into<Arc<[serde_json::Value]>>) -> Self {
        self.service.apis = apis.into();
        self
    }

    /// Sets where to listen: `host:port`, or `:port` for every IPv4 address; port 0 is any free
    /// one. `:0` unless set.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets under which address others reach this node; see [`Advertise`].
    pub fn advertise(mut self, advertise: Advertise) -> Self {
        self.advertise = Ok(advertise);
        self
    }

    /// Sets the registry; the default one of [`Registries`] unless set.
    ///
    /// It is the caller's: the app deregisters what it registered, and does not close it.
    pub fn registry(mut self, registry: impl Registry) -> Self {
        self.registry = Source::Given(Arc::new(registry));
        self
    }

    /// Sets the engines that can be chosen by name.
    pub fn registries(mut self, registries: Registries) -> Self {
        self.registries = registries;
        self
    }

    /// Takes over what was given on the command line or in the environment; it wins over what was
    /// set before. A registry that was set before stays, unless the flags choose another one.
    #[cfg(feature = "cli")]
    pub fn flags(mut self, flags: &crate::Flags) -> Self {
        let server = &flags.server;
        if let Some(name) = &server.name {
            self.service.name = name.as_str().into();
        }
        if let Some(version) = &server.version {
            self.service.version = version.as_str().into();
        }
        if let Some(address) = &server.address {
            self.address.clone_from(address);
        }
        if let Some(advertise) = &server.advertise {
            self.advertise = advertise.parse();
        }
        let pairs = server.metadata.iter().flat_map(|pairs| pairs.iter());
        self.node_metadata = self.node_metadata.iter().chain(pairs).collect();
        self.id = server.id.clone().or(self.id);
        self.registration.ttl = server.register_ttl.or(self.registration.ttl);
        self.registration.interval = server.register_interval.or(self.registration.interval);
        if flags.registry.chooses() || !matches!(self.registry, Source::Given(_)) {
            self.registry = Source::Flags(Box::new(flags.registry.clone()));
        } else if flags.registry.any() {
            tracing::warn!(
                "the program brings a registry of its own: registry flags are not used, unless registry.default or registry.address chooses another one"
            );
        }
        self
    }

    /// Sets how long the registration holds if the process can't renew it any more; what the
    /// engine does by default unless set.
    pub fn register_ttl(mut self, ttl: Duration) -> Self {
        self.registration.ttl = Some(ttl);
        self
    }

    /// Sets how often the registration is renewed and checked; every second, and three times in a
    /// ttl, unless set.
    pub fn register_interval(mut self, interval: Duration) -> Self {
        self.registration.interval = Some(interval);
        self
    }

    /// Sets how long the server goes on as before once it is deregistered, for clients that have
    /// not heard of that yet; one second unless set.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Sets how long the server may then take to finish what is open; eight seconds unless set.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets where the app tells whether it is ready, and the program whether it can take calls.
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Adds something to do before the app listens. An error ends the app.
    pub fn before_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.before_start.push(boxed(|()| hook()));
        self
    }

    /// Adds something to do once the server runs and others can find it. An error stops the app.
    pub fn after_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(App) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.after_start.push(boxed(hook));
        self
    }

    /// Adds something to do when the app is to stop, while it is still registered. An error does
    /// not keep it from stopping, but until it is done the app goes on.
    pub fn before_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(App) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.before_stop.push(boxed(hook));
        self
    }

    /// Adds something to do once the server has stopped, whatever made it stop.
    pub fn after_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.after_stop.push(boxed(|()| hook()));
        self
    }

    /// Runs the app until SIGINT or SIGTERM (Ctrl-C and the like on Windows), the end of the
    /// server or [`App::stop`]; see [`App`] for the order of things. A second signal ends it at
    /// once.
    ///
    /// `serve` gets the socket to serve on, and is to stop gracefully on [`Shutdown`].
    ///
    /// # Errors
    /// [`RunError`]: it could not start or register, the server or a hook failed, or it did not
    /// stop gracefully in time.
    ///
    /// # Cancel safety
    /// Dropping the future drops the server, and deregisters the service in the background.
    pub async fn run<F, Fut, E>(self, serve: F) -> Result<(), RunError>
    where
        F: FnOnce(TcpListener, Shutdown) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let signals = Signals::install().map_err(RunError::Signals)?;
        run(self, signals, serve).await
    }

    /// Runs the app until `stop` ends, the end of the server or [`App::stop`], and leaves signals
    /// alone. Otherwise as [`run`](Self::run).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn run_until<S, F, Fut, E>(self, stop: S, serve: F) -> Result<(), RunError>
    where
        S: Future<Output = ()>,
        F: FnOnce(TcpListener, Shutdown) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        run(self, Once::new(stop), serve).await
    }

    /// The registry to use, and whether it is the app's own.
    pub(super) fn open(&self) -> Result<(Arc<dyn Registry>, bool), RunError> {
        let opened = match &self.registry {
            Source::Given(registry) => return Ok((Arc::clone(registry), false)),
            Source::Default => {
                let name = self.registries.default_name();
                self.registries.open(name, Options::new())
            }
            #[cfg(feature = "cli")]
            Source::Flags(flags) => flags.open(&self.registries),
        };
        Ok((opened.map_err(RunError::Start)?, true))
    }
}
