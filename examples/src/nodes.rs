//! Nodes to call: three of one service, in this process.
#![expect(clippy::print_stdout, reason = "examples tell what they do")]

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use axum::{Router, routing::get};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use vine::prelude::*;

/// Three nodes of a service, each an [`App`] with a server on a port of its own; or none, to call
/// those of others.
#[derive(Debug)]
pub struct Nodes {
    registry: Arc<dyn Registry>,
    own: Vec<Own>,
}

#[derive(Debug)]
struct Own {
    id: &'static str,
    stop: oneshot::Sender<()>,
    app: JoinHandle<Result<(), RunError>>,
}

const IDS: [&str; 3] = ["ada", "bob", "eve"];

impl Nodes {
    /// Starts three nodes in a registry in memory. `serve` is the server of a node, which gets its id.
    ///
    /// # Errors
    /// Of the registry.
    pub async fn start<F, Fut, E>(service: &str, serve: F) -> Result<Self, BoxError>
    where
        F: Fn(&'static str, TcpListener, Shutdown) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let registry = MemoryRegistry::new();
        let mut watcher = registry.watch_service(service).await?;
        let own = IDS.map(|id| {
            let (stop, stopped) = oneshot::channel::<()>();
            let app = App::builder(service)
                .version("v1.0.0")
                .id(id)
                .address("127.0.0.1:0")
                .registry(registry.handle());
            let serve = serve.clone();
            let app = app.run_until(async { drop(stopped.await) }, move |listener, shutdown| {
                serve(id, listener, shutdown)
            });
            let app = tokio::spawn(app);
            Own { id, stop, app }
        });
        for _ in IDS {
            watcher.next_event().await;
        }
        println!("Here are {IDS:?}, three nodes of {service}, on whatever ports.\n");
        Ok(Self {
            registry: Arc::new(registry),
            own: own.into(),
        })
    }

    /// None of our own.
    #[must_use]
    pub fn of_others(registry: Arc<dyn Registry>) -> Self {
        let own = Vec::new();
        Self { registry, own }
    }

    /// Where they are registered.
    #[must_use]
    pub fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    /// Calls three times, and shows the answers.
    ///
    /// # Errors
    /// Of a call.
    pub async fn call<E>(&self, call: impl AsyncFn() -> Result<String, E>) -> Result<(), E> {
        for _ in 0..3 {
            println!("    {}", call().await?);
        }
        Ok(())
    }

    /// Stops a node as a signal would, goes on calling meanwhile and for a while after, and counts
    /// who answered.
    ///
    /// # Errors
    /// Of a call: there is none to be expected. Of the node.
    pub async fn call_while_one_stops<E>(
        &mut self,
        call: impl AsyncFn() -> Result<String, E>,
    ) -> Result<(), BoxError>
    where
        E: Into<BoxError>,
    {
        let Some(Own { id, stop, app }) = self.own.pop() else {
            return Ok(());
        };
        let mut answers = BTreeMap::new();
        let mut calls = 0;
        let mut stop = Some(stop);
        while calls < 1_000 || !app.is_finished() {
            if calls == 100 {
                drop(stop.take());
            }
            let answer = call().await.map_err(Into::into)?;
            *answers.entry(answer).or_insert(0) += 1;
            calls += 1;
        }
        app.await??;
        println!("\n{calls} more calls, while {id} stops after the first 100. None failed:");
        for (answer, count) in answers {
            println!("    {count:>5} times {answer}");
        }
        Ok(())
    }

    /// Stops those that are left.
    ///
    /// # Errors
    /// Of a node.
    pub async fn stop(self) -> Result<(), BoxError> {
        for Own { stop, app, .. } in self.own {
            drop(stop);
            app.await??;
        }
        Ok(())
    }
}

/// An HTTP server that says who it is.
///
/// # Errors
/// Of the socket.
pub async fn http(id: &'static str, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    let hello = move || async move { hello(id) };
    axum::serve(listener, Router::new().route("/", get(hello)))
        .with_graceful_shutdown(shutdown.wait())
        .await
}

/// What a node says.
#[must_use]
pub fn hello(id: impl fmt::Display) -> String {
    format!("Hello, this is {id}.")
}
