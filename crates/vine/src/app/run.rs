//! The life of an app, from its first hook to its last.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};
use uuid::Uuid;
use vine_registry::{
    Error, Node, RegisterOptions, Registration, RegistrationState, Service, address::HostPort,
};

use super::{
    App, AppBuilder, BoxError, RunError, Running, Shutdown,
    hooks::{self, Hook},
    shutdown::Trigger,
    signals::Requests,
};
use crate::advertise::{Advertise, HostAddresses};

/// How long a registry that does not answer keeps the server from stopping.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the first request to end, and then to the end of good order or to the second one.
pub(super) async fn run<R, F, Fut, E>(
    mut builder: AppBuilder,
    mut requests: R,
    serve: F,
) -> Result<(), RunError>
where
    R: Requests,
    F: FnOnce(TcpListener, Shutdown) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let hooks = std::mem::take(&mut builder.hooks);
    let mut life = tokio::select! {
        biased;
        () = requests.next() => return Ok(()),
        life = start(builder, hooks.before_start, serve) => life?,
    };
    let mut asked = false;
    let cause = tokio::select! {
        biased;
        () = requests.next() => {
            asked = true;
            Ok(())
        }
        cause = life.live(hooks.after_start) => cause,
    };
    if matches!(cause, Err(RunError::Register(_))) {
        // Nobody has ever known it.
        life.drain = Duration::ZERO;
    }
    let insistence = async {
        if !asked {
            requests.next().await;
        }
        requests.next().await;
    };
    tokio::select! {
        biased;
        () = insistence => Err(RunError::Aborted),
        ended = life.end(hooks.before_stop, hooks.after_stop) => cause.and(ended),
    }
}

/// All that comes before serving: settings are checked first, so that no hook runs in vain.
async fn start<F, Fut>(
    builder: AppBuilder,
    before_start: Vec<Hook<()>>,
    serve: F,
) -> Result<Life<Fut>, RunError>
where
    F: FnOnce(TcpListener, Shutdown) -> Fut,
{
    let (registry, own_registry) = builder.open()?;
    let advertise = builder.advertise.map_err(RunError::Start)?;
    let address = full_address(&builder.address)?;
    hooks::run("before start", before_start, ()).await?;

    let (listener, local_addr) = listen(address).await?;
    let address = advertised(&advertise, &listener, local_addr)?;
    let id = builder.id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let node = Arc::new(Node::new(id, address).with_metadata(builder.node_metadata));
    let service = Arc::new(builder.service.with_node(Arc::clone(&node)));
    let (stop, stopped) = Shutdown::channel();
    let (drained, shutdown) = Shutdown::channel();
    let registration = Registration::start(
        Arc::clone(&registry),
        Arc::clone(&service),
        builder.registration.clone(),
    );
    let running = Running {
        service,
        node,
        local_addr,
        registry,
        health: builder.health,
        stop,
    };
    Ok(Life {
        app: App(Arc::new(running)),
        registration,
        ttl: builder.registration.ttl,
        server: Server(Some(Box::pin(serve(listener, shutdown.clone())))),
        stopped,
        drained,
        shutdown,
        drain: builder.drain,
        deadline: builder.deadline,
        own_registry,
    })
}

fn full_address(address: &str) -> Result<String, RunError> {
    let full = if address.starts_with(':') {
        format!("{}{address}", Ipv4Addr::UNSPECIFIED)
    } else {
        address.to_owned()
    };
    if HostPort::parse(&full).is_none() {
        let reason = format!(
            "{address:?} is not host:port, for instance 127.0.0.1:8080, [::]:8080 or :8080"
        );
        return Err(RunError::Start(Error::invalid_option(
            "server.address",
            reason,
        )));
    }
    Ok(full)
}

async fn listen(address: String) -> Result<(TcpListener, SocketAddr), RunError> {
    let bound = async {
        let listener = TcpListener::bind(&address).await?;
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    };
    bound
        .await
        .map_err(|source| RunError::Listen { address, source })
}

/// The address that others are told.
fn advertised(
    advertise: &Advertise,
    listener: &TcpListener,
    local_addr: SocketAddr,
) -> Result<String, RunError> {
    let only_v6 = SockRef::from(listener).only_v6();
    let dual = local_addr.is_ipv6() && matches!(only_v6, Ok(false));
    let advertised = advertise
        .choose(local_addr, dual, &HostAddresses::discover())
        .map_err(RunError::Start)?;
    let address = advertised.address;
    if advertised.lonely {
        warn!(
            "this host has no address in a network: advertising {address}, which nobody else can reach; set server.advertise"
        );
    }
    info!(address = %local_addr, advertised = %address, "listening");
    Ok(address)
}

