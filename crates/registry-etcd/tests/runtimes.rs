//! What is registered goes on in another runtime, whatever became of the first one.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use vine_etcd_harness::Cluster;
use vine_registry::{Node, Options, RegisterOptions, Registry, Service};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAME: &str = "go.vine.moved";
const PREFIX: &str = "/vine/registry/vine/go.vine.moved/";
const LEASE: Duration = Duration::from_secs(3);
/// What takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_first_runtime_has_ended() {
    let (cluster, registry, service) = start().await;
    let first = register_elsewhere(&registry, &service);
    thread::spawn(move || drop(first)).join().unwrap();
    goes_on(&cluster, &registry, &service).await;
}

/// It is there, but nobody drives it.
#[tokio::test]
async fn the_first_runtime_stands_still() {
    let (cluster, registry, service) = start().await;
    let first = register_elsewhere(&registry, &service);
    sleep(LEASE * 2).await;
    goes_on(&cluster, &registry, &service).await;
    thread::spawn(move || drop(first)).join().unwrap();
}

/// What was asked in the first runtime, and never answered there, is asked again.
#[tokio::test]
async fn the_first_runtime_ends_in_the_middle() {
    let (cluster, registry, service) = start().await;
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let (again, given) = (registry.clone(), Arc::clone(&service));
    let ended = thread::spawn(move || {
        first.block_on(async {
            let options = RegisterOptions::new();
            let register = again.register_with(given, &options);
            let _ = timeout(Duration::from_millis(1), register).await;
        });
    });
    ended.join().unwrap();
    goes_on(&cluster, &registry, &service).await;
}

async fn start() -> (Cluster, EtcdRegistry, Arc<Service>) {
    let cluster = Cluster::single().await;
    let options = Options::new().with_addrs(cluster.addrs());
    let etcd = EtcdOptions::new().with_lease_ttl(LEASE);
    let registry = EtcdRegistry::new(options, etcd).unwrap();
    let service = Service::new(NAME, "v1").with_node(Node::new("n", "10.8.8.8:8"));
    (cluster, registry, Arc::new(service))
}

/// Registers in a runtime that nobody drives any more.
fn register_elsewhere(registry: &EtcdRegistry, service: &Arc<Service>) -> Runtime {
    let (registry, service) = (registry.clone(), Arc::clone(service));
    let register = move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let options = RegisterOptions::new();
        let registered = runtime.block_on(registry.register_with(service, &options));
        registered.unwrap();
        runtime
    };
    thread::spawn(register).join().unwrap()
}

/// Registering the same again says so once it is true, and it stays true.
async fn goes_on(cluster: &Cluster, registry: &EtcdRegistry, service: &Arc<Service>) {
    let options = RegisterOptions::new();
    let registered = async {
        while let Err(error) = registry.register_with(Arc::clone(service), &options).await {
            assert!(error.is_retryable(), "{error}");
        }
    };
    timeout(PATIENCE, registered).await.expect("it comes back");
    assert_eq!(cluster.client().range(PREFIX).await.len(), 1, "it is true");
    let mut events = cluster.client().events(PREFIX).await;
    let changed = timeout(LEASE * 3, events.next()).await;
    assert!(changed.is_err(), "it stays as it is: {changed:?}");
    registry.close().await.unwrap();
    assert!(cluster.client().range(PREFIX).await.is_empty());
}
