//! The life of an app, from its first hook to its last.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, time::sleep};
use tracing::{debug, info, warn};
use vine_registry::{
    Error, Node, RegisterOptions, Registration, RegistrationState, Service, address::HostPort,
};

use super::{
    App, AppBuilder, BoxError, RunError, Running, Shutdown, hooks,
    hooks::{Hook, Hooks},
    signals::Requests,
};
use crate::advertise::HostAddresses;

/// An app that listens and is about to serve.
struct Started {
    app: App,
    listener: TcpListener,
    /// Requested by [`App::stop`].
    stopped: Shutdown,
    /// Whether the registry is the app's own, and nobody else closes it.
    own_registry: bool,
}

/// Runs until the first request to end, and to the end of good order or the second one.
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
    let Hooks {
        before_start,
        after_start,
        before_stop,
        after_stop,
    } = std::mem::take(&mut builder.hooks);
    let options = builder.registration.clone();
    let (drain, deadline) = (builder.drain, builder.deadline);
    let started = tokio::select! {
        biased;
        () = requests.next() => return Ok(()),
        started = start(builder, before_start) => started?,
    };
    let Started {
        app,
        listener,
        stopped,
        own_registry,
    } = started;
    let (registry, service) = (Arc::clone(app.registry()), Arc::clone(app.service()));
    let registration = Registration::start(registry, service, options.clone());
    let (drained, shutdown) = Shutdown::channel();
    let mut server = Server(Some(Box::pin(serve(listener, shutdown.clone()))));

    let mut asked = false;
    let cause = tokio::select! {
        biased;
        () = requests.next() => {
            asked = true;
            Ok(())
        }
        () = stopped.wait() => Ok(()),
        served = server.end() => served,
        error = oversee(&app, &registration, after_start) => Err(error),
    };
    info!("stopping");
    app.health().stopping();
    let drain = server.0.as_ref().map_or(Duration::ZERO, |_| drain);
    let goodbye = async {
        let hooked = hooks::run("before stop", before_stop, app.clone()).await;
        withdraw(&app, registration, options.ttl).await;
        sleep(drain).await;
        drained.pull();
        hooked
    };
    let ending = async {
        let (hooked, served) = tokio::join!(goodbye, server.end_by(shutdown.wait(), deadline));
        let hooked = hooked.and(hooks::run("after stop", after_stop, ()).await);
        if own_registry && let Err(error) = app.registry().close().await {
            warn!(%error, "could not close the registry");
        }
        served.and(hooked)
    };
    let insistence = async {
        if !asked {
            requests.next().await;
        }
        requests.next().await;
    };
    tokio::select! {
        biased;
        () = insistence => Err(RunError::Aborted),
        ended = ending => cause.and(ended),
    }
}

/// All that comes before serving: settings are checked first, so that no hook runs in vain.
async fn start(builder: AppBuilder, hooks: Vec<Hook<()>>) -> Result<Started, RunError> {
    let (registry, own_registry) = builder.open()?;
    let advertise = builder.advertise.map_err(RunError::Start)?;
    let address = full_address(&builder.address)?;
    hooks::run("before start", hooks, ()).await?;
    let (listener, local_addr) = listen(address).await?;
    let only_v6 = socket2::SockRef::from(&listener).only_v6();
    let dual = local_addr.is_ipv6() && matches!(only_v6, Ok(false));
    let advertised = advertise
        .choose(local_addr, dual, &HostAddresses::discover())
        .map_err(RunError::Start)?;
    if advertised.lonely {
        warn!(
            "this host has no address in a network: advertising {}, which nobody else can reach; set server.advertise",
            advertised.address
        );
    }
    info!(address = %local_addr, advertised = %advertised.address, "listening");
    let id = builder
        .id
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let node = Node::new(id, advertised.address).with_metadata(builder.node_metadata);
    let node = Arc::new(node);
    let (stop, stopped) = Shutdown::channel();
    let app = App(Arc::new(Running {
        service: Arc::new(builder.service.with_node(Arc::clone(&node))),
        node,
        local_addr,
        registry,
        health: builder.health,
        stop,
    }));
    Ok(Started {
        app,
        listener,
        stopped,
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
