//! Passwords, tokens and permissions that change under way.

use std::time::Duration;

use tokio::time::sleep;
use vine_registry::{Error, Node, RegistryExt, Service};

use crate::{
    truth::PREFIX,
    world::{NAMESPACE, Shape, World},
};

/// Tokens hold for two seconds; five times that long everything goes on, watches too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_expire_under_a_watch() {
    let mut world = World::start(Shape::members(1).with_user(2)).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(2)).await;
        world.check().await;
        world.hold(passing("one")).await;
        world.check().await;
        world.release().await;
    }
    world.check().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_is_taken_away_and_given_back() {
    let world = World::start(Shape::members(1).with_user(300)).await;
    world.cluster.client().forbid("vine", "/vine/").await;
    let refused = world.owner.register(passing("two")).await;
    assert!(
        matches!(refused, Err(Error::PermissionDenied { .. })),
        "{refused:?}"
    );
    world.cluster.client().delete(PREFIX).await;
    sleep(world.ttl).await;
    world.cluster.client().permit("vine", "/vine/").await;
    world.check().await;
    world.close().await;
}

/// Who has the password goes on when one is wanted all of a sudden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_wanted_later() {
    let mut world = World::start(Shape::members(1).with_user_later()).await;
    world.want_password().await;
    // A look-up could be answered by the watches of this handle; a list never is.
    let is_listed = async |world: &World| {
        let listed = world
            .reader
            .list_services()
            .await
            .expect("it says who it is");
        listed
            .iter()
            .any(|service| &*service.name == "go.vine.passing")
    };
    assert!(!is_listed(&world).await);
    world.hold(passing("three")).await;
    assert!(is_listed(&world).await);
    world.check().await;
    sleep(world.ttl).await;
    world.check().await;
    world.release().await;
    world.close().await;
}

fn passing(id: &str) -> Service {
    Service::new("go.vine.passing", "v1")
        .with_namespace(NAMESPACE)
        .with_node(Node::new(id, "10.1.1.1:1"))
}
