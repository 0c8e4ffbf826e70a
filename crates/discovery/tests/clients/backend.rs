//! gRPC servers to call.

use std::time::Duration;

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic_health::{
    ServingStatus,
    pb::HealthCheckRequest,
    server::{HealthReporter, health_reporter},
};
use vine_discovery::{Cache, RoundRobin, Selector, clients::tonic::Channel};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

pub(crate) const NAME: &str = "go.vine.test";

/// Longer than connecting takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A gRPC server that tells its health.
pub(crate) struct Backend {
    pub(crate) node: Node,
    pub(crate) health: HealthReporter,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) server: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_with(id, None).await
    }

    pub(crate) async fn start_with(id: &str, identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::new(id, listener.local_addr().unwrap().to_string());
        let (health, service) = health_reporter();
        health.set_service_status(id, ServingStatus::Serving).await;
        let mut server = Server::builder();
        if let Some(identity) = identity {
            server = server
                .tls_config(ServerTlsConfig::new().identity(identity))
                .unwrap();
        }
        let (stop, stopped) = oneshot::channel();
        let serve = server
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async {
                drop(stopped.await)
            });
        let server = tokio::spawn(async move { serve.await.unwrap() });
        Self {
            node,
            health,
            stop,
            server,
        }
    }
}

pub(crate) async fn cache<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    let nodes = backends.into_iter().map(|backend| backend.node.clone());
    cache
        .register(Service::new(NAME, "v1").with_nodes(nodes))
        .await
        .unwrap();
    cache
}

pub(crate) fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

pub(crate) fn round_robin(cache: &Cache) -> Channel {
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
    let builder = Channel::builder(selector.build()).connect_timeout(PATIENCE);
    builder.build().unwrap()
}
