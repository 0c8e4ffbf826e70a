//! Connections that hang, are reset, are late, or lose answers.

use std::time::Duration;

use tokio::time::sleep;
use vine_etcd_harness::Mode;

use crate::world::{Shape, World};

/// Everything hangs for longer than the ttl, and what was under way comes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_hangs() {
    let world = World::start(Shape::members(3)).await;
    world.spoil(Mode::Hang).await;
    world.stale().await;
    world.in_doubt().await;
    sleep(world.ttl).await;
    world.assert_no_events();
    world.spoil(Mode::Pass).await;
    world.check().await;
    world.assert_outages(1);
    world.close().await;
}

/// The others go on: nobody loses anything, whichever member it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_to_one_member_hang() {
    let world = World::start(Shape::members(3).with_ttl(6)).await;
    for index in 0..3 {
        world.proxies[index].set(Mode::Hang).await;
        sleep(world.ttl).await;
        world.check().await;
        world.proxies[index].set(Mode::Pass).await;
    }
    world.assert_no_events();
    world.check().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reset() {
    let world = World::start(Shape::members(3)).await;
    for _ in 0..5 {
        world.spoil(Mode::Reset).await;
        world.stale().await;
        world.spoil(Mode::Pass).await;
        world.check().await;
    }
    world.assert_no_events();
    world.assert_outages(5);
    world.close().await;
}

/// Later than an attempt may take: it is as if nobody answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_two_seconds_late() {
    let world = World::start(Shape::members(1)).await;
    world.spoil(Mode::Delay(Duration::from_secs(2))).await;
    world.in_doubt().await;
    sleep(world.ttl).await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    world.close().await;
}

/// One member is late, the others are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_is_two_seconds_late() {
    let world = World::start(Shape::members(3).with_ttl(6)).await;
    for index in 0..3 {
        let late = Mode::Delay(Duration::from_secs(2));
        world.proxies[index].set(late).await;
        sleep(world.ttl).await;
        world.check().await;
        world.proxies[index].set(Mode::Pass).await;
    }
    world.assert_no_events();
    world.check().await;
    world.close().await;
}

/// What is asked is done, but nobody hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_lost() {
    let world = World::start(Shape::members(1)).await;
    world.spoil(Mode::LoseAnswers).await;
    world.stale().await;
    world.in_doubt().await;
    sleep(world.ttl).await;
    world.spoil(Mode::Pass).await;
    world.check().await;
    world.close().await;
}
