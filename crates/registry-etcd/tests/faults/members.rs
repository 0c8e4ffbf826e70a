//! Servers that die, pause and return.

use std::time::Duration;

use tokio::time::sleep;

use crate::world::{Shape, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed() {
    let mut world = World::start(Shape::members(3)).await;
    let leader = world.cluster.leader().await;
    world.cluster.member_mut(leader).kill();
    world.cluster.leader().await;
    world.check().await;
    world.cluster.restart().await;
    world.check().await;
    world.assert_no_events();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_is_restarted_in_turn() {
    let mut world = World::start(Shape::members(3)).await;
    for index in 0..3 {
        world.cluster.member_mut(index).kill();
        world.cluster.leader().await;
        world.check().await;
        world.cluster.restart().await;
    }
    world.check().await;
    world.assert_no_events();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_down_for_three_ttls() {
    let mut world = World::start(Shape::members(3).with_ttl(3)).await;
    world.cluster.kill();
    world.stale().await;
    world.in_doubt().await;
    sleep(3 * world.ttl).await;
    world.assert_no_events();
    world.cluster.restart().await;
    world.check().await;
    world.assert_outages(1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_paused_for_longer_than_the_ttl() {
    let mut world = World::start(Shape::members(1).with_ttl(3)).await;
    world.cluster.member(0).pause();
    world.stale().await;
    world.in_doubt().await;
    sleep(world.ttl + Duration::from_secs(1)).await;
    world.assert_no_events();
    world.cluster.member(0).resume();
    world.cluster.serving().await;
    world.check().await;
    world.assert_outages(1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_alone_is_paused() {
    let mut world = World::start(Shape::members(3).with_ttl(15)).await;
    let leader = world.cluster.leader().await;
    world.cluster.member(leader).pause();
    sleep(world.ttl + Duration::from_secs(2)).await;
    world.assert_no_events();
    world.cluster.member(leader).resume();
    world.cluster.serving().await;
    world.check().await;
    world.close().await;
}
