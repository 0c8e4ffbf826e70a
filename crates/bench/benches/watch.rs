//! One change to many watchers: the time until the last of them has it, and what that costs
//! `register`.
//!
//! `register` is slowed by watchers as far as it takes longer **with** watchers of its service than
//! **beside** as many watchers of another registry, who hear of a change there after each call. Either
//! way as many tasks have just run and left the processor's caches to what is theirs; the
//! difference is what `register` itself does for watchers. It has to wake the task that hands the
//! change out; what waking a task costs by itself, in the same surroundings, is measured, too.
//!
//! What is given is the median of single calls: the machine may be busy otherwise.
//!
//! Each time on one thread, and on two with the caller in a task (it is a worker, and leaves the task
//! that it wakes to itself) and outside (where nothing can run before a parked thread is woken).

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
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};
use vine_bench::node;
use vine_registry::{MemoryRegistry, RegistryExt, Service};

/// How many changes there are in a burst.
const BURST: usize = 100;

/// Tasks that wait for something, and then are waited for.
#[derive(Clone, Default)]
struct Audience {
    /// Who has not heard of the last news yet.
    left: Arc<AtomicUsize>,
    all_heard: Arc<Notify>,
}

impl Audience {
    fn expect(&self, news: usize) {
        self.left.store(news, Ordering::Release);
    }

    fn hear(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_heard.notify_one();
        }
    }

    async fn heard(&self) {
        self.all_heard.notified().await;
    }
}

/// A registry with one service of one node, which is watched.
struct Watched {
    registry: MemoryRegistry,
    audience: Audience,
    watchers: usize,
    changes: usize,
}

impl Watched {
    async fn by(watchers: usize) -> Self {
        let watched = Self {
            registry: MemoryRegistry::new(),
            audience: Audience::default(),
            watchers,
            changes: 0,
        };
        for _ in 0..watchers {
            let mut watcher = watched.registry.watch_service("s").await.unwrap();
            let audience = watched.audience.clone();
            tokio::spawn(async move {
                while watcher.next_event().await.is_some() {
                    audience.hear();
                }
            });
        }
        watched
    }

    /// Another state of the node.
    fn state(&mut self) -> Arc<Service> {
        self.changes += 1;
        let node = node(0).with_metadata([("change", self.changes.to_string())]);
        Arc::new(Service::new("s", "v1.0.0").with_node(node))
    }

    /// Registers another state of the node; gives the time that took, and the time until all
    /// had heard of it.
    async fn change(&mut self) -> Times {
        let state = self.state();
        self.audience.expect(self.watchers);
        let start = Instant::now();
        self.registry.register(state).await.unwrap();
        let called = start.elapsed();
        if self.watchers > 0 {
            self.audience.heard().await;
        }
        Times {
            called,
            heard: start.elapsed(),
        }
    }

    /// Registers many states in a row; gives the time that took.
    async fn burst(&mut self) -> Duration {
        let states: Vec<_> = (0..BURST).map(|_| self.state()).collect();
        self.audience.expect(self.watchers * BURST);
        let start = Instant::now();
        for state in states {
            self.registry.register(state).await.unwrap();
        }
        let called = start.elapsed();
        if self.watchers > 0 {
            self.audience.heard().await;
        }
        called
    }
}

struct Times {
    called: Duration,
    heard: Duration,
}

/// What as many calls would take as there are, each as long as the median.
fn typical(mut calls: Vec<Duration>) -> Duration {
    calls.sort_unstable();
    calls[calls.len() / 2].mul_f64(calls.len() as f64)
}

/// What is measured among watchers.
enum Subject {
    /// `register` of what they watch.
    Watched,
    /// `register` in another registry, which nobody watches.
    Beside(Watched),
    /// Waking a task that has nothing to do with any registry.
    Wake(Arc<Notify>, Audience),
}

impl Subject {
    async fn beside() -> Self {
        Self::Beside(Watched::by(0).await)
    }

    fn wake() -> Self {
        let (signal, audience) = (Arc::<Notify>::default(), Audience::default());
        let (waited, woken) = (Arc::clone(&signal), audience.clone());
        tokio::spawn(async move {
            loop {
                waited.notified().await;
                woken.hear();
            }
        });
        Self::Wake(signal, audience)
    }

    async fn measure(&mut self, among: &mut Watched) -> Times {
        match self {
            Self::Watched => among.change().await,
            Self::Beside(other) => {
                let times = other.change().await;
                among.change().await;
                times
            }
            Self::Wake(signal, woken) => {
                woken.expect(1);
                let start = Instant::now();
                signal.notify_one();
                let called = start.elapsed();
                woken.heard().await;
                let heard = start.elapsed();
                among.change().await;
                Times { called, heard }
            }
        }
    }
}

/// Where the calls are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    OneThread,
    Worker,
    Outside,
}

