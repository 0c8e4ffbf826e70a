//! Look-ups through the cache and picks of a node, beside tower's power of two choices; and how long
//! a change takes to be picked by.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    array,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::{runtime::Runtime, sync::Notify, task::JoinHandle};
use tower::{
    Service as _,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PendingRequests},
};
use vine_bench::{service, undisturbed};
use vine_discovery::{
    Arrangement, Cache, Call, ConsistentHash, LeastLoaded, Peers, Pick, Random, RoundRobin,
    Selector, Strategy, Weighted,
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

const NAME: &str = "go.vine.test";
const SIZES: [usize; 3] = [10, 1_000, 10_000];
const CHANGES: usize = 400;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn cache(nodes: usize) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(service(NAME, nodes)).await.unwrap();
    cache.get_service(NAME).await.unwrap();
    cache
}

async fn selector(nodes: usize, strategy: impl Strategy) -> Selector {
    let selector = Selector::builder(cache(nodes).await.subscribe(NAME))
        .strategy(strategy)
        .build();
    selector.ready().await.unwrap();
    selector
}

fn look_up(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("peek");
    for nodes in SIZES {
        let cache = runtime.block_on(cache(nodes));
        group.bench_function(BenchmarkId::from_parameter(nodes), |b| {
            b.iter(|| cache.peek(black_box(NAME)).unwrap())
        });
        let allocations = allocation_counter::measure(|| {
            black_box(cache.peek(NAME).unwrap());
        });
        println!(
            "peek of {nodes} nodes: {} allocations",
            allocations.count_total
        );
    }
    let cache = runtime.block_on(cache(10));
    let subscription = cache.subscribe(NAME);
    group.bench_function("subscription", |b| b.iter(|| subscription.services()));
}

fn pick_port(selector: &Selector) -> usize {
    selector.with_pick(|node| node.address.len()).unwrap()
}

fn borrowed(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("borrowed pick");
    for nodes in SIZES {
        for (name, selector) in [
            ("random", runtime.block_on(selector(nodes, Random))),
            (
                "round robin",
                runtime.block_on(selector(nodes, RoundRobin::new())),
            ),
            ("weighted", runtime.block_on(selector(nodes, Weighted))),
        ] {
            group.bench_function(BenchmarkId::new(name, nodes), |b| {
                b.iter(|| pick_port(&selector))
            });
        }
    }
}

fn guarded(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("guard");
    for nodes in SIZES {
        let random = runtime.block_on(selector(nodes, Random));
        group.bench_function(BenchmarkId::new("random", nodes), |b| {
            b.iter(|| random.pick().unwrap().succeed())
        });
        let loaded = runtime.block_on(selector(nodes, LeastLoaded));
        group.bench_function(BenchmarkId::new("least loaded, pick alone", nodes), |b| {
            // The guard's end is not measured.
            b.iter_with_large_drop(|| loaded.pick().unwrap())
        });
        group.bench_function(BenchmarkId::new("least loaded", nodes), |b| {
            b.iter(|| loaded.pick().unwrap().succeed())
        });
        let hashed = runtime.block_on(selector(nodes, ConsistentHash));
        let mut key = 0_u64;
        group.bench_function(BenchmarkId::new("consistent hash", nodes), |b| {
            b.iter(|| {
                key += 1;
                let pick = Pick::new().with_key(key.to_be_bytes());
                hashed.pick_by(&pick).unwrap().succeed()
            })
        });
    }
}