/// An app that listens and is being registered.
struct Life<F> {
    app: App,
    registration: Registration,
    ttl: Option<Duration>,
    server: Server<F>,
    /// Requested by [`App::stop`].
    stopped: Shutdown,
    /// Requests the server's own shutdown.
    drained: Trigger,
    shutdown: Shutdown,
    drain: Duration,
    deadline: Duration,
    /// Whether the registry is the app's own, and nobody else closes it.
    own_registry: bool,
}

impl<F, E> Life<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    /// Serves until the server ends, something fails, or the app is asked to stop.
    async fn live(&mut self, after_start: Vec<Hook<App>>) -> Result<(), RunError> {
        tokio::select! {
            biased;
            () = self.stopped.clone().wait() => Ok(()),
            served = self.server.end() => served,
            error = oversee(&self.app, &self.registration, after_start) => Err(error),
        }
    }

    /// Stops in good order.
    async fn end(
        mut self,
        before_stop: Vec<Hook<App>>,
        after_stop: Vec<Hook<()>>,
    ) -> Result<(), RunError> {
        info!("stopping");
        self.app.health().stopping();
        if !self.server.is_running() {
            self.drain = Duration::ZERO;
        }
        let limit = PATIENCE
            .saturating_add(self.drain)
            .saturating_add(self.deadline);
        let goodbye = async {
            let hooked = hooks::run("before stop", before_stop, self.app.clone()).await;
            let begun = Instant::now();
            let mut withdrawn = pin!(withdraw(&self.app, self.registration, self.ttl));
            if timeout(PATIENCE, &mut withdrawn).await.is_ok() {
                sleep(self.drain).await;
                self.drained.pull();
            } else {
                // Nobody hears of it, so there is nothing to wait for; it is tried on meanwhile.
                warn!("the registry does not answer; stopping all the same");
                self.drained.pull();
                // One second is spent, and another one is for closing the registry.
                let left = limit.saturating_sub(PATIENCE.saturating_mul(2));
                let _ = timeout(left, withdrawn).await;
            }
            (hooked, begun)
        };
        let farewell = async {
            let stop = self.shutdown.clone().wait();
            let served = self.server.end_by(stop, self.deadline).await;
            // Whatever made the server stop, the node is to be gone first.
            self.shutdown.wait().await;
            (served, hooks::run("after stop", after_stop, ()).await)
        };
        let ((hooked, begun), (served, finished)) = tokio::join!(goodbye, farewell);
        if self.own_registry {
            let left = limit.saturating_sub(begun.elapsed()).max(PATIENCE);
            match timeout(left, self.app.registry().close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "could not close the registry"),
                Err(_) => warn!("could not close the registry in time"),
            }
        }
        served.and(hooked).and(finished)
    }
}

/// Tells the health how the registration does, and runs the hooks once it stands. Ends only with
/// an error.
async fn oversee(app: &App, registration: &Registration, hooks: Vec<Hook<App>>) -> RunError {
    let mut observer = registration.observer();
    let observe = async {
        loop {
            let state = observer.state();
            app.health().observe(&state);
            if let RegistrationState::Failed(error) = state {
                return RunError::Register(error);
            }
            if !observer.changed().await {
                return pending().await;
            }
        }
    };
    let start = async {
        // What is wrong with the registration is observed above.
        if registration.registered().await.is_ok()
            && let Err(error) = hooks::run("after start", hooks, app.clone()).await
        {
            return error;
        }
        pending().await
    };
    tokio::select! {
        biased;
        error = observe => error,
        error = start => error,
    }
}

/// Tells everybody that the node is about to go, and then that it is gone.
async fn withdraw(app: &App, registration: Registration, ttl: Option<Duration>) {
    if registration.state().is_registered() {
        let node = app.node();
        let draining = node
            .clone()
            .with_metadata(node.metadata.with(Node::STATE, "draining"));
        let service = Arc::new(Service::clone(app.service()).with_node(draining));
        registration.update(Arc::clone(&service));
        // The registration does the same sooner or later; here it must be before the end.
        let mut options = RegisterOptions::new();
        options.ttl = ttl;
        if let Err(error) = app.registry().register_with(service, &options).await {
            debug!(%error, "could not mark the node as draining");
        }
    }
    // The registration has logged why, if it could not.
    let _ = registration.close().await;
}

/// The server's future, until it ends or is cut off.
struct Server<F>(Option<Pin<Box<F>>>);

impl<F, E> Server<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Serves until the server ends. Cancel safe.
    async fn end(&mut self) -> Result<(), RunError> {
        let Some(server) = &mut self.0 else {
            return Ok(());
        };
        let served = server.await;
        self.0 = None;
        served.map_err(|error| RunError::Serve(error.into()))
    }

    /// Serves until the server ends, but only for `deadline` after `stop`.
    async fn end_by(&mut self, stop: impl Future, deadline: Duration) -> Result<(), RunError> {
        let late = async {
            stop.await;
            sleep(deadline).await;
        };
        tokio::select! {
            served = self.end() => return served,
            () = late => {}
        }
        self.0 = None;
        Err(RunError::Deadline { after: deadline })
    }
}
