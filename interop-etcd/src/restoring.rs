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

/// How many times as long as bare puts it may take.
const MOST_RATIO: f64 = 1.25;
/// What is not so in one of so many rounds is not so.
const MOST_ROUNDS: usize = 8;
const LEAST_ROUNDS: usize = 3;

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

/// One process restores them, beside bare puts of the same values, in at most so many times as long.
/// Each time is that from the first put to the last, as a watcher sees them; the best ones count, of as
/// many rounds as it takes, since a busy machine can only add to them.
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
    let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
    let mut ratio = f64::MAX;
    for round in 1..=MOST_ROUNDS {
        let mut events = client.events(PREFIX).await;
        for lease in client.leases().await.into_iter().filter(|id| *id != lease) {
            client.revoke(lease).await;
        }
        ours = ours.min(puts(&mut events, KEYS).await[KEYS - 1]);
        let mut events = client.events("/bare/").await;
        let put = |kv: &vine_etcd_harness::proto::KeyValue| {
            let key = String::from_utf8_lossy(&kv.key).replace(PREFIX, "/bare/");
            client.put(key, kv.value.clone(), lease)
        };
        let puts_of_all = stream::iter(&kvs).map(put).buffer_unordered(PIPELINE);
        let (times, ()) = tokio::join!(puts(&mut events, KEYS), puts_of_all.collect());
        bare = bare.min(times[KEYS - 1]);
        ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!(
            "        {KEYS} keys: {ours:?} against {bare:?} of bare puts, ratio {ratio:.2} after {round} rounds"
        );
        if round >= LEAST_ROUNDS && ratio <= MOST_RATIO {
            break;
        }
    }
    assert!(ratio <= MOST_RATIO, "{ratio:.2} is more than {MOST_RATIO}");
    registry.close().await.unwrap();
}

/// After the data was lost everybody puts everything again; the cluster gets it spread. It is lost
/// once more where they came together, since a busy machine may stall some of them.
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
    let mean = held as f64 * SLICE.as_secs_f64() / SPREAD.as_secs_f64();
    let wanted = 3.0 * mean;
    let mut peaks = Vec::new();
    while peaks.len() < MOST_ROUNDS && !peaks.last().is_some_and(|peak| *peak <= wanted) {
        cluster.kill();
        cluster.wipe();
        cluster.restart().await;
        let mut events = cluster.client().events(PREFIX).await;
        let early = cluster.client().range(PREFIX).await.len();
        let times = puts(&mut events, held - early).await;
        let within = |(first, from): (usize, &Duration)| {
            let later: &[Duration] = &times[first..];
            later.partition_point(|time| *time < *from + SLICE)
        };
        // Those before the first look came together, for all that is known.
        let most = times.iter().enumerate().map(within).fold(early, usize::max);
        println!(
            "        {held} keys in {:?}, {early} before the first look; at most {most} in {SLICE:?} (wanted <= {wanted})",
            times[times.len() - 1]
        );
        peaks.push(most as f64);
    }
    assert!(
        peaks.last().is_some_and(|peak| *peak <= wanted),
        "{peaks:?}"
    );
    for peer in peers {
        peer.terminate().await;
    }
}
