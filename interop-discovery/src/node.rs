//! Nodes: each answers HTTP and gRPC at one port, and is registered by the runtime `vine::App`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router, body::Body, extract::Path, extract::Request, middleware, response::Response,
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::health_reporter};
use vine::{App, AppBuilder, Registry, RunError};

use crate::stage;

/// The header that says which node answered.
pub(crate) const ID: &str = "x-node";

/// How often a stream sends a chunk.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

/// How long a node may take to stop once its drain time is over.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// One node, until SIGTERM; each of its answers takes so many milliseconds longer.
pub(crate) async fn run(word: &str, service: &str, id: &str, version: &str, delay: &str) -> bool {
    let registry = stage::open(word);
    let delay = Duration::from_millis(delay.parse().unwrap());
    let router = router(id, delay).await;
    let ran = app(&registry, service, id, version)
        .run(|listener, shutdown| async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(shutdown.wait())
                .await
        })
        .await;
    registry.close().await.unwrap();
    match ran {
        Ok(()) => true,
        // That is what happens to a stream without an end.
        Err(RunError::Deadline { .. }) => true,
        Err(error) => {
            println!("        node {id}: {error}");
            false
        }
    }
}

/// Many nodes in one process, each at a port of its own; told on standard input how many there
/// are to be, it answers with their number once it is so. They end with the input.
pub(crate) async fn farm(word: &str, service: &str, prefix: &str) -> bool {
    let registry = stage::open(word);
    let mut lines = BufReader::new(stdin()).lines();
    let mut nodes = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let wanted: usize = line.trim().parse().unwrap();
        let (up, mut ups) = mpsc::unbounded_channel();
        let new = nodes.len()..wanted;
        for number in new.clone() {
            let id = format!("{prefix}{number}");
            nodes.push(Running::start(&registry, service, &id, up.clone()).await);
        }
        for _ in new {
            ups.recv().await.unwrap();
        }
        let gone: Vec<_> = nodes.drain(wanted.min(nodes.len())..).collect();
        for end in gone.into_iter().map(Running::stop).collect::<Vec<_>>() {
            // A late machine may not stop in time; a call that is lost for that is counted.
            let ended = end.await.unwrap();
            assert!(matches!(ended, Ok(()) | Err(RunError::Deadline { .. })));
        }
        println!("{}", nodes.len());
    }
    registry.close().await.unwrap();
    true
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(
        registry: &Arc<dyn Registry>,
        service: &str,
        id: &str,
        up: mpsc::UnboundedSender<()>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(id, Duration::ZERO).await;
        let app = app(registry, service, id, "v1.0.0").after_start(move |_| async move {
            up.send(())?;
            Ok(())
        });
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(app.run_until(stopped, |listener, shutdown| async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(shutdown.wait())
                .await
        }));
        Self { stop, task }
    }

    fn stop(self) -> JoinHandle<Result<(), RunError>> {
        let _ = self.stop.send(());
        self.task
    }
}

fn app(registry: &Arc<dyn Registry>, service: &str, id: &str, version: &str) -> AppBuilder {
    App::builder(service)
        .version(version)
        .id(id)
        .address("127.0.0.1:0")
        .stop_deadline(DEADLINE)
        .registry(Arc::clone(registry))
}

async fn router(id: &str, delay: Duration) -> Router {
    let (health, service) = health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let id = HeaderValue::from_str(id).unwrap();
    let sign = move |request: Request, next: middleware::Next| {
        let id = id.clone();
        async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let mut response: Response = next.run(request).await;
            response.headers_mut().insert(ID, id);
            response
        }
    };
    Routes::new(service)
        .into_axum_router()
        .route("/", get(async || "hello"))
        .route("/beats/{count}", get(beats))
        .layer(middleware::from_fn(sign))
}

/// So many chunks of one byte, one each [`BEAT`].
async fn beats(Path(count): Path<u32>) -> Body {
    let beats = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        sleep(BEAT).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b".")), sent + 1))
    });
    Body::from_stream(beats)
}
