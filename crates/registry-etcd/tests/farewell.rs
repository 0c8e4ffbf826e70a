//! What was deregistered is told from what was lost.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;
use vine_etcd_harness::{Cluster, Mode, Proxy, proto::event::EventType};
use vine_registry::{
    Action, DeregisterOptions, Error, Node, Options, RegisterOptions, Registry, RegistryExt,
    Service, Watcher,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAME: &str = "go.vine.farewell";
const PREFIX: &str = "/vine/registry/vine/go.vine.farewell/";

fn open(cluster: &Cluster) -> EtcdRegistry {
    EtcdRegistry::new(
        Options::new().with_addrs(cluster.addrs()),
        EtcdOptions::new(),
    )
    .unwrap()
}

fn service(ids: &[&str]) -> Service {
    let node = |id: &&str| Node::new(*id, "10.0.0.1:1").with_metadata([("zone", "z")]);
    Service::new(NAME, "v1").with_nodes(ids.iter().map(node))
}

/// The next nodes that go, and whether they were deregistered; nothing else is heard before.
async fn gone(watcher: &mut Watcher) -> (Vec<String>, bool) {
    let event = watcher.next_event().await.unwrap();
    assert_eq!(event.action, Action::Delete, "{event:?}");
    let ids = event.service.nodes.iter().map(|node| node.id.to_string());
    (ids.collect(), event.deregistered)
}

fn one(id: &str, deregistered: bool) -> (Vec<String>, bool) {
    (vec![id.to_owned()], deregistered)
}

#[tokio::test]
async fn who_deregisters_says_so() {
    let cluster = Cluster::single().await;
    let (owner, reader) = (open(&cluster), open(&cluster));
    owner.register(service(&["a", "b", "c"])).await.unwrap();
    let mut watcher = reader.watch_service(NAME).await.unwrap();
    let mut own = owner.watch_service(NAME).await.unwrap();
    owner.deregister(&service(&["a"])).await.unwrap();
    assert_eq!(gone(&mut watcher).await, one("a", true));
    assert_eq!(gone(&mut own).await, one("a", true));
    // What comes back and goes again, too.
    owner.register(service(&["b", "c"])).await.unwrap();
    owner.deregister(&service(&["b"])).await.unwrap();
    assert_eq!(gone(&mut watcher).await, one("b", true));
    owner.close().await.unwrap();
    assert_eq!(gone(&mut watcher).await, one("c", true));
    reader.close().await.unwrap();
}

/// All of a handle's nodes at once, in more than one transaction.
#[tokio::test]
async fn a_handle_that_is_closed_says_so_of_all_it_held() {
    let cluster = Cluster::single().await;
    let (owner, reader) = (open(&cluster), open(&cluster));
    let ids: Vec<_> = (0..250).map(|index| format!("n{index}")).collect();
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    owner.register(service(&all)).await.unwrap();
    let mut watcher = reader.watch_service(NAME).await.unwrap();
    owner.close().await.unwrap();
    let mut left = all.len();
    while left > 0 {
        let (ids, deregistered) = gone(&mut watcher).await;
        assert!(deregistered, "{ids:?}");
        left -= ids.len();
    }
    reader.close().await.unwrap();
}

#[tokio::test]
async fn who_is_not_patient_enough_to_close_has_closed_anyway() {
    let cluster = Cluster::single().await;
    let (owner, reader) = (open(&cluster), open(&cluster));
    owner.register(service(&["a"])).await.unwrap();
    let mut watcher = reader.watch_service(NAME).await.unwrap();
    assert!(owner.close().now_or_never().is_none(), "it takes a while");
    assert_eq!(gone(&mut watcher).await, one("a", true));
    owner.close().await.unwrap();
    assert!(cluster.client().leases().await.is_empty());
    reader.close().await.unwrap();
}

/// However much there is to say.
#[tokio::test]
async fn to_close_takes_no_longer_than_a_call() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let cluster = Cluster::single().await;
    let proxy = Proxy::to(cluster.member(0).addr()).await;
    let options = Options::new().with_addrs([proxy.addr()]);
    let ids: Vec<_> = (0..1700).map(|index| format!("n{index}")).collect();
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    let options = options.with_timeout(TIMEOUT);
    let owner = EtcdRegistry::new(options, EtcdOptions::new()).unwrap();
    // It goes on if that took longer than a call may.
    while owner.register(service(&all)).await.is_err() {}
    proxy.set(Mode::Hang).await;
    let begun = Instant::now();
    let closed = owner.close().await;
    let took = begun.elapsed();
    assert!(
        matches!(closed, Err(Error::Unavailable { .. })),
        "{closed:?}"
    );
    // With a timeout for each of its steps it would take four times as long.
    assert!(took < TIMEOUT * 3, "{took:?}");
}

#[tokio::test]
async fn who_is_lost_does_not() {
    let cluster = Cluster::single().await;
    let (owner, reader) = (open(&cluster), open(&cluster));
    let client = cluster.client();
    let lease = client.grant(60).await;
    let value = serde_json::to_string(&service(&["go"])).unwrap();
    client.put(format!("{PREFIX}go"), value, lease).await;
    let mut watcher = reader.watch_service(NAME).await.unwrap();
    client.revoke(lease).await;
    assert_eq!(gone(&mut watcher).await, one("go", false));
    // Not renewed by its caller.
    let ttl = RegisterOptions::new().with_ttl(Duration::from_secs(2));
    let brief = Arc::new(service(&["brief"]));
    owner.register_with(brief, &ttl).await.unwrap();
    let created = watcher.next_event().await.unwrap();
    assert_eq!(created.action, Action::Create);
    assert_eq!(gone(&mut watcher).await, one("brief", false));
    owner.close().await.unwrap();
    reader.close().await.unwrap();
}

/// What a Vine for Go wrote, removed by force.
#[tokio::test]
async fn who_is_removed_by_force_was_deregistered() {
    let cluster = Cluster::single().await;
    let reader = open(&cluster);
    let client = cluster.client();
    let lease = client.grant(60).await;
    for (id, lease) in [("held", lease), ("orphan", 0)] {
        let value = serde_json::to_string(&service(&[id])).unwrap();
        client.put(format!("{PREFIX}{id}"), value, lease).await;
    }
    let mut watcher = reader.watch_service(NAME).await.unwrap();
    for id in ["held", "orphan"] {
        let force = DeregisterOptions::new().with_force(true);
        reader
            .deregister_with(&service(&[id]), &force)
            .await
            .unwrap();
        assert_eq!(gone(&mut watcher).await, one(id, true));
    }
    reader.close().await.unwrap();
}

/// Who knows nothing of it reads the same service once more, and then a delete.
#[tokio::test]
async fn a_vine_for_go_sees_nothing_odd() {
    let cluster = Cluster::single().await;
    let owner = open(&cluster);
    owner.register(service(&["a"])).await.unwrap();
    let mut events = cluster.client().events(PREFIX).await;
    owner.deregister(&service(&["a"])).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(events.next().await);
    }
    assert_eq!(heard[0].r#type(), EventType::Put);
    let value = heard[0].kv.clone().unwrap().value;
    let read: Service = serde_json::from_slice(&value).unwrap();
    assert_eq!(read, service(&["a"]).with_namespace("vine"));
    assert_eq!(heard[1].r#type(), EventType::Delete);
    owner.close().await.unwrap();
}
