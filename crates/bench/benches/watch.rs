//! One change to many watchers: the time until the last of them has it, and what `register` takes
//! meanwhile.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{runtime::Runtime, sync::Notify};
use vine_bench::node;
use vine_registry::{MemoryRegistry, RegistryExt, Service};

struct Audience {
    registry: MemoryRegistry,
    /// Who has not heard of the last change yet.
    left: Arc<AtomicUsize>,
    all_heard: Arc<Notify>,
    watchers: usize,
    changes: usize,
}

impl Audience {
    async fn gather(watchers: usize) -> Self {
        let audience = Self {
            registry: MemoryRegistry::new(),
            left: Arc::default(),
            all_heard: Arc::default(),
            watchers,
            changes: 0,
        };
        for _ in 0..watchers {
            let mut watcher = audience.registry.watch_service("s").await.unwrap();
            let (left, all_heard) = (Arc::clone(&audience.left), Arc::clone(&audience.all_heard));
            tokio::spawn(async move {
                while watcher.next_event().await.is_some() {
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        all_heard.notify_one();
                    }
                }
            });
        }
        audience
    }

    /// Registers another state of the one node; gives the time that took, and the time until all
    /// had heard of it.
    async fn change(&mut self) -> (Duration, Duration) {
        self.changes += 1;
        let node = node(0).with_metadata([("change", self.changes.to_string())]);
        let service = Arc::new(Service::new("s", "v1.0.0").with_node(node));
        self.left.store(self.watchers, Ordering::Release);
        let start = Instant::now();
        self.registry.register(service).await.unwrap();
        let registered = start.elapsed();
        if self.watchers > 0 {
            self.all_heard.notified().await;
        }
        (registered, start.elapsed())
    }
}

fn one_change(c: &mut Criterion) {
    for (kind, mut builder) in [
        ("one thread", tokio::runtime::Builder::new_current_thread()),
        ("two threads", tokio::runtime::Builder::new_multi_thread()),
    ] {
        let runtime = builder.worker_threads(2).build().unwrap();
        let mut group = c.benchmark_group(format!("one change, {kind}"));
        for watchers in [0, 1, 100, 10_000] {
            let mut audience = runtime.block_on(Audience::gather(watchers));
            let id = BenchmarkId::new("register, with watchers", watchers);
            group.bench_function(id, |b| {
                b.iter_custom(|n| total(&runtime, &mut audience, n).0)
            });
            if watchers > 0 {
                group.throughput(Throughput::Elements(watchers as u64));
                let id = BenchmarkId::new("heard by watchers", watchers);
                group.bench_function(id, |b| {
                    b.iter_custom(|n| total(&runtime, &mut audience, n).1)
                });
            }
        }
    }
}

/// `register` while nobody watches and as many tasks hear of something else after each call: what
/// is left of the difference to watchers is theirs, the rest that of caches filled anew.
fn beside_other_tasks(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("one change, alternative");
    for tasks in [100, 10_000] {
        let mut audience = runtime.block_on(Audience::gather(0));
        let (sender, _) = tokio::sync::broadcast::channel::<Arc<Service>>(16);
        for _ in 0..tasks {
            let mut receiver = sender.subscribe();
            let (left, all_heard) = (Arc::clone(&audience.left), Arc::clone(&audience.all_heard));
            runtime.spawn(async move {
                while receiver.recv().await.is_ok() {
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        all_heard.notify_one();
                    }
                }
            });
        }
        let mut changes = |n: u64| {
            let mut total = (Duration::ZERO, Duration::ZERO);
            for _ in 0..n {
                let (registered, _) = runtime.block_on(audience.change());
                audience.left.store(tasks, Ordering::Release);
                let news = Arc::new(Service::new("s", "v1.0.0"));
                let start = Instant::now();
                sender.send(news).unwrap();
                runtime.block_on(audience.all_heard.notified());
                total = (total.0 + registered, total.1 + start.elapsed());
            }
            total
        };
        let id = BenchmarkId::new("register, with tasks of others", tasks);
        group.bench_function(id, |b| b.iter_custom(|n| changes(n).0));
        group.throughput(Throughput::Elements(tasks as u64));
        let id = BenchmarkId::new("heard through a broadcast channel by", tasks);
        group.bench_function(id, |b| b.iter_custom(|n| changes(n).1));
    }
}

fn total(runtime: &Runtime, audience: &mut Audience, changes: u64) -> (Duration, Duration) {
    runtime.block_on(async {
        let mut total = (Duration::ZERO, Duration::ZERO);
        for _ in 0..changes {
            let (registered, heard) = audience.change().await;
            total = (total.0 + registered, total.1 + heard);
        }
        total
    })
}

criterion_group! {
    name = watch;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = one_change, beside_other_tasks
}
criterion_main!(watch);
