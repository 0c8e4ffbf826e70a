use std::time::Duration;

use tokio::time::{advance, sleep};

use super::*;
use crate::{Action, Node, RegistryExt};

fn service(id: &str) -> Service {
    Service::new("s", "v1").with_node(Node::new(id, "127.0.0.1:80"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_ttls_end_on_time_and_renewed_ones_do_not() {
    let registry = MemoryRegistry::new();
    let mut watcher = registry.watch_service("s").await.unwrap();
    let kept = Arc::new(service("kept").with_ttl(seconds(10)));
    registry.register(Arc::clone(&kept)).await.unwrap();
    for i in 0..1000 {
        registry
            .register(service(&format!("n{i}")).with_ttl(seconds(10)))
            .await
            .unwrap();
    }
    advance(seconds(9)).await;
    registry.register(Arc::clone(&kept)).await.unwrap();
    sleep(seconds(1) - Duration::from_millis(2)).await;
    assert_eq!(registry.get_service("s").await.unwrap().node_count(), 1001);
    sleep(Duration::from_millis(4)).await;
    assert_eq!(registry.get_service("s").await.unwrap().node_count(), 1);
    sleep(seconds(9)).await;
    assert!(registry.get_service("s").await.is_err());
    let mut deleted = 0;
    while deleted < 1001 {
        let event = watcher.next_event().await.unwrap();
        if event.action == Action::Delete {
            deleted += event.service.nodes.len();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn registrations_that_change_do_not_pile_up() {
    let registry = MemoryRegistry::new();
    for i in 0..10_000 {
        let node = Node::new("n", "127.0.0.1:80").with_metadata([("i", i.to_string())]);
        registry
            .register(
                Service::new("s", "v1")
                    .with_node(node)
                    .with_ttl(seconds(3600)),
            )
            .await
            .unwrap();
    }
    assert!(registry.0.store.deadlines() < 200);
}

#[tokio::test(start_paused = true)]
async fn the_expiry_task_ends_with_the_registry() {
    let registry = MemoryRegistry::new();
    registry
        .register(service("n").with_ttl(seconds(3600)))
        .await
        .unwrap();
    let signal = Arc::downgrade(&registry.0.store);
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 1);
    drop(registry);
    assert!(signal.upgrade().is_none());
    while tasks.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn services_to_start_with() {
    let options = Options::new().with_services([service("n").with_ttl(Duration::from_millis(1))]);
    let registry = MemoryRegistry::with_options(options).unwrap();
    assert_eq!(registry.get_service("s").await.unwrap().node_count(), 1);
    let bad = Options::new().with_services([Service::new("s", "v1")]);
    assert!(matches!(
        MemoryRegistry::with_options(bad),
        Err(Error::InvalidService { .. })
    ));
}

#[test]
fn without_a_runtime_it_says_so() {
    let registry = MemoryRegistry::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut register = std::pin::pin!(registry.register(service("n").with_ttl(seconds(1))));
    let std::task::Poll::Ready(Err(error)) = register.as_mut().poll(&mut context) else {
        panic!()
    };
    assert!(error.to_string().contains("tokio"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_leaves_its_registrations_and_nothing_else() {
    let registry = MemoryRegistry::new();
    for i in 0..100 {
        let handle = registry.handle();
        if i == 7 {
            let service = service("kept").with_ttl(seconds(10));
            handle.register(service).await.unwrap();
        }
    }
    assert_eq!(registry.get_service("s").await.unwrap().node_count(), 1);
    assert_eq!(registry.0.store.owners(), 2);
    sleep(seconds(11)).await;
    assert!(registry.get_service("s").await.is_err());
    assert_eq!(registry.0.store.owners(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_the_store_behind_close_leaves_nothing() {
    let registry = MemoryRegistry::new();
    let handle = registry.handle();
    let Handle { owner, store, .. } = &*handle.0;
    let namespace = &handle.0.options.namespace;
    let (kept, ttl) = (Arc::new(service("kept")), Some(seconds(1)));
    store.register(owner, namespace, &kept, None).unwrap();
    assert!(store.renew(owner, namespace, &kept, None));

    // As for calls that saw the handle open, and then had to wait for the lock.
    handle.close().await.unwrap();
    assert!(!store.renew(owner, namespace, &kept, None));
    for ttl in [None, ttl] {
        let late = store.register(owner, namespace, &kept, ttl);
        assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    }
    let topic = Topic::new(None, None);
    assert!(matches!(store.watch(owner, topic), Err(Error::Closed)));
    let late = store.deregister(owner, namespace, &kept, true);
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");

    assert!(registry.list_services().await.unwrap().is_empty());
    assert_eq!((store.owners(), store.deadlines()), (1, 0));
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 0, "nothing was begun");
}
