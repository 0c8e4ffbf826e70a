//! Many, large, and too large.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use vine_etcd_harness::{Cluster, Proxy};
use vine_registry::{
    Action, Error, Fold, Node, Options, RegisterOptions, Registry, RegistryExt, Service,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAME: &str = "go.vine.large";

async fn world() -> (Cluster, Proxy, EtcdRegistry) {
    let cluster = Cluster::single().await;
    let proxy = Proxy::to(cluster.member(0).addr()).await;
    let options = Options::new()
        .with_addrs([proxy.addr()])
        .with_timeout(Duration::from_secs(60));
    let registry = EtcdRegistry::new(options, EtcdOptions::new()).unwrap();
    (cluster, proxy, registry)
}

fn node(index: usize) -> Node {
    Node::new(format!("n{index}"), format!("10.0.0.1:{}", 1 + index))
}

/// A service whose value takes about `size` bytes.
fn of_size(size: usize) -> Service {
    let filling = "x".repeat(size);
    Service::new(NAME, "v1").with_node(node(0).with_metadata([("filling", filling)]))
}

/// Of one process: under one lease, over one connection, and gone when it closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_registrations() {
    let (cluster, proxy, registry) = world().await;
    let service = |index| Service::new(format!("go.vine.s{index}"), "v1").with_node(node(index));
    let services: Vec<_> = (0..10_000).map(|index| Arc::new(service(index))).collect();
    let options = RegisterOptions::new().with_ttl(Duration::from_secs(60));
    let register = |service: &Arc<Service>| registry.register_with(Arc::clone(service), &options);
    stream::iter(&services)
        .map(register)
        .buffer_unordered(64)
        .for_each(|result| async { result.unwrap() })
        .await;
    assert_eq!(registry.list_services().await.unwrap().len(), 10_000);
    assert_eq!(cluster.client().leases().await.len(), 1);
    let calls = proxy.counts().calls;
    for service in &services {
        register(service).await.unwrap();
    }
    let more = proxy.counts().calls - calls;
    assert!(more < 100, "{more} calls for what is registered already");
    registry.close().await.unwrap();
    assert!(cluster.client().range("/vine/").await.is_empty());
    assert!(cluster.client().leases().await.is_empty());
}

/// The answer is over the 4 MiB at which clients stop by default; a watcher sees each change of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_five_thousand_nodes() {
    let (cluster, _proxy, registry) = world().await;
    let filled = |index| node(index).with_metadata([("filling", "x".repeat(1000))]);
    let service = Service::new(NAME, "v1").with_nodes((0..5_000).map(filled));
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    let mut fold = Fold::new(&watcher.take_snapshot());
    registry.register(service.clone()).await.unwrap();
    while fold.services().node_count() < 5_000 {
        fold.apply(&watcher.next_event().await.unwrap());
    }
    let found = registry.get_service(NAME).await.unwrap();
    assert_eq!(found[0].nodes, service.nodes);
    assert_eq!(fold.services(), found);
    let mut second = registry.watch_service(NAME).await.unwrap();
    assert_eq!(second.take_snapshot().node_count(), 5_000);
    let one = service.clone().with_nodes([filled(77)]);
    registry.deregister(&one).await.unwrap();
    let event = second.next_event().await.unwrap();
    assert_eq!(
        (event.action, event.service.nodes.len()),
        (Action::Delete, 1)
    );
    for lease in cluster.client().leases().await {
        cluster.client().revoke(lease).await;
    }
    // All of them in one response of the server, and back one by one.
    while fold.services().node_count() != 0 {
        fold.apply(&watcher.next_event().await.unwrap());
    }
    while fold.services().node_count() != 4_999 {
        fold.apply(&watcher.next_event().await.unwrap());
    }
    registry.close().await.unwrap();
}

#[tokio::test]
async fn values_of_a_mebibyte() {
    let (_cluster, _proxy, registry) = world().await;
    let limit = registry.capabilities().max_service_size.unwrap();
    assert!(limit >= 1 << 20, "{limit}");
    let service = of_size((1 << 20) - 1000);
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    registry.register(service.clone()).await.unwrap();
    let event = watcher.next_event().await.unwrap();
    assert_eq!(event.service.nodes, service.nodes);
    let found = registry.get_service(NAME).await.unwrap();
    assert_eq!(found[0].nodes, service.nodes);
    registry.close().await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_not_even_sent() {
    let (_cluster, proxy, registry) = world().await;
    registry.init().await.unwrap();
    let limit = registry.capabilities().max_service_size.unwrap();
    let before = proxy.counts().bytes_up;
    for size in [limit + 1, 2 << 20, 20 << 20] {
        let error = registry.register(of_size(size)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    }
    let sent = proxy.counts().bytes_up - before;
    assert!(sent < 1000, "{sent} bytes were sent");
    let found = registry.get_service(NAME).await;
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
    registry.close().await.unwrap();
}
