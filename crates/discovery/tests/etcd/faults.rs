//! No look-up fails that could be answered from what is known, whatever happens to the servers or on
//! the way to them; and afterwards the cache hears of changes again.

use std::time::Duration;

use tokio::time::sleep;
use vine_etcd_harness::{Client, Mode};
use vine_registry::{Error, Node, Registry, RegistryExt};

use crate::{
    NAME, registry, service, until,
    world::{Truth, World, has, has_all},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_is_restarted_in_turn() {
    let mut world = World::start(3, Truth::Stays).await;
    for index in 0..3 {
        world.cluster.member_mut(index).kill();
        world.cluster.leader().await;
        world.recover().await;
        world.cluster.restart().await;
    }
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_is_lost() {
    let mut world = World::start(1, Truth::IsLost).await;
    world.cluster.kill();
    world.cluster.wipe();
    world.stale().await;
    world.cluster.restart().await;
    world.recover().await;
    world.close().await;
}

/// It holds a node that is gone since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_is_restored() {
    let mut world = World::start(1, Truth::IsLost).await;
    world.owner.register(service(&["old"])).await.unwrap();
    let saved = world.cluster.save();
    world.owner.deregister(&service(&["old"])).await.unwrap();
    world.recover().await;
    world.cluster.kill();
    world.cluster.restore(&saved);
    world.stale().await;
    world.cluster.restart().await;
    world.recover().await;
    until(&mut world.subscription, "rid of the old one", |it| {
        !has(&it.services(), "old")
    })
    .await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_paused_for_longer_than_the_ttl() {
    let mut world = World::start(1, Truth::IsLost).await;
    world.cluster.member(0).pause();
    world.stale().await;
    sleep(Duration::from_secs(6)).await;
    world.cluster.member(0).resume();
    world.cluster.serving().await;
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_hang_are_reset_and_are_late() {
    let mut world = World::start(3, Truth::Stays).await;
    world.spoil(Mode::Hang).await;
    world.stale().await;
    world.spoil(Mode::Pass).await;
    world.recover().await;

    for _ in 0..5 {
        world.spoil(Mode::Reset).await;
        world.stale().await;
        world.spoil(Mode::Pass).await;
        world.recover().await;
    }

    world.spoil(Mode::Delay(Duration::from_secs(2))).await;
    sleep(Duration::from_secs(5)).await;
    world.spoil(Mode::Pass).await;
    world.recover().await;

    world.spoil(Mode::LoseAnswers).await;
    world.stale().await;
    world.spoil(Mode::Pass).await;
    world.recover().await;

    // One member alone: the others go on.
    for mode in [Mode::Hang, Mode::Delay(Duration::from_secs(2))] {
        world.proxies[1].set(mode).await;
        world.recover().await;
        world.proxies[1].set(Mode::Pass).await;
    }
    world.close().await;
}

/// Ten thousand changes while the cache is away, and the history of them is gone when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_and_history_is_compacted_while_it_is_away() {
    let mut world = World::start(1, Truth::Stays).await;
    world.spoil(Mode::Refuse).await;
    world.stale().await;
    let client = world.cluster.client();
    for change in 0..10_000 {
        put(client, &format!("stranger{}", change % 100), change).await;
    }
    client.compact().await;
    world.spoil(Mode::Pass).await;
    until(&mut world.subscription, "with the last change", |it| {
        let services = it.services();
        let mut nodes = services.iter().flat_map(|service| &service.nodes);
        nodes.any(|node| node.metadata.get("change") == Some("9999"))
    })
    .await;
    world.recover().await;
    world.cluster.client().delete(&key("stranger")).await;
    until(&mut world.subscription, "rid of strangers", |it| {
        it.services().node_count() == 3
    })
    .await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_expire() {
    let mut world = World::with_user(2).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(2)).await;
        world.recover().await;
    }
    // Also for a watch that is begun anew.
    world.spoil(Mode::Reset).await;
    world.stale().await;
    sleep(Duration::from_secs(2)).await;
    world.spoil(Mode::Pass).await;
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_is_taken_away_and_given_back() {
    let mut world = World::with_user(300).await;
    world.cluster.client().forbid("vine", "/vine/").await;
    // A watch that is begun now is refused; what is known is served on.
    world.spoil(Mode::Reset).await;
    world.stale().await;
    world.spoil(Mode::Pass).await;
    let other = world.cache.get_service("go.vine.other").await;
    assert!(
        matches!(other, Err(Error::PermissionDenied { .. })),
        "{other:?}"
    );
    assert!(world.subscription.known().is_stale());
    world.cluster.client().permit("vine", "/vine/").await;
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_down_for_three_ttls() {
    let mut world = World::start(3, Truth::IsLost).await;
    world.cluster.kill();
    world.stale().await;
    sleep(Duration::from_secs(15)).await;
    assert!(has_all(&world.subscription.services()));
    world.cluster.restart().await;
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_paused_and_killed() {
    let mut world = World::start(3, Truth::Stays).await;
    let leader = world.cluster.leader().await;
    world.cluster.member(leader).pause();
    sleep(Duration::from_secs(7)).await;
    world.recover().await;
    world.cluster.member(leader).resume();
    let leader = world.cluster.leader().await;
    world.cluster.member_mut(leader).kill();
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_revoke_the_lease_and_delete_the_keys() {
    let mut world = World::start(1, Truth::IsLost).await;
    for lease in world.cluster.client().leases().await {
        world.cluster.client().revoke(lease).await;
    }
    world.recover().await;
    assert_eq!(world.cluster.client().delete(&key("")).await, 3);
    world.recover().await;

    // While nobody can see it, and with the history of it gone.
    world.spoil(Mode::Refuse).await;
    world.stale().await;
    world.cluster.client().delete(&key("")).await;
    world.cluster.client().compact().await;
    world.spoil(Mode::Pass).await;
    world.recover().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_have_the_same_id() {
    let mut world = World::start(1, Truth::Stays).await;
    world.owner.register(service(&["same"])).await.unwrap();
    until(&mut world.subscription, "with one more", |it| {
        has(&it.services(), "same")
    })
    .await;
    let rival = registry(&world.cluster);
    let theirs = service(&[]).with_node(Node::new("same", "elsewhere.example:80"));
    rival.register(theirs).await.unwrap();
    until(&mut world.subscription, "the later one's", |it| {
        let services = it.services();
        let mut found = services.iter().filter_map(|it| it.nodes.get("same"));
        found.any(|node| &*node.address == "elsewhere.example:80")
    })
    .await;
    world.owner.deregister(&service(&["same"])).await.unwrap();
    world.recover().await;
    assert!(has(&world.subscription.services(), "same"));
    rival.close().await.unwrap();
    until(&mut world.subscription, "rid of it", |it| {
        !has(&it.services(), "same")
    })
    .await;
    world.close().await;
}

/// A put without a quorum times out and is taken back; then the cluster commits it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_commits_after_its_deregister() {
    let mut world = World::start(3, Truth::Stays).await;
    let leader = world.cluster.leader().await;
    let others: Vec<_> = (0..3).filter(|index| *index != leader).collect();
    for index in &others {
        world.cluster.member(*index).pause();
    }
    let late = service(&["late"]);
    assert!(world.owner.register(late.clone()).await.is_err());
    let _ = world.owner.deregister(&late).await;
    for index in &others {
        world.cluster.member(*index).resume();
    }
    world.cluster.serving().await;
    world.recover().await;
    until(&mut world.subscription, "rid of the late one", |it| {
        !has(&it.services(), "late")
    })
    .await;
    world.close().await;
}

async fn put(client: &Client, id: &str, change: usize) {
    let node = Node::new(id, "10.2.2.2:2").with_metadata([("change", change.to_string())]);
    let service = service(&[]).with_namespace("vine").with_nodes([node]);
    let value = serde_json::to_string(&service).unwrap();
    client.put(key(id), value, 0).await;
}

fn key(id: &str) -> String {
    format!("/vine/registry/vine/{NAME}/{id}")
}
