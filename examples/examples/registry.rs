//! What a registry does, in the order of the handbook: make one, register, look up, list, watch,
//! deregister, and run a service on another registry than the default.
//!
//!     cargo run --example registry
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use vine::prelude::*;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Any engine will do: this one lives in the process. With mDNS, or one chosen by a flag, all
    // that follows is the same.
    let registry =
        MemoryRegistry::with_options(Options::new().with_timeout(Duration::from_secs(1)))?;
    registry.init().await?;

    let mut watcher = registry.watch_service("go.vine.test").await?;
    let watching = tokio::spawn(async move {
        while let Some(event) = watcher.next_event().await {
            println!(
                "{}: {}, {}",
                event.timestamp, event.action, event.service.name
            );
            if event.action == Action::Delete {
                break;
            }
        }
    });

    let service = Service::new("go.vine.test", "v1.0.0")
        .with_metadata([("Content-Type", "application/json")])
        .with_endpoint(Endpoint::new("Test.Call"))
        .with_node(Node::new("test-1", "127.0.0.1:11500").with_metadata([("os", "linux")]))
        .with_ttl(Duration::from_secs(30));
    registry.register(service.clone()).await?;

    for summary in registry.list_services().await? {
        println!("{} in versions {:?}", summary.name, summary.versions);
    }
    for service in &registry.get_service("go.vine.test").await? {
        println!(
            "{} {} has {} nodes",
            service.name,
            service.version,
            service.nodes.len()
        );
    }

    registry.deregister(&service).await?;
    watching.await?;
    run_on(registry).await
}

/// A service on a registry of its own choice: Go's `vine.NewService(vine.Registry(r))`.
async fn run_on(registry: MemoryRegistry) -> Result<(), BoxError> {
    App::builder("go.vine.other")
        .address("127.0.0.1:0")
        .registry(registry)
        .drain_time(Duration::ZERO)
        .after_start(|app| async move {
            println!("{} runs at {}", app.service().name, app.node().address);
            app.stop();
            Ok(())
        })
        .run(|listener, shutdown| async move {
            axum::serve(listener, axum::Router::new())
                .with_graceful_shutdown(shutdown.wait())
                .await
        })
        .await?;
    Ok(())
}
