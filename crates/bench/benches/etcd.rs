//! The etcd registry beside bare calls of a generated client to the same server, in one run: what
//! matters is how many times as long. One member on this machine, values of some 500 bytes.
//!
//! Parts of it run alone by words of their names (`one many unchanged look watch restored`):
//! `cargo bench -p vine-bench --bench etcd -- look watch`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use vine_etcd_harness::{
    Client, Cluster,
    proto::{
        Compare, PutRequest, RequestOp, TxnRequest,
        compare::{CompareTarget, TargetUnion},
        request_op::Request,
    },
};
use vine_registry::{Node, Options, Registry, RegistryExt, Service};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const ROUNDS: usize = 8;
const REST: Duration = Duration::from_secs(3);
const LOOK_UPS: usize = 200;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let parts: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let runs = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(&**part));
    // A server of its own for each: what it still does about the one before would count for the next.
    if runs("one") {
        one_at_a_time(&Cluster::single().await).await;
    }
    if runs("many") {
        many_at_once(&Cluster::single().await).await;
    }
    if runs("unchanged") {
        unchanged(&Cluster::single().await).await;
    }
    for nodes in [10, 1_000] {
        if runs(&format!("look-{nodes}")) {
            look_up(&Cluster::single().await, nodes).await;
        }
    }
    if runs("watch") {
        watched(&Cluster::single().await).await;
    }
    if runs("restored") {
        restored(&Cluster::single().await).await;
    }
}

fn handle(cluster: &Cluster) -> EtcdRegistry {
    let options = Options::new()
        .with_addrs(cluster.addrs())
        .with_timeout(Duration::from_secs(60));
    EtcdRegistry::new(options, EtcdOptions::new()).unwrap()
}

/// A service whose value has some 500 bytes.
fn sized(name: String) -> Arc<Service> {
    let node = Node::new("n0", "10.0.0.7:8080").with_metadata([("filling", "x".repeat(330))]);
    Arc::new(Service::new(name, "v1.0.0").with_node(node))
}

async fn put(client: &Client, key: String, lease: i64) {
    let key = bytes::Bytes::from(key);
    let request = TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(0)),
            ..Default::default()
        }],
        success: vec![RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key,
                value: vec![b'x'; 500].into(),
                lease,
            })),
        }],
        failure: Vec::new(),
    };
    assert!(
        client
            .kv()
            .txn(request)
            .await
            .unwrap()
            .into_inner()
            .succeeded
    );
}

/// Whether bare, first and then: who comes first finds caches cold, and who comes second what the first
/// one has left to do.
const fn turns(round: usize) -> [bool; 2] {
    let is_even = round.is_multiple_of(2);
    [is_even, !is_even]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn tell(what: &str, bare: Duration, ours: Duration) {
    let ratio = bare.as_secs_f64() / ours.as_secs_f64();
    println!("{what:<44} bare {bare:>10.1?}  ours {ours:>10.1?}  bare/ours {ratio:.2}");
}

async fn one_at_a_time(cluster: &Cluster) {
    let (client, registry) = (cluster.client(), handle(cluster));
    let lease = client.grant(60).await;
    registry.register(sized("warm".into())).await.unwrap();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..16 {
        for is_bare in turns(round) {
            for i in 0..50 {
                let service = sized(format!("one-{round}-{i}"));
                let began = Instant::now();
                if is_bare {
                    put(client, format!("/bare/one-{round}-{i}"), lease).await;
                    bare.push(began.elapsed());
                } else {
                    registry.register(service).await.unwrap();
                    ours.push(began.elapsed());
                }
            }
        }
    }
    tell(
        "register something new, one at a time",
        median(bare),
        median(ours),
    );
    registry.close().await.unwrap();
    client.revoke(lease).await;
}

async fn many_at_once(cluster: &Cluster) {
    const EACH: usize = 2_000;
    let (client, registry) = (cluster.client(), handle(cluster));
    let lease = client.grant(60).await;
    registry.register(sized("warm".into())).await.unwrap();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let services: Vec<_> = (0..EACH)
            .map(|i| sized(format!("many-{round}-{i}")))
            .collect();
        for is_bare in turns(round) {
            // Own keys are watched a moment after they were put, which is not to count for others.
            tokio::time::sleep(REST).await;
            let began = Instant::now();
            if is_bare {
                stream::iter(0..EACH)
                    .for_each_concurrent(64, |i| {
                        put(client, format!("/bare/many-{round}-{i}"), lease)
                    })
                    .await;
                bare.push(began.elapsed());
            } else {
                stream::iter(&services)
                    .for_each_concurrent(64, |service| async {
                        registry.register(Arc::clone(service)).await.unwrap()
                    })
                    .await;
                ours.push(began.elapsed());
            }
        }
    }
    registry.close().await.unwrap();
    client.revoke(lease).await;
    tell("register 2,000 new, 64 at once", median(bare), median(ours));
}

