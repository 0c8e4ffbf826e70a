//! How much comes back, how fast, and how evenly.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::Instant;
use vine_etcd_harness::{Cluster, Events, proto::event::EventType};
use vine_registry::{Node, Registry, RegistryExt, Service};

use crate::{process::Peer, scenarios::open};

const PREFIX: &str = "/vine/registry/";
const KEYS: usize = 10_000;
/// How many bare puts are under way at a time.
const PIPELINE: usize = 64;

/// When each of so many keys was put first, since the first one.
async fn puts(events: &mut Events, count: usize) -> Vec<Duration> {
    let (mut times, mut keys) = (Vec::new(), HashSet::new());
    while keys.len() < count {
        for event in events.next().await {
            let key = event.kv.clone().unwrap().key;
            if event.r#type() == EventType::Put && keys.insert(key) {
                times.push(Instant::now());
            }
        }
    }
    times.iter().map(|time| *time - times[0]).collect()
}

/// One process restores them, beside bare puts of the same values. Each time is that from the first
/// put to the last, as a watcher sees them; it is printed, since a busy machine makes it noise.
pub(crate) async fn ten_thousand() {
    let cluster = Cluster::single().await;
    let registry = open(cluster.addrs());
    let service = |index: usize| {
        let node = Node::new("n", format!("10.0.0.1:{}", 1 + index));
        Service::new(format!("go.vine.s{index}"), "v1").with_node(node)
    };
    stream::iter(0..KEYS)
        .map(|index| registry.register(service(index)))
        .buffer_unordered(PIPELINE)
        .for_each(|result| async { result.unwrap() })
        .await;
    let client = cluster.client();
    let kvs = client.range(PREFIX).await;
    let lease = client.grant(60).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut events = client.events(PREFIX).await;
        for lease in client.leases().await.into_iter().filter(|id| *id != lease) {
            client.revoke(lease).await;
        }
        ours.push(puts(&mut events, KEYS).await[KEYS - 1]);
        let mut events = client.events("/bare/").await;
        let put = |kv: &vine_etcd_harness::proto::KeyValue| {
            let key = String::from_utf8_lossy(&kv.key).replace(PREFIX, "/bare/");
            client.put(key, kv.value.clone(), lease)
        };
        let puts_of_all = stream::iter(&kvs).map(put).buffer_unordered(PIPELINE);
        let (times, ()) = tokio::join!(puts(&mut events, KEYS), puts_of_all.collect());
        bare.push(times[KEYS - 1]);
    }
    ours.sort();
    bare.sort();
    let ratio = ours[1].as_secs_f64() / bare[1].as_secs_f64();
    println!(
        "        {KEYS} keys: {:?} against {:?} of bare puts, ratio {ratio:.2} (wanted <= 1.25)",
        ours[1], bare[1]
    );
    registry.close().await.unwrap();
}

/// After the data was lost everybody puts everything again; the cluster gets it spread. How evenly
/// is printed, since a busy machine stalls some processes and has them come together.
pub(crate) async fn twenty_processes() {
    const PROCESSES: usize = 20;
    const EACH: usize = 100;
    const TTL: u64 = 15;
    const SPREAD: Duration = Duration::from_secs(5);
    const SLICE: Duration = Duration::from_millis(100);

    let mut cluster = Cluster::single().await;
    let addrs = cluster.addrs();
    let peers = (0..PROCESSES).map(async |index| {
        let name = format!("go.vine.p{index}");
        Peer::holding(&addrs, &name, "n", EACH, TTL).await
    });
    let peers = join_all(peers).await;
    let held = PROCESSES * EACH;
    assert_eq!(cluster.client().range(PREFIX).await.len(), held);
    cluster.kill();
    cluster.wipe();
    cluster.restart().await;
    let mut events = cluster.client().events(PREFIX).await;
    let early = cluster.client().range(PREFIX).await.len();
    let times = puts(&mut events, held - early).await;
    let most = times
        .iter()
        .enumerate()
        .map(|(first, from)| times[first..].partition_point(|time| *time < *from + SLICE))
        .max()
        .unwrap();
    let mean = held as f64 * SLICE.as_secs_f64() / SPREAD.as_secs_f64();
    println!(
        "        {held} keys in {:?}, {early} before the first look; at most {most} in {SLICE:?} (wanted <= {})",
        times[times.len() - 1],
        3.0 * mean
    );
    for peer in peers {
        peer.terminate().await;
    }
}
