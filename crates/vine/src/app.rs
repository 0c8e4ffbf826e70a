//! The runtime: a program that registers itself, serves, and stops in good order.

mod builder;
mod error;
mod hooks;
mod run;
mod shutdown;
mod signals;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use vine_registry::{Node, Registry, Service};

pub use builder::AppBuilder;
pub use error::{BoxError, RunError};
pub use shutdown::Shutdown;

use crate::Health;
use shutdown::Trigger;

/// A service that runs: registered in a registry while its server serves. Go's `vine.NewService`.
///
/// Starting: hooks before start, listen, register, serve, hooks after start (once others can find
/// the service). An outage of the registry does not keep it from serving; it registers when the
/// outage ends.
///
/// Stopping: hooks before stop, mark the node as draining, deregister, go on serving for the drain
/// time, stop the server gracefully with a deadline, hooks after stop.
///
/// Any server will do that takes a listening socket. With axum:
///
/// ```
/// use vine::{App, MemoryRegistry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), vine::RunError> {
/// let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
/// App::builder("go.vine.helloworld")
///     .version("v1.0.0")
///     .address("127.0.0.1:0")
///     .registry(MemoryRegistry::new())
///     .after_start(|app: App| async move {
///         println!("{} is at {}", app.service().name, app.local_addr());
/// #       app.stop();
///         Ok(())
///     })
///     .run(|listener, shutdown| async move {
///         axum::serve(listener, router).with_graceful_shutdown(shutdown.wait()).await
///     })
///     .await
/// # }
/// ```
///
/// A value of this type is a handle to it for hooks: cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Running>);

#[derive(Debug)]
struct Running {
    service: Arc<Service>,
    node: Arc<Node>,
    local_addr: SocketAddr,
    registry: Arc<dyn Registry>,
    health: Health,
    stop: Trigger,
}

impl App {
    /// An app with a name and nothing else said yet.
    pub fn builder(name: impl Into<Arc<str>>) -> AppBuilder {
        AppBuilder::new(name)
    }

    /// The service as it is registered, with one node.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.0.service
    }

    /// This app's node, with the address that others are told.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The address listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The registry that it is registered in.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.0.registry
    }

    /// Whether it is ready.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Stops it gracefully, as a signal does.
    pub fn stop(&self) {
        self.0.stop.pull();
    }
}