/// All of that once more, for machines on which other things run.
fn quietly(_: &mut Criterion) {
    let runtime = runtime();
    for nodes in SIZES {
        let cache = runtime.block_on(cache(nodes));
        undisturbed(&format!("peek of {nodes} nodes"), || {
            black_box(cache.peek(black_box(NAME)));
        });
        let random = runtime.block_on(selector(nodes, Random));
        let turns = runtime.block_on(selector(nodes, RoundRobin::new()));
        let loaded = runtime.block_on(selector(nodes, LeastLoaded));
        let hashed = runtime.block_on(selector(nodes, ConsistentHash));
        undisturbed(&format!("random of {nodes}, borrowed"), || {
            black_box(pick_port(&random));
        });
        undisturbed(&format!("round robin of {nodes}, borrowed"), || {
            black_box(pick_port(&turns));
        });
        undisturbed(&format!("random of {nodes}, guard and outcome"), || {
            random.pick().unwrap().succeed();
        });
        undisturbed(
            &format!("least loaded of {nodes}, guard and outcome"),
            || {
                loaded.pick().unwrap().succeed();
            },
        );
        let mut key = 0_u64;
        undisturbed(
            &format!("consistent hash of {nodes}, guard and outcome"),
            || {
                key += 1;
                let pick = Pick::new().with_key(key.to_be_bytes());
                hashed.pick_by(&pick).unwrap().succeed();
            },
        );
        let mut balance = balance(nodes);
        let mut context = Context::from_waker(Waker::noop());
        undisturbed(&format!("tower's p2c of {nodes}"), || {
            let _ = black_box(balance.poll_ready(&mut context));
            drop(black_box(balance.call(())));
        });
    }
    undisturbed("reading tokio's clock", || {
        black_box(tokio::time::Instant::now());
    });
}

/// Answers at once.
#[derive(Clone)]
struct Echo;

