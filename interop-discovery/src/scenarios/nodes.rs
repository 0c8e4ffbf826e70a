//! Nodes that are killed, slow, and restarted.

use crate::{
    client::Clients,
    fleet::{self, NodeProcess},
    load::Load,
    stage::{Stage, until_nodes},
};

/// One of three is killed with -9, and the registry hears of it late.
pub(super) async fn killed(stage: Stage) {
    let mut nodes = fleet::start(&stage, 3, "v1.0.0");
    let cache = stage.cache();
    until_nodes(&mut cache.subscribe(&stage.service), 3).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    let calls = stage.of(6_000, 100_000);
    load.reach(calls / 4).await;
    nodes.remove(1).kill().await;
    load.reach(calls).await;
    load.stop().await.check();
    fleet::stop(nodes).await;
}

/// One of three takes ten times as long.
pub(super) async fn slow(stage: Stage) {
    let delays = [20, 20, 200];
    let nodes = delays.map(|delay| NodeProcess::start(&stage, "v1.0.0", delay));
    let slow = nodes[2].id.clone();
    let cache = stage.cache();
    until_nodes(&mut cache.subscribe(&stage.service), 3).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    load.reach(stage.of(6_000, 20_000)).await;
    let mut tally = load.stop().await;
    tally.check();
    let share = tally.share(&slow);
    println!("        the slow one answered {share:.2} %");
    assert!(share < 5.0, "the slow node got {share:.1} %");
    fleet::stop(nodes.into()).await;
}

/// One after the other is stopped in good order, and replaced by one with its id at another port.
pub(super) async fn rolling(stage: Stage) {
    let mut nodes = fleet::start(&stage, 3, "v1.0.0");
    let cache = stage.cache();
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, 3).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    for _ in 0..stage.of(4, 50) {
        let old = nodes.remove(0);
        let id = old.id.clone();
        old.stop().await;
        until_nodes(&mut subscription, 2).await;
        nodes.push(NodeProcess::with_id(&stage, &id, "v1.0.0", 0));
        until_nodes(&mut subscription, 3).await;
    }
    load.more(1_000).await;
    load.stop().await.check();
    fleet::stop(nodes).await;
}
