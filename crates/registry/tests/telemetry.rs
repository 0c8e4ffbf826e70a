//! What the memory registry tells of itself.

use std::time::Duration;

use vine_registry::{
    Action, MemoryRegistry, Node, Registry, RegistryExt, Service, Watcher, telemetry::*,
};
use vine_registry_conformance::listening::Recorder;

const MEMORY: (&str, &str) = ("registry", "memory");

fn service(id: &str, port: usize) -> Service {
    Service::new("s", "v1").with_node(Node::new(id, format!("127.0.0.1:{port}")))
}

async fn hear(watcher: &mut Watcher, action: Action) {
    let event = watcher.next_event().await.expect("the watch goes on");
    assert_eq!(event.action, action, "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn metrics_follow_what_happens() {
    let recorder = Recorder::default();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let value = |name: &str| recorder.value(name, &[MEMORY]);

    let registry = MemoryRegistry::new();
    registry.register(service("a", 1)).await.unwrap();
    let second = Duration::from_secs(1);
    registry
        .register(service("b", 1).with_ttl(second))
        .await
        .unwrap();
    assert_eq!(value(REGISTRATIONS), 2.0);

    let mut watcher = registry.watch_service("s").await.unwrap();
    assert_eq!(value(WATCHERS), 1.0);
    assert_eq!(value(EXPIRED), 0.0);
    hear(&mut watcher, Action::Delete).await;
    assert_eq!((value(REGISTRATIONS), value(EXPIRED)), (1.0, 1.0));
    let lags = recorder.value(WATCH_LAG, &[MEMORY, ("stage", "dispatch")]);
    assert!(lags >= 1.0, "{lags}");

    registry.deregister(&service("a", 1)).await.unwrap();
    drop(watcher);
    assert_eq!((value(REGISTRATIONS), value(WATCHERS)), (0.0, 0.0));

    let other = MemoryRegistry::new();
    other.register(service("c", 1)).await.unwrap();
    registry.register(service("d", 1)).await.unwrap();
    assert_eq!(value(REGISTRATIONS), 2.0, "registries add up");
    drop(other);
    registry.close().await.unwrap();
    assert_eq!(value(REGISTRATIONS), 0.0);
}

#[tokio::test]
async fn changes_that_a_watcher_is_too_slow_for_are_counted() {
    let recorder = Recorder::default();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let registry = MemoryRegistry::new();
    let mut quick = registry.watch_service("s").await.unwrap();
    let slow = registry.watch_service("s").await.unwrap();
    for port in 1..=1_500 {
        registry.register(service("a", port)).await.unwrap();
        quick.next_event().await.unwrap();
    }
    // A queue holds 1,024.
    assert_eq!(recorder.value(WATCH_COALESCED, &[MEMORY]), 476.0);
    drop(slow);
}
