//! Look-ups and watches over mDNS on the loopback interface, beside a look-up in memory. Between
//! two hosts: `cargo run --release -p vine-interop -- measure`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use tokio::runtime::Runtime;
use vine_bench::{node, service};
use vine_registry::{
    Event, GetOptions, MemoryRegistry, Options, Registry, RegistryExt, Service, Wait,
};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

/// A port of our own, so that nobody else hears of it.
const PORT: u16 = 45_353;

async fn handle() -> MdnsRegistry {
    let mdns = MdnsOptions::new().with_port(PORT).with_interfaces(["lo"]);
    let registry = MdnsRegistry::new(Options::new(), mdns).unwrap();
    registry.init().await.unwrap();
    registry
}

fn warm(c: &mut Criterion, runtime: &Runtime) {
    let memory = MemoryRegistry::new();
    let (owner, reader) = runtime.block_on(async {
        let (owner, reader) = (handle().await, handle().await);
        owner.register(service("go.vine.test", 10)).await.unwrap();
        memory.register(service("go.vine.test", 10)).await.unwrap();
        reader.get_service("go.vine.test").await.unwrap();
        (owner, reader)
    });
    let options = GetOptions::default();
    let mut group = c.benchmark_group("look-up once browsed");
    for (name, registry) in [("memory", &memory as &dyn Registry), ("mdns", &reader)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(
                    registry
                        .get_service_with("go.vine.test", &options)
                        .now_or_never()
                        .unwrap()
                        .unwrap(),
                )
            });
        });
    }
    group.finish();
    runtime
        .block_on(async { owner.close().await.and(reader.close().await) })
        .unwrap();
}

/// Fresh handles, which have heard of nothing, ask a handle that has ten nodes.
fn cold(c: &mut Criterion, runtime: &Runtime) {
    let owner = runtime.block_on(async {
        let owner = handle().await;
        owner.register(service("go.vine.test", 10)).await.unwrap();
        owner
    });
    let mut group = c.benchmark_group("cold look-up on loopback");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for (name, wait) in [("first answer", Wait::First), ("settled", Wait::Settled)] {
        let options = GetOptions::new().with_wait(wait);
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                runtime.block_on(async {
                    let mut time = Duration::ZERO;
                    for _ in 0..n {
                        let fresh = handle().await;
                        let start = Instant::now();
                        fresh
                            .get_service_with("go.vine.test", &options)
                            .await
                            .unwrap();
                        time += start.elapsed();
                        fresh.close().await.unwrap();
                    }
                    time
                })
            });
        });
    }
    group.finish();
    runtime.block_on(owner.close()).unwrap();
}

/// From `register` to the event in another handle's watch; each node is new.
fn watched(c: &mut Criterion, runtime: &Runtime) {
    let mut group = c.benchmark_group("register to event on loopback");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    group.bench_function("mdns", |b| {
        b.iter_custom(|n| {
            runtime.block_on(async {
                let (owner, reader) = (handle().await, handle().await);
                let mut watcher = reader.watch_service("go.vine.test").await.unwrap();
                let mut time = Duration::ZERO;
                for i in 0..n {
                    let service =
                        Arc::new(Service::new("go.vine.test", "v1").with_node(node(i as usize)));
                    let start = Instant::now();
                    owner.register(service).await.unwrap();
                    let is_it = |event: &Event| event.service.nodes.get(&format!("n{i}")).is_some();
                    while !watcher
                        .next_event()
                        .await
                        .is_some_and(|event| is_it(&event))
                    {}
                    time += start.elapsed();
                }
                owner.close().await.unwrap();
                reader.close().await.unwrap();
                time
            })
        });
    });
    group.finish();
}

fn mdns(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    warm(c, &runtime);
    cold(c, &runtime);
    watched(c, &runtime);
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = mdns
}
criterion_main!(all);
