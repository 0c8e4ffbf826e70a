//! What others do to our keys, and what comes too late.

use std::time::Duration;

use tokio::time::sleep;
use vine_etcd_harness::Mode;
use vine_registry::{Error, Node, Registry, RegistryExt, Service};

use crate::{
    truth::{Holding, PREFIX},
    world::{Shape, World, name, service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_revoked_by_somebody_else() {
    let world = World::start(Shape::members(1)).await;
    for lease in world.cluster.client().leases().await {
        world.cluster.client().revoke(lease).await;
    }
    world.check().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_deleted_by_somebody_else() {
    let world = World::start(Shape::members(1)).await;
    let one = format!("{PREFIX}faults/{}/", name(3));
    assert_eq!(world.cluster.client().delete(&one).await, 1);
    world.check().await;
    assert_eq!(world.cluster.client().delete(PREFIX).await, 200);
    world.check().await;
    world.close().await;
}

/// While nobody can see it, and with the history of it gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_deleted_unseen() {
    let world = World::start(Shape::members(1)).await;
    world.spoil(Mode::Refuse).await;
    world.stale().await;
    world.cluster.client().delete(PREFIX).await;
    world.cluster.client().compact().await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    world.close().await;
}

/// A put without a quorum times out; its registration is ended; then the cluster commits the put.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_commits_after_its_deregister() {
    let mut world = World::start(Shape::members(3).with_ttl(15)).await;
    let late = Service::new("go.vine.late", "v1").with_node(Node::new("late", "10.3.3.3:3"));
    let leader = world.cluster.leader().await;
    for index in (0..3).filter(|index| *index != leader) {
        world.cluster.member(index).pause();
    }
    let registered = world.owner.register(late.clone()).await;
    assert!(is_outage(registered), "no quorum, no registration");
    let deregistered = world.owner.deregister(&late).await;
    assert!(deregistered.is_ok() || is_outage(deregistered));
    for index in (0..3).filter(|index| *index != leader) {
        world.cluster.member(index).resume();
    }
    world.cluster.serving().await;
    world.check().await;
    // The put may commit at any time until the leader has given up on it.
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        let kvs = world
            .cluster
            .client()
            .range(&format!("{PREFIX}faults/go.vine.late/"))
            .await;
        if kvs.is_empty() {
            continue;
        }
        gone(&world).await;
    }
    gone(&world).await;
    world.settle().await;
    world.close().await;
}

/// The later one wins, and the first one says so, whoever holds what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_have_the_same_id() {
    let world = World::start(Shape::members(1)).await;
    let rival = world.handle();
    let mine = Service::new("go.vine.twice", "v1").with_node(Node::new("same", "10.4.4.4:4"));
    let theirs = mine.clone().with_nodes([Node::new("same", "10.5.5.5:5")]);
    world.owner.register(mine.clone()).await.expect("well");
    rival
        .register(theirs.clone())
        .await
        .expect("the later one wins");
    loop {
        match world.owner.register(mine.clone()).await {
            Err(Error::Replaced { .. }) => break,
            Ok(()) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    world.owner.deregister(&mine).await.expect("it is not ours");
    let found = rival
        .get_service("go.vine.twice")
        .await
        .expect("the winner is there");
    assert_eq!(
        found[0].nodes.nth(0).map(|node| &*node.address),
        Some("10.5.5.5:5")
    );
    world.settle().await;
    rival.close().await.expect("well");
    world.close().await;
}

/// A key that somebody overwrites with something that is no service is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_overwritten() {
    let world = World::start(Shape::members(1)).await;
    let client = world.cluster.client();
    let key = format!("{PREFIX}faults/{}/n", name(5));
    // Without an epoch, as the Go plugin writes: the key's revision stands for it, which is
    // smaller than any epoch.
    let value = serde_json::to_string(&service(5).with_nodes([Node::new("n", "10.6.6.6:6")]));
    client.put(key, value.expect("a service is JSON"), 0).await;
    world.check().await;
    world.close().await;
}

async fn gone(world: &World) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let holding = Holding::of_cluster(&world.cluster).await;
        if !holding.0.iter().any(|line| line.contains("go.vine.late")) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "it stays");
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_outage(result: Result<(), Error>) -> bool {
    matches!(
        result,
        Err(Error::Unavailable { .. } | Error::Timeout { .. })
    )
}
