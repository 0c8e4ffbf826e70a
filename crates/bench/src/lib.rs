//! What the benchmarks share: services to register, and the alternative to measure beside.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and prints what it saw"
)]

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use vine_registry::{Node, Service};

/// A service with nodes `n0`, `n1`, and so on.
#[must_use]
pub fn service(name: &str, nodes: usize) -> Service {
    Service::new(name, "v1.0.0").with_nodes((0..nodes).map(node))
}

/// The node number `i`, with an address and one fact.
#[must_use]
pub fn node(i: usize) -> Node {
    Node::new(
        format!("n{i}"),
        format!("10.{}.{}.{}:8080", i >> 16 & 255, i >> 8 & 255, i & 255),
    )
    .with_metadata([("os", "linux")])
}

/// What a registry is without thought, as Go's is: one lock, and a deep copy for each look-up.
#[derive(Debug, Default)]
pub struct Naive {
    services: RwLock<HashMap<String, Vec<Plain>>>,
}

/// A node as plain owned values.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The node's id.
    pub id: String,
    /// The node's address.
    pub address: String,
    /// The node's metadata.
    pub metadata: HashMap<String, String>,
}

impl Naive {
    /// Adds the nodes of a service.
    pub fn register(&self, service: &Service) {
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let nodes = services.entry(service.name.to_string()).or_default();
        nodes.extend(service.nodes.iter().map(|node: &Arc<Node>| {
            Plain {
                id: node.id.to_string(),
                address: node.address.to_string(),
                metadata: node
                    .metadata
                    .iter()
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .collect(),
            }
        }));
    }

    /// A copy of the nodes of a service.
    #[must_use]
    pub fn get(&self, name: &str) -> Vec<Plain> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(name).cloned().unwrap_or_default()
    }
}

/// Prints the median times of both, taken in turns, and how ours stands to the other.
pub fn compare(what: &str, mut ours: impl FnMut(), mut other: impl FnMut()) {
    const ROUNDS: usize = 11;
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(time(&mut ours));
        other_times.push(time(&mut other));
    }
    let (our_time, other_time) = (median(our_times), median(other_times));
    let ratio = our_time.as_secs_f64() / other_time.as_secs_f64();
    println!("{what}: {our_time:?} against {other_time:?}, ratio {ratio:.4}");
}

/// Prints the time of one call in nanoseconds: the median of many short batches. One that is
/// shorter than a time slice is not disturbed by what else runs on the machine, as the long samples
/// of criterion are.
pub fn undisturbed(what: &str, mut call: impl FnMut()) {
    const BATCHES: usize = 2_001;
    const CALLS: u32 = 200;
    let batch = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed()
    };
    let time = median((0..BATCHES).map(batch).collect());
    let nanos = time.as_nanos() as f64 / f64::from(CALLS);
    println!("{what}: {nanos:.1} ns");
}

/// The time of one call, from as many as take about a millisecond.
fn time(call: &mut impl FnMut()) -> Duration {
    let mut calls = 1;
    loop {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        let elapsed = start.elapsed();
        if elapsed >= Duration::from_millis(1) {
            return elapsed / calls;
        }
        calls *= 2;
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
