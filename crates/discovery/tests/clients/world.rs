//! A service whose hosts fail as a test tells them.

use std::{
    collections::{BTreeMap, HashSet},
    future::{Future, pending, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::timeout;
use tower::{Service, service_fn};
use vine_discovery::{
    Cache, Fallback, RoundRobin, Selector, Verdict,
    clients::{
        BoxError, Ending, Retries,
        tower::{Balanced, Policy},
    },
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service as Model};

pub(crate) const NAME: &str = "go.vine.test";

/// Hosts without a network: which refuse connections, whose connections are broken, which calls they
/// got.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(Arc<Mutex<Hosts>>);

#[derive(Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) refusing: HashSet<String>,
    pub(crate) failing: HashSet<String>,
    /// They take calls and never answer.
    pub(crate) hanging: HashSet<String>,
    /// Connections made to each so far; those with a lower number than it are broken.
    pub(crate) connected: BTreeMap<String, usize>,
    pub(crate) broken: BTreeMap<String, usize>,
    pub(crate) calls: BTreeMap<String, usize>,
}

#[derive(Clone)]
pub(crate) struct Connection {
    world: World,
    address: String,
    number: usize,
}

impl World {
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Hosts) -> R) -> R {
        change(&mut self.0.lock().unwrap())
    }

    pub(crate) fn refuse(&self, address: &str) {
        self.change(|hosts| hosts.refusing.insert(address.to_owned()));
        self.cut(address);
    }

    pub(crate) fn cut(&self, address: &str) {
        self.change(|hosts| {
            let connected = hosts.connected.get(address).copied().unwrap_or(0);
            hosts.broken.insert(address.to_owned(), connected);
        });
    }

    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        self.change(|hosts| hosts.calls.clone())
    }

    pub(crate) fn connect(&self, address: &str) -> Result<Connection, BoxError> {
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
    type Future = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

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
        let address = self.address.clone();
        self.world.change(|hosts| {
            *hosts.calls.entry(address.clone()).or_default() += 1;
            let hangs = hosts.hanging.contains(&address);
            let fails = hosts.failing.contains(&address);
            Box::pin(async move {
                match (hangs, fails) {
                    (true, _) => pending().await,
                    (_, true) => Err("failed".into()),
                    _ => Ok(address),
                }
            })
        })
    }
}

/// Even numbers are idempotent; each call may take a second.
#[derive(Debug)]
pub(crate) struct Even;

impl Policy<u32, String, BoxError> for Even {
    fn copy(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn is_idempotent(&self, request: &u32) -> bool {
        request.is_multiple_of(2)
    }

    fn timeout(&self, _: &u32) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn ending(&self, result: Result<&String, &BoxError>) -> Ending {
        result.map_or(Ending::Failed, |_| Ending::Answered)
    }
}

pub(crate) async fn cache(ids: &str) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(model(ids)).await.unwrap();
    cache
}

pub(crate) fn model(ids: &str) -> Model {
    let nodes = ids
        .split_whitespace()
        .map(|id| Node::new(id, format!("{id}:1")));
    Model::new(NAME, "v1").with_nodes(nodes)
}

pub(crate) fn selector(cache: &Cache) -> Selector {
    Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .build()
}

pub(crate) fn balanced(
    cache: &Cache,
    world: &World,
    retries: Retries,
) -> Balanced<Connection, u32, Even> {
    balanced_by(selector(cache), world, retries)
}

pub(crate) fn balanced_by(
    selector: Selector,
    world: &World,
    retries: Retries,
) -> Balanced<Connection, u32, Even> {
    let world = world.clone();
    let connect = move |node: Arc<Node>| ready(world.connect(&node.address));
    Balanced::builder(selector)
        .policy(Even)
        .retries(retries)
        .build(service_fn(connect))
}

/// Whether calls pass over the node, as it failed.
pub(crate) fn is_ejected(selector: &Selector, id: &str) -> bool {
    let mut explained = selector.explain().into_iter();
    let node = explained.find(|one| &*one.node.id == id);
    node.is_some_and(|node| node.verdict == Verdict::Fallback(Fallback::Ejected))
}

/// Waits for that.
pub(crate) async fn until_ejected(selector: &Selector, id: &str) {
    let mut updates = selector.updates();
    let ejected = async {
        while !is_ejected(selector, id) {
            updates.next().await;
        }
    };
    timeout(Duration::from_secs(60), ejected).await.unwrap();
}
