use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::Semaphore;
use tower::{Service, service_fn};
use vine_discovery::{
    Cache, NoNode, RoundRobin, Selector,
    clients::{
        BoxError, CallError, Ending, Retries,
        tower::{Balanced, Policy},
    },
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service as Model};

const NAME: &str = "go.vine.test";

/// Hosts without a network: which refuse connections, whose connections are broken, which calls they
/// got.
#[derive(Clone, Debug, Default)]
struct World(Arc<Mutex<Hosts>>);

#[derive(Debug, Default)]
struct Hosts {
    refusing: HashSet<String>,
    failing: HashSet<String>,
    /// Connections made to each so far; those with a lower number than it are broken.
    connected: BTreeMap<String, usize>,
    broken: BTreeMap<String, usize>,
    calls: BTreeMap<String, usize>,
}

#[derive(Clone)]
struct Connection {
    world: World,
    address: String,
    number: usize,
}

impl World {
    fn change<R>(&self, change: impl FnOnce(&mut Hosts) -> R) -> R {
        change(&mut self.0.lock().unwrap())
    }

    fn refuse(&self, address: &str) {
        self.change(|hosts| hosts.refusing.insert(address.to_owned()));
        self.cut(address);
    }

    fn cut(&self, address: &str) {
        self.change(|hosts| {
            let connected = hosts.connected.get(address).copied().unwrap_or(0);
            hosts.broken.insert(address.to_owned(), connected);
        });
    }

    fn calls(&self) -> BTreeMap<String, usize> {
        self.change(|hosts| hosts.calls.clone())
    }

    fn connect(&self, address: &str) -> Result<Connection, BoxError> {
        self.change(|hosts| {
            if hosts.refusing.contains(address) {
                return Err(format!("{address} refuses").into());
            }
            let number = hosts.connected.entry(address.to_owned()).or_default();
            *number += 1;
            Ok(Connection {
                world: self.clone(),
                address: address.to_owned(),
                number: *number,
            })
        })
    }
}

impl Service<u32> for Connection {
    type Response = String;
    type Error = BoxError;
    type Future = Ready<Result<String, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let broken = self.world.change(|hosts| {
            hosts
                .broken
                .get(&self.address)
                .is_some_and(|&broken| self.number <= broken)
        });
        if broken {
            return Poll::Ready(Err("broken".into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(self.world.change(|hosts| {
            *hosts.calls.entry(self.address.clone()).or_default() += 1;
            if hosts.failing.contains(&self.address) {
                return Err("failed".into());
            }
            Ok(self.address.clone())
        }))
    }
}

/// Even numbers are idempotent.
#[derive(Debug)]
struct Even;

impl Policy<u32, String, BoxError> for Even {
    fn copy(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn is_idempotent(&self, request: &u32) -> bool {
        request.is_multiple_of(2)
    }

    fn ending(&self, result: Result<&String, &BoxError>) -> Ending {
        result.map_or(Ending::Failed, |_| Ending::Answered)
    }
}

async fn cache(ids: &str) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(model(ids)).await.unwrap();
    cache
}

fn model(ids: &str) -> Model {
    let nodes = ids
        .split_whitespace()
        .map(|id| Node::new(id, format!("{id}:1")));
    Model::new(NAME, "v1").with_nodes(nodes)
}

fn selector(cache: &Cache) -> Selector {
    Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .build()
}

fn balanced(cache: &Cache, world: &World, retries: Retries) -> Balanced<Connection, u32, Even> {
    let world = world.clone();
    let connect = move |node: Arc<Node>| ready(world.connect(&node.address));
    Balanced::builder(selector(cache))
        .policy(Even)
        .retries(retries)
        .build(service_fn(connect))
}

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
