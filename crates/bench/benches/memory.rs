//! Look-ups and registrations in the memory registry, beside one lock and deep copies.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use vine_bench::{Naive, compare, node, service};
use vine_registry::{
    DeregisterOptions, GetOptions, MemoryRegistry, RegisterOptions, Registry, Service,
};

const SIZES: [usize; 4] = [1, 10, 1_000, 100_000];

fn register(registry: &dyn Registry, service: impl Into<Arc<Service>>) {
    registry
        .register_with(service.into(), &RegisterOptions::default())
        .now_or_never()
        .unwrap()
        .unwrap();
}

fn get(registry: &dyn Registry, name: &str, options: &GetOptions) {
    black_box(
        registry
            .get_service_with(black_box(name), options)
            .now_or_never()
            .unwrap()
            .unwrap(),
    );
}

fn look_up(c: &mut Criterion) {
    let options = GetOptions::default();
    let mut group = c.benchmark_group("get_service");
    for nodes in SIZES {
        let registry = MemoryRegistry::new();
        let naive = Naive::default();
        let service = service("go.vine.test", nodes);
        naive.register(&service);
        register(&registry, service);
        group.bench_function(BenchmarkId::new("memory", nodes), |b| {
            b.iter(|| get(&registry, "go.vine.test", &options))
        });
        group.bench_function(BenchmarkId::new("naive", nodes), |b| {
            b.iter(|| black_box(naive.get(black_box("go.vine.test"))))
        });
        compare(
            &format!("get_service of {nodes} nodes"),
            || get(&registry, "go.vine.test", &options),
            || drop(black_box(naive.get(black_box("go.vine.test")))),
        );
    }
}

/// The wall time of one look-up while each of two threads makes its own.
fn two_threads(registry: &MemoryRegistry, names: [&str; 2], iterations: u64) -> Duration {
    let barrier = Barrier::new(2);
    let run = |name: &str| {
        let options = GetOptions::default();
        barrier.wait();
        let start = Instant::now();
        for _ in 0..iterations {
            get(registry, name, &options);
        }
        start.elapsed()
    };
    thread::scope(|scope| {
        let threads = names.map(|name| scope.spawn(move || run(name)));
        threads
            .map(|thread| thread.join().unwrap())
            .into_iter()
            .max()
            .unwrap()
    })
}

fn look_up_from_two_threads(c: &mut Criterion) {
    let registry = MemoryRegistry::new();
    register(&registry, service("a", 10));
    register(&registry, service("b", 10));
    let options = GetOptions::default();
    let mut group = c.benchmark_group("get_service from threads");
    group.bench_function("one", |b| b.iter(|| get(&registry, "a", &options)));
    group.bench_function("two, different names", |b| {
        b.iter_custom(|n| two_threads(&registry, ["a", "b"], n))
    });
    group.bench_function("two, one name", |b| {
        b.iter_custom(|n| two_threads(&registry, ["a", "a"], n))
    });
}

/// The time of registering new services or nodes, each after a look-up. After every hundred they are
/// taken away again, off the clock, so that the registry stays as large as it is.
fn registering_new(
    registry: &MemoryRegistry,
    new: impl Fn(usize) -> Service,
    count: u64,
) -> Duration {
    let (options, gone) = (GetOptions::default(), DeregisterOptions::default());
    let mut time = Duration::ZERO;
    let mut left = count as usize;
    while left > 0 {
        let batch: Vec<_> = (0..left.min(100))
            .map(|i| Arc::new(new(left - i)))
            .collect();
        let start = Instant::now();
        for service in &batch {
            get(registry, "s", &options);
            register(registry, Arc::clone(service));
        }
        time += start.elapsed();
        for service in &batch {
            registry
                .deregister_with(service, &gone)
                .now_or_never()
                .unwrap()
                .unwrap();
        }
        left -= batch.len();
    }
    time
}

fn registering(c: &mut Criterion) {
    let mut group = c.benchmark_group("register");
    for services in [1, 10_000] {
        let registry = MemoryRegistry::new();
        register(&registry, service("s", 1));
        (1..services).for_each(|i| register(&registry, service(&format!("old-{i}"), 1)));
        let new = |i| service(&format!("new-{i}"), 1);
        let id = BenchmarkId::new("look-up and new service beside", services);
        group.bench_function(id, |b| {
            b.iter_custom(|n| registering_new(&registry, new, n))
        });
    }
    for nodes in [10, 1_000, 100_000] {
        let registry = MemoryRegistry::new();
        register(&registry, service("s", nodes));
        let new = |i| Service::new("s", "v1.0.0").with_node(node(nodes + i));
        let id = BenchmarkId::new("look-up and added node to", nodes);
        group.bench_function(id, |b| {
            b.iter_custom(|n| registering_new(&registry, new, n))
        });
    }
    let registry = MemoryRegistry::new();
    register(&registry, service("s", 1_000));
    let same = Arc::new(Service::new("s", "v1.0.0").with_node(node(2_000)));
    register(&registry, Arc::clone(&same));
    group.bench_function("the same again", |b| {
        b.iter(|| register(&registry, Arc::clone(&same)))
    });
}

criterion_group! {
    name = memory;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = look_up, look_up_from_two_threads, registering
}
criterion_main!(memory);
