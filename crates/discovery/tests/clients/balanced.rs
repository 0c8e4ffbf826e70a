use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tower::Service;
use vine_discovery::{
    Ejection, NoNode, Selector,
    clients::{BoxError, CallError, Retries, tower::Balanced},
};
use vine_registry::{Node, RegistryExt, Service as Model};

use crate::world::{
    Connection, Even, NAME, World, balanced, balanced_by, cache, is_ejected, model, selector,
    until_ejected,
};

#[tokio::test(start_paused = true)]
async fn calls_are_spread_over_connections_that_are_kept() {
    let (cache, world) = (cache("a b c").await, World::default());
    let mut client = balanced(&cache, &world, Retries::new());
    client.call(0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..299 {
        client.call(0).await.unwrap();
    }
    let calls = world.calls();
    assert_eq!(calls.values().sum::<usize>(), 300);
    assert!(calls.values().all(|&calls| calls >= 99), "{calls:?}");
    let connected = world.change(|hosts| hosts.connected.clone());
    assert!(connected.values().all(|&count| count == 1), "{connected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_costs_no_call_and_is_made_anew() {
    let (cache, world) = (cache("a b").await, World::default());
    let mut client = balanced(&cache, &world, Retries::none());
    for round in 0..50 {
        world.cut(["a:1", "b:1"][round % 2]);
        for _ in 0..10 {
            client.call(1).await.unwrap();
        }
    }
    let connected = world.change(|hosts| hosts.connected.clone());
    assert!(connected.values().all(|&count| count > 10), "{connected:?}");
}

#[tokio::test(start_paused = true)]
async fn who_refuses_gets_no_calls_until_it_takes_them_again() {
    let (cache, world) = (cache("a b").await, World::default());
    let mut client = balanced(&cache, &world, Retries::none());
    client.call(1).await.unwrap();
    world.refuse("a:1");
    for _ in 0..100 {
        client.call(1).await.unwrap();
    }
    let before = world.calls().get("a:1").copied().unwrap_or(0);
    assert!(before <= 1, "{before}");
    world.change(|hosts| hosts.refusing.clear());
    // Attempts go on with growing pauses.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..100 {
        client.call(1).await.unwrap();
    }
    assert!(world.calls()["a:1"] > before + 40);
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_calls_are_tried_again_after_a_failure() {
    let (cache, world) = (cache("a b").await, World::default());
    let mut client = balanced(&cache, &world, Retries::new());
    client.call(0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.change(|hosts| hosts.failing.insert("a:1".to_owned()));
    let mut failed = 0;
    for _ in 0..4 {
        assert_eq!(client.call(2).await.unwrap(), "b:1");
        failed += usize::from(client.call(1).await.is_err());
    }
    assert!(failed > 0, "an odd call that met a is not repeated");
    let error = loop {
        if let Err(error) = client.call(1).await {
            break error;
        }
    };
    let expected = "the call to node a of go.vine.test at a:1 failed";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.source().unwrap().to_string(), "failed");
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_is_tried_again() {
    let (cache, world) = (cache("a b").await, World::default());
    let retries = Retries::new().with_budget(0.2, 0.0);
    let mut client = balanced(&cache, &world, retries);
    for address in ["a:1", "b:1"] {
        world.change(|hosts| hosts.failing.insert(address.to_owned()));
    }
    for _ in 0..1_000 {
        client.call(0).await.unwrap_err();
    }
    let calls: usize = world.calls().values().sum();
    assert!((1_190..=1_200).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_answer() {
    let (cache, world) = (cache("a b").await, World::default());
    world.refuse("a:1");
    world.refuse("b:1");
    let mut client = balanced(&cache, &world, Retries::new());
    let error = client.call(0).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("refuses"), "{cause}");
    cache.deregister(&model("a b")).await.unwrap();
    let mut updates = client.selector().updates();
    while !updates.next().await.is_empty() {}
    let error = client.call(0).await.unwrap_err();
    assert!(
        matches!(error, CallError::NoNode(NoNode::NotFound { .. })),
        "{error}"
    );
}

/// Connects when the semaphore says so.
#[derive(Clone)]
struct Slowly(World, Arc<Semaphore>);

impl Service<Arc<Node>> for Slowly {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, node: Arc<Node>) -> Self::Future {
        let Self(world, gate) = self.clone();
        Box::pin(async move {
            gate.acquire().await?.forget();
            world.connect(&node.address)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_for_the_first_connection_alone() {
    let (cache, world) = (cache("a b").await, World::default());
    let gate = Arc::new(Semaphore::new(0));
    let connect = Slowly(world.clone(), Arc::clone(&gate));
    let mut client = Balanced::builder(selector(&cache))
        .policy(Even)
        .build(connect);
    let call = tokio::spawn(async move { client.call(0).await.map(|answer| (answer, client)) });
    tokio::task::yield_now().await;
    assert!(!call.is_finished());
    gate.add_permits(1);
    let (answer, mut client) = call.await.unwrap().unwrap();
    for _ in 0..10 {
        assert_eq!(
            client.call(0).await.unwrap(),
            answer,
            "the other is not connected"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_address_is_connected_to_anew() {
    let (cache, world) = (cache("a").await, World::default());
    let mut client = balanced(&cache, &world, Retries::none());
    assert_eq!(client.call(0).await.unwrap(), "a:1");
    let moved = Model::new(NAME, "v1").with_node(Node::new("a", "elsewhere:1"));
    cache.register(moved).await.unwrap();
    let mut updates = client.selector().updates();
    while &*updates.next().await[0].node().address != "elsewhere:1" {}
    assert_eq!(client.call(0).await.unwrap(), "elsewhere:1");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_gets_no_more_calls_after_five_that_took_too_long() {
    let (cache, world) = (cache("a b c").await, World::default());
    world.change(|hosts| hosts.hanging.insert("a:1".to_owned()));
    let mut client = balanced(&cache, &world, Retries::new());
    let mut late = 0;
    while late < 5 {
        let start = Instant::now();
        match client.call(0).await {
            Ok(answer) => assert_ne!(answer, "a:1"),
            Err(CallError::TimedOut { node, .. }) => {
                assert_eq!(node.as_deref(), Some("a"));
                assert_eq!(start.elapsed(), Duration::from_secs(1), "not tried again");
                late += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    until_ejected(client.selector(), "a").await;
    for _ in 0..30 {
        client.call(0).await.unwrap();
    }
    assert_eq!(world.calls()["a:1"], 5);
}

#[tokio::test(start_paused = true)]
async fn time_runs_while_nothing_is_connected() {
    let (cache, world) = (cache("a").await, World::default());
    let never = Arc::new(Semaphore::new(0));
    let mut client = Balanced::builder(selector(&cache))
        .policy(Even)
        .build(Slowly(world, never));
    let error = client.call(0).await.unwrap_err();
    assert!(
        matches!(error, CallError::TimedOut { node: None, .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_neither_a_success_nor_a_failure() {
    let (cache, world) = (cache("a").await, World::default());
    let hour = Duration::from_secs(3600);
    let ejection = Ejection::new().with_times(hour, hour).with_max_share(1.0);
    let selector = Selector::builder(cache.subscribe(NAME))
        .ejection(ejection.with_failures(2))
        .build();
    let mut client = balanced_by(selector.clone(), &world, Retries::none());
    for _ in 0..2 {
        assert!(!is_ejected(&selector, "a"));
        world.change(|hosts| hosts.hanging.insert("a:1".to_owned()));
        for _ in 0..3 {
            let call = timeout(Duration::from_millis(500), client.call(1)).await;
            assert!(call.is_err());
        }
        assert!(!is_ejected(&selector, "a"), "they are no failures");
        world.change(|hosts| {
            hosts.hanging.clear();
            hosts.failing.insert("a:1".to_owned());
        });
        client.call(1).await.unwrap_err();
    }
    // The second failure is the second in a row: what came between is no success.
    until_ejected(&selector, "a").await;
}
