//! Whatever nodes and connections do, in any order: no call fails or waits as long as one node is fine.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout},
};
use tower::{Service, service_fn};
use vine_discovery::{
    Cache, LeastLoaded, Selector,
    clients::{
        BoxError, CallError, Ending, Retries,
        tower::{Balanced, Policy},
    },
};
use vine_registry::{Node, Service as Model};

use crate::{
    faulty::Faulty,
    world::{Connection, NAME, World},
};

/// Even numbers are idempotent; nothing ends a call but its answer.
#[derive(Debug)]
struct Patient;

impl Policy<u32, String, BoxError> for Patient {
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

type Client = Balanced<Connection, u32, Patient>;

/// Addresses that nobody answers at, not even by a refusal.
type Silent = Arc<Mutex<HashSet<String>>>;

fn client(selector: Selector, world: &World, silent: &Silent) -> Client {
    let (world, silent) = (world.clone(), Arc::clone(silent));
    let connect = move |node: Arc<Node>| {
        let (world, is_silent) = (
            world.clone(),
            silent.lock().unwrap().contains(&*node.address),
        );
        async move {
            if is_silent {
                pending::<()>().await;
            }
            world.connect(&node.address)
        }
    };
    let retries = Retries::new().with_attempts(1_000).with_budget(1e9, 1e9);
    let builder = Balanced::builder(selector).policy(Patient);
    builder.retries(retries).build(service_fn(connect))
}

/// The nodes, by id and port: `n0` may be there always.
fn model(ports: &BTreeMap<u8, u8>) -> Option<Model> {
    let node = |(id, port)| Node::new(format!("n{id}"), format!("n{id}:{port}"));
    let model = Model::new(NAME, "v1").with_nodes(ports.iter().map(node));
    (!ports.is_empty()).then_some(model)
}

/// Makes a call, which may be given up.
fn call(mut client: Client, number: u32, is_dropped: bool, is_fine: bool) -> JoinHandle<()> {
    tokio::spawn(async move {
        let start = Instant::now();
        let patience = Duration::from_millis(if is_dropped { 1 } else { 60_000 });
        let Ok(result) = timeout(patience, client.call(number)).await else {
            return assert!(is_dropped, "it waits without end");
        };
        if !is_fine {
            return;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        if let Err(error) = result {
            // A node may have acted on it.
            let cause = error.source().map(ToString::to_string);
            assert!(matches!(error, CallError::Failed { .. }), "{error}");
            assert_eq!((number % 2, cause.as_deref()), (1, Some("failed")));
        }
    })
}

async fn run(seed: u64, is_fine: bool) {
    let mut rng = Rng::with_seed(seed);
    let mut ports = BTreeMap::from([(u8::from(!is_fine), 1)]);
    let faulty = Faulty::with(model(&ports));
    let cache = Cache::new(faulty.clone());
    let selector = Selector::builder(cache.subscribe(NAME));
    let selector = selector.strategy(LeastLoaded).build();
    selector.ready().await.unwrap();
    let (world, silent) = (World::default(), Silent::default());
    let mut client = client(selector.clone(), &world, &silent);
    let mut calls = Vec::new();
    for _ in 0..60 {
        let id = rng.u8(1..5);
        let address = format!("n{id}:{}", rng.u8(1..3));
        match rng.u8(..11) {
            0 | 1 => {
                ports.insert(id, rng.u8(1..3));
                faulty.set(model(&ports));
            }
            2 => {
                ports.remove(&id);
                faulty.set(model(&ports));
            }
            3 => world.refuse(&address),
            4 => drop(world.change(|hosts| hosts.refusing.remove(&address))),
            5 => world.cut(&address),
            6 => drop(world.change(|hosts| hosts.failing.insert(address))),
            7 => drop(world.change(|hosts| hosts.failing.remove(&address))),
            8 if rng.bool() => drop(silent.lock().unwrap().insert(address)),
            8 => drop(silent.lock().unwrap().remove(&address)),
            9 => sleep(Duration::from_millis(rng.u64(..1_500))).await,
            _ if rng.bool() => faulty.cut(),
            _ => faulty.mend(),
        }
        for _ in 0..rng.usize(..5) {
            let (number, is_dropped) = (rng.u32(..10), rng.u8(..6) == 0);
            calls.push(call(client.clone(), number, is_dropped, is_fine));
        }
        match rng.u8(..3) {
            0 => yield_now().await,
            1 => sleep(Duration::from_millis(rng.u64(..20))).await,
            _ => {}
        }
    }
    for call in calls {
        call.await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let peers = selector.peers();
    assert!(
        peers.iter().all(|peer| peer.in_flight() == 0),
        "seed {seed}"
    );

    world.change(|hosts| (hosts.refusing.clear(), hosts.failing.clear()));
    silent.lock().unwrap().clear();
    ports.entry(1).or_insert(1);
    faulty.set(model(&ports));
    faulty.mend();
    // Longer than the longest pause between attempts, and the longest attempt.
    sleep(Duration::from_secs(8)).await;
    for number in 0..20 {
        let answer = client.call(number).await;
        answer.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_fails_or_waits_while_one_node_is_fine() {
    for seed in 0..20 {
        run(seed, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_without_end_while_nodes_come_and_go() {
    for seed in 0..20 {
        run(seed, false).await;
    }
}