impl tower::Service<()> for Echo {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type Echoes = ServiceList<Vec<PendingRequests<Echo>>>;

/// Tower's balancer over nodes that are connected.
fn balance(nodes: usize) -> Balance<Echoes, ()> {
    let services = (0..nodes).map(|_| PendingRequests::new(Echo, CompleteOnResponse::default()));
    let mut balance = Balance::new(ServiceList::new(services.collect::<Vec<_>>()));
    let mut context = Context::from_waker(Waker::noop());
    while !matches!(balance.poll_ready(&mut context), Poll::Ready(Ok(()))) {}
    balance
}

/// Tower's choice of a node and a call that does nothing.
fn towers(c: &mut Criterion) {
    let mut group = c.benchmark_group("tower's p2c");
    for nodes in SIZES {
        let mut balance = balance(nodes);
        let mut context = Context::from_waker(Waker::noop());
        group.bench_function(BenchmarkId::from_parameter(nodes), |b| {
            b.iter(|| {
                let _ = black_box(balance.poll_ready(&mut context));
                drop(black_box(balance.call(())));
            })
        });
    }
}

/// The calls a second of so many threads.
fn rate(threads: usize, call: impl Fn() + Sync) -> f64 {
    const CALLS: u32 = 3_000_000;
    let barrier = Barrier::new(threads);
    let times = thread::scope(|scope| {
        let run = || {
            barrier.wait();
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap());
        times.max().unwrap()
    });
    (threads as f64 * f64::from(CALLS)) / times.as_secs_f64()
}

/// What a second thread gains, in turns with a loop that only computes; by the best rates of some
/// rounds, since others may run beside.
fn two_threads(_: &mut Criterion) {
    const ROUNDS: usize = 15;
    let runtime = runtime();
    let compute = || {
        let mut x = black_box(1_u64);
        for _ in 0..8 {
            x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ x >> 7;
        }
        black_box(x);
    };
    for (name, selector) in [
        ("random", runtime.block_on(selector(1_000, Random))),
        (
            "round robin",
            runtime.block_on(selector(1_000, RoundRobin::new())),
        ),
    ] {
        let pick = || {
            black_box(pick_port(&selector));
        };
        let mut best = [0.0_f64; 4];
        for _ in 0..ROUNDS {
            let rates = [
                rate(1, pick),
                rate(2, pick),
                rate(1, compute),
                rate(2, compute),
            ];
            best = array::from_fn(|at| best[at].max(rates[at]));
        }
        let (ours, loops) = (best[1] / best[0], best[3] / best[2]);
        println!(
            "two threads, {name}: {ours:.2} times one; a compute loop {loops:.2}, ratio {:.2}",
            ours / loops
        );
    }
}

/// From the call that changes the registry until the selector picks by it: on a runtime of one thread,
/// by a task on one of two, and by another thread, which has to wake one of those. Beside it, three
/// tasks that do nothing but wake one another, since as many hand on a change. And once more with a
/// strategy that has much to arrange.
fn change(_: &mut Criterion) {
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let two = runtime();
    for nodes in SIZES {
        print("one thread", nodes, one.block_on(changes(nodes, Last)));
        let within = two.block_on(two.spawn(changes(nodes, Last))).unwrap();
        print("a task of two threads", nodes, within);
        print("another thread", nodes, two.block_on(changes(nodes, Last)));
        let arranged = one.block_on(changes(nodes, ConsistentHash));
        print("one thread, consistent hash", nodes, arranged);
    }
    print("one thread, bare tasks", 0, one.block_on(wakes()));
    let within = two.block_on(two.spawn(wakes())).unwrap();
    print("a task of two threads, bare tasks", 0, within);
    print("another thread, bare tasks", 0, two.block_on(wakes()));
}

fn print(by: &str, nodes: usize, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("change to pick, {nodes} nodes, by {by}: p50 {p50:?}, p99 {p99:?}");
}

async fn changes(nodes: usize, strategy: impl Strategy) -> Vec<Duration> {
    let cache = cache(nodes - 1).await;
    let selector = Selector::builder(cache.subscribe(NAME))
        .strategy(strategy)
        .build();
    selector.ready().await.unwrap();
    let new = Node::new("new", "10.9.9.9:80");
    let new = Arc::new(Service::new(NAME, "v1.0.0").with_node(new));
    let is_new = |key: u64| {
        let pick = Pick::new().with_key(key.to_be_bytes());
        let is_new = selector.with_pick_by(&pick, |node| &*node.id == "new");
        is_new.unwrap()
    };
    cache.register(Arc::clone(&new)).await.unwrap();
    // A call that goes to it.
    let key = loop {
        if let Some(key) = (0..1_000_000).find(|key| is_new(*key)) {
            break key;
        }
        tokio::task::yield_now().await;
    };
    let mut times = Vec::new();
    for round in 0..CHANGES {
        let comes = round % 2 == 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        if comes {
            cache.register(Arc::clone(&new)).await.unwrap();
        } else {
            cache.deregister(&new).await.unwrap();
        }
        while is_new(key) != comes {
            tokio::task::yield_now().await;
        }
        times.push(start.elapsed());
    }
    times
}

/// Picks the node that came last.
#[derive(Debug)]
struct Last;

impl Strategy for Last {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(At(peers.len() - 1))
    }
}

struct At(usize);

impl Arrangement for At {
    fn choose(&self, _call: &Call) -> usize {
        self.0
    }
}

async fn wakes() -> Vec<Duration> {
    let [one, two, three] = [(); 3].map(|()| Arc::new(Notify::new()));
    let seen = Arc::new(AtomicUsize::new(0));
    let pass = |from: &Arc<Notify>, to: &Arc<Notify>| {
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        tokio::spawn(async move {
            loop {
                from.notified().await;
                to.notify_one();
            }
        })
    };
    let count = {
        let (from, seen) = (Arc::clone(&three), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                from.notified().await;
                seen.fetch_add(1, Ordering::Release);
            }
        })
    };
    let tasks = [pass(&one, &two), pass(&two, &three), count];
    let mut times = Vec::new();
    for round in 1..=CHANGES {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        one.notify_one();
        while seen.load(Ordering::Acquire) < round {
            tokio::task::yield_now().await;
        }
        times.push(start.elapsed());
    }
    tasks.iter().for_each(JoinHandle::abort);
    times
}

criterion_group! {
    name = discovery;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = quietly, look_up, borrowed, guarded, towers, two_threads, change
}
criterion_main!(discovery);
