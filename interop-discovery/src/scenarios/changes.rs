//! Services that grow, shrink, move and change.

use futures_util::future::join_all;
use tokio::{sync::mpsc, time::Instant};
use vine_discovery::Subscription;

use crate::{
    client::Clients,
    fleet::{self, Farm, NodeProcess},
    load::Load,
    node::{BEAT, DEADLINE},
    stage::{Stage, until, until_nodes},
};

/// From three nodes to many, and back.
pub(super) async fn scaled(stage: Stage) {
    let each = stage.of(20, 100);
    let mut farms = ["a", "b", "c"].map(|prefix| Farm::start(&stage, prefix));
    join_all(farms.iter_mut().map(|farm| farm.scale(1))).await;
    let cache = stage.cache();
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, 3).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    load.more(1_000).await;
    join_all(farms.iter_mut().map(|farm| farm.scale(each))).await;
    until_nodes(&mut subscription, 3 * each).await;
    load.more(10_000).await;
    join_all(farms.iter_mut().map(|farm| farm.scale(1))).await;
    until_nodes(&mut subscription, 3).await;
    load.more(2_000).await;
    let mut tally = load.stop().await;
    tally.check();
    assert_eq!(tally.nodes.len(), 3 * each, "all of them answer");
}

/// A process takes the id of another one over, which goes on for a while.
pub(super) async fn moved(stage: Stage) {
    let mut nodes = fleet::start(&stage, 3, "v1.0.0");
    let cache = stage.cache();
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, 3).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    for _ in 0..stage.of(3, 20) {
        let old = nodes.remove(0);
        let before = address(&subscription, &old.id);
        nodes.push(NodeProcess::with_id(&stage, &old.id, "v1.0.0", 0));
        until(&mut subscription, "moved", |it| {
            address(it, &old.id) != before
        })
        .await;
        old.stop().await;
    }
    load.more(2_000).await;
    assert_eq!(subscription.services().node_count(), 3);
    load.stop().await.check();
    fleet::stop(nodes).await;
}

/// The clients want `^1`: they follow to v1.1.0, and leave v2.0.0 alone.
pub(super) async fn new_version(stage: Stage) {
    let old = fleet::start(&stage, 3, "v1.0.0");
    let cache = stage.cache();
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, 3).await;
    let clients = Clients::with(&cache, &stage.service, |it| it.versions("^1").unwrap());
    let load = Load::start(&clients);
    let strange = NodeProcess::start(&stage, "v2.0.0", 0);
    until_nodes(&mut subscription, 4).await;
    let mut new = Vec::new();
    for old in old {
        new.push(NodeProcess::start(&stage, "v1.1.0", 0));
        until_nodes(&mut subscription, 5).await;
        old.stop().await;
        until_nodes(&mut subscription, 4).await;
    }
    load.more(stage.of(2_000, 20_000)).await;
    let mut tally = load.stop().await;
    tally.check();
    assert!(!tally.nodes.contains_key(&strange.id), "{:?}", tally.nodes);
    let answered = |node: &NodeProcess| tally.nodes.contains_key(&node.id);
    assert!(new.iter().all(answered), "{:?}", tally.nodes);
    new.push(strange);
    fleet::stop(new).await;
}

/// One of two nodes is told to stop. What is under way there goes on up to the deadline.
pub(super) async fn streams(stage: Stage) {
    let mut nodes = fleet::start(&stage, 2, "v1.0.0");
    let cache = stage.cache();
    until_nodes(&mut cache.subscribe(&stage.service), 2).await;
    let clients = Clients::new(&cache, &stage.service);
    let deadline = (DEADLINE.as_millis() / BEAT.as_millis()) as usize;
    let (begun, mut begin) = mpsc::unbounded_channel();
    // A quarter of the deadline, and three times.
    let streams = [deadline / 4, 3 * deadline].repeat(20);
    let streams: Vec<_> = streams
        .into_iter()
        .map(|count| {
            let (clients, begun) = (clients.clone(), begun.clone());
            tokio::spawn(async move { (count, clients.beats(count, begun).await.unwrap()) })
        })
        .collect();
    for _ in &streams {
        begin.recv().await.unwrap();
    }
    let stopping = nodes.remove(0);
    let id = stopping.id.clone();
    let told = Instant::now();
    stopping.stop().await;
    let took = told.elapsed();
    assert!(took >= DEADLINE, "it was cut off after {took:?}");
    let (mut whole, mut cut) = (0, 0);
    for stream in join_all(streams).await {
        let (count, (node, beats)) = stream.unwrap();
        if count > deadline && node == id {
            assert!(beats < count, "a stream outlived the deadline");
            cut += 1;
        } else {
            assert_eq!(beats, count, "a stream was cut");
            whole += 1;
        }
    }
    println!("        {whole} streams ended in their own time, {cut} at the deadline");
    assert!(cut > 0, "no stream was at the node that stopped");
    fleet::stop(nodes).await;
}

fn address(subscription: &Subscription, id: &str) -> Option<String> {
    let services = subscription.services();
    let node = services.iter().find_map(|service| service.nodes.get(id));
    node.map(|node| node.address.to_string())
}
