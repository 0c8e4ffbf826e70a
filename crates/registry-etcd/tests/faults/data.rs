//! Data that is lost, old, or forgotten.

use std::collections::BTreeSet;

use vine_etcd_harness::{Client, Mode};
use vine_registry::{Node, RegistryExt, Service};

use crate::{
    truth::PREFIX,
    world::{Shape, World, name, service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_is_lost() {
    let mut world = World::start(Shape::members(3)).await;
    world.cluster.kill();
    world.stale().await;
    world.cluster.wipe();
    world.cluster.restart().await;
    world.check().await;
    world.assert_outages(1);
    world.close().await;
}

/// It holds a node that is gone since, and lacks what came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_is_restored() {
    let mut world = World::start(Shape::members(3)).await;
    world.hold(one_more("old")).await;
    let saved = world.cluster.save();
    world.release().await;
    world.hold(one_more("new")).await;
    for index in 0..100 {
        world.hold(one_more(&format!("passing{index}"))).await;
        world.release().await;
    }
    world.cluster.kill();
    world.stale().await;
    world.cluster.restore(&saved);
    world.cluster.restart().await;
    world.check().await;
    world.assert_outages(1);
    let found = world.reader.get_service(&name(7)).await.expect("well");
    let ids: Vec<_> = found[0].nodes.iter().map(|node| &*node.id).collect();
    assert_eq!(ids, ["n", "new"]);
    world.close().await;
}

/// It has come further, when that can be seen, than this handle ever wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_is_restored_and_goes_on_unseen() {
    let mut world = World::start(Shape::members(1)).await;
    world.hold(one_more("old")).await;
    let saved = world.cluster.save();
    world.release().await;
    world.hold(one_more("new")).await;
    strange(&world, 500).await;
    world.settle().await;
    world.spoil(Mode::Refuse).await;
    world.cluster.kill();
    world.cluster.restore(&saved);
    world.cluster.restart().await;
    strange(&world, 100).await;
    world.stale().await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    let found = world.reader.get_service(&name(7)).await.expect("well");
    let ids: BTreeSet<_> = found[0].nodes.iter().map(|node| &*node.id).collect();
    assert_eq!(ids, BTreeSet::from(["n", "new", "stranger"]));
    finish(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_compacted_behind_a_watcher() {
    let world = World::start(Shape::members(1)).await;
    unseen(&world, 100).await;
    world.cluster.client().compact().await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    finish(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_changes_come_while_a_watcher_is_away() {
    let world = World::start(Shape::members(1)).await;
    unseen(&world, 10_000).await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    finish(world).await;
}

/// One more node of service 7.
fn one_more(id: &str) -> Service {
    service(7).with_nodes([Node::new(id, "10.1.1.1:1")])
}

/// Makes changes that nobody can see: nodes that change and stay, and such that come and go.
async fn unseen(world: &World, changes: usize) {
    world.spoil(Mode::Refuse).await;
    world.stale().await;
    let client = world.cluster.client();
    for index in 0..changes / 4 {
        let staying = format!("stranger{}", index % 500);
        let node = Node::new(&*staying, "10.2.2.2:2").with_metadata([("i", index.to_string())]);
        put(client, node).await;
        let passing = format!("passing{index}");
        put(client, Node::new(&*passing, "10.2.2.2:2")).await;
        put(client, Node::new(&*passing, "10.2.2.2:3")).await;
        client.delete(&key(&passing)).await;
    }
}

/// Somebody else changes one node so often.
async fn strange(world: &World, changes: usize) {
    for index in 0..changes {
        let node = Node::new("stranger", "10.2.2.2:2").with_metadata([("i", index.to_string())]);
        put(world.cluster.client(), node).await;
    }
}

async fn put(client: &Client, node: Node) {
    let key = key(&node.id);
    let service = service(7).with_nodes([node]);
    let value = serde_json::to_string(&service).expect("a service is JSON");
    client.put(key, value, 0).await;
}

fn key(id: &str) -> String {
    format!("{PREFIX}faults/{}/{id}", name(7))
}

/// Takes away what strangers wrote.
async fn finish(world: World) {
    world.assert_outages(1);
    world.cluster.client().delete(&key("stranger")).await;
    world.close().await;
}