impl Caller {
    const ALL: [(Self, &str); 3] = [
        (Self::OneThread, "one thread"),
        (Self::Worker, "two threads, from a task"),
        (Self::Outside, "two threads, from outside"),
    ];

    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::OneThread => Builder::new_current_thread(),
            Self::Worker | Self::Outside => Builder::new_multi_thread(),
        };
        builder.worker_threads(2).build().unwrap()
    }

    /// Runs it where the calls are to be made.
    fn run<T: Send + 'static>(
        self,
        runtime: &Runtime,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self {
            Self::Worker => runtime.block_on(runtime.spawn(task)).unwrap(),
            Self::OneThread | Self::Outside => runtime.block_on(task),
        }
    }
}

/// A watched registry and a subject, between two measurements.
type Scene = (Watched, Subject);

fn measure(
    caller: Caller,
    runtime: &Runtime,
    scene: &mut Option<Scene>,
    changes: u64,
    what: fn(Times) -> Duration,
) -> Duration {
    let (mut watched, mut subject) = scene.take().unwrap();
    let (times, kept) = caller.run(runtime, async move {
        let mut times = Vec::new();
        for _ in 0..changes {
            times.push(what(subject.measure(&mut watched).await));
        }
        (times, (watched, subject))
    });
    *scene = Some(kept);
    typical(times)
}

fn one_change(c: &mut Criterion) {
    for (caller, name) in Caller::ALL {
        let runtime = caller.runtime();
        let mut group = c.benchmark_group(format!("one change, {name}"));
        for watchers in [0, 1, 100, 10_000] {
            let watched = runtime.block_on(Watched::by(watchers));
            let mut scene = Some((watched, Subject::Watched));
            let id = BenchmarkId::new("register, with watchers", watchers);
            group.bench_function(id, |b| {
                b.iter_custom(|n| measure(caller, &runtime, &mut scene, n, |times| times.called))
            });
            if watchers > 0 {
                let id = BenchmarkId::new("heard by watchers", watchers);
                group.bench_function(id, |b| {
                    b.iter_custom(|n| measure(caller, &runtime, &mut scene, n, |times| times.heard))
                });
                let mut others = vec![("waking a task, beside watchers", {
                    let _runtime = runtime.enter();
                    Subject::wake()
                })];
                let beside = runtime.block_on(Subject::beside());
                others.push(("register, beside watchers", beside));
                for (what, subject) in others {
                    let (watched, _) = scene.take().unwrap();
                    scene = Some((watched, subject));
                    group.bench_function(BenchmarkId::new(what, watchers), |b| {
                        b.iter_custom(|n| {
                            measure(caller, &runtime, &mut scene, n, |times| times.called)
                        })
                    });
                }
            }
        }
    }
}

/// Many changes in a row, as when a process registers all it has.
fn bursts(c: &mut Criterion) {
    for (caller, name) in Caller::ALL {
        let runtime = caller.runtime();
        let mut group = c.benchmark_group(format!("{BURST} changes, {name}"));
        group.throughput(Throughput::Elements(BURST as u64));
        for watchers in [0, 1] {
            let mut watched = Some(runtime.block_on(Watched::by(watchers)));
            let id = BenchmarkId::new("register, with watchers", watchers);
            group.bench_function(id, |b| {
                b.iter_custom(|n| {
                    let mut now = watched.take().unwrap();
                    let (bursts, kept) = caller.run(&runtime, async move {
                        let mut bursts = Vec::new();
                        for _ in 0..n {
                            bursts.push(now.burst().await);
                        }
                        (bursts, now)
                    });
                    watched = Some(kept);
                    typical(bursts)
                })
            });
        }
    }
}

/// The alternative for handing out: each watcher reads from one broadcast channel.
fn broadcast(c: &mut Criterion) {
    let runtime = Caller::OneThread.runtime();
    let mut group = c.benchmark_group("one change, alternative");
    for tasks in [100, 10_000] {
        let audience = Audience::default();
        let (sender, _) = tokio::sync::broadcast::channel::<Arc<Service>>(16);
        for _ in 0..tasks {
            let (mut receiver, audience) = (sender.subscribe(), audience.clone());
            runtime.spawn(async move {
                while receiver.recv().await.is_ok() {
                    audience.hear();
                }
            });
        }
        let id = BenchmarkId::new("heard through a broadcast channel by", tasks);
        group.throughput(Throughput::Elements(tasks as u64));
        group.bench_function(id, |b| {
            b.iter_custom(|n| {
                runtime.block_on(async {
                    let mut times = Vec::new();
                    for _ in 0..n {
                        audience.expect(tasks);
                        let news = Arc::new(Service::new("s", "v1.0.0"));
                        let start = Instant::now();
                        sender.send(news).unwrap();
                        audience.heard().await;
                        times.push(start.elapsed());
                    }
                    typical(times)
                })
            })
        });
    }
}

criterion_group! {
    name = watch;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = one_change, bursts, broadcast
}
criterion_main!(watch);