async fn unchanged(cluster: &Cluster) {
    let registry = handle(cluster);
    let service = sized("same".into());
    registry.register(Arc::clone(&service)).await.unwrap();
    let began = Instant::now();
    for _ in 0..100_000 {
        registry.register(Arc::clone(&service)).await.unwrap();
    }
    println!("register the same again: {:.2?}", began.elapsed() / 100_000);
    registry.close().await.unwrap();
}

async fn look_up(cluster: &Cluster, nodes: usize) {
    let (client, registry) = (cluster.client(), handle(cluster));
    let names: Vec<_> = (0..=LOOK_UPS).map(|i| format!("looked-up-{i}")).collect();
    let values = names.iter().flat_map(|name| {
        (0..nodes).map(move |i| {
            let value = format!(
                r#"{{"name":"{name}","version":"v1.0.0","nodes":[{{"id":"n{i}","address":"10.0.0.7:8080","metadata":{{"filling":"{}"}}}}],"epoch":1,"changed":1}}"#,
                "x".repeat(330)
            );
            (format!("/vine/registry/vine/{name}/n{i}"), value)
        })
    });
    stream::iter(values)
        .for_each_concurrent(64, |(key, value)| client.put(key, value, 0))
        .await;
    // On a connection that is in use, as that of the bare calls is.
    registry.get_service(&names[LOOK_UPS]).await.unwrap();
    let (mut bare, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for (i, name) in names[..LOOK_UPS].iter().enumerate() {
        let prefix = format!("/vine/registry/vine/{name}/");
        for is_bare in turns(i) {
            let began = Instant::now();
            if is_bare {
                let kvs = client.range(&prefix).await;
                bare.push(began.elapsed());
                assert_eq!(kvs.len(), nodes);
            } else {
                let found = registry.get_service(name).await.unwrap();
                cold.push(began.elapsed());
                assert_eq!(found.node_count(), nodes);
            }
        }
        let began = Instant::now();
        registry.get_service(name).await.unwrap();
        warm.push(began.elapsed());
    }
    let bare = median(bare);
    tell(
        &format!("look up {nodes} nodes, never before"),
        bare,
        median(cold),
    );
    tell(
        &format!("look up {nodes} nodes, unchanged"),
        bare,
        median(warm),
    );
    registry.close().await.unwrap();
    client.delete("/vine/").await;
}

async fn watched(cluster: &Cluster) {
    let (client, registry) = (cluster.client(), handle(cluster));
    // Neither watch shares a connection with whoever puts.
    let mut events = client.apart().events("/bare/").await;
    let mut watcher = registry.watch_service("watched").await.unwrap();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for i in 0..600 {
        let began = Instant::now();
        client.put("/bare/watched", "x", 0).await;
        events.next().await;
        bare.push(began.elapsed());
        let value = format!(
            r#"{{"name":"watched","version":"v1","nodes":[{{"id":"n","address":"10.0.0.7:{}"}}]}}"#,
            1 + i
        );
        let began = Instant::now();
        client.put("/vine/registry/vine/watched/n", value, 0).await;
        watcher.next_event().await.unwrap();
        ours.push(began.elapsed());
    }
    tell("put until a watch has it", median(bare), median(ours));
    client.delete("/vine/").await;
}

async fn restored(cluster: &Cluster) {
    const KEYS: usize = 10_000;
    let client = cluster.client();
    let registry = handle(cluster);
    let services: Vec<_> = (0..KEYS).map(|i| sized(format!("restored-{i}"))).collect();
    stream::iter(&services)
        .for_each_concurrent(128, |service| async {
            registry.register(Arc::clone(service)).await.unwrap()
        })
        .await;
    let lease = client.grant(60).await;
    let began = Instant::now();
    stream::iter(0..KEYS)
        .for_each_concurrent(128, |i| put(client, format!("/bare/restored-{i}"), lease))
        .await;
    let bare = began.elapsed();
    client.revoke(lease).await;
    for lease in client.leases().await {
        client.revoke(lease).await;
    }
    // Its start is spread over some seconds, so that many processes do not come back at once.
    while client
        .range("/vine/registry/vine/restored")
        .await
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let began = Instant::now();
    for service in &services {
        while registry.register(Arc::clone(service)).await.is_err() {}
    }
    tell(
        "10,000 keys put again by one process",
        bare,
        began.elapsed(),
    );
    registry.close().await.unwrap();
}
