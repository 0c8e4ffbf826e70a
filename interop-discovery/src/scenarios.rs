//! What is done to a service while it is called.

mod changes;
mod freshness;
mod nodes;
mod registries;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, timeout};

use crate::stage::{Engine, Stage};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(240);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it shows, and the way to begin it.
type Scenario = (&'static str, fn(Stage) -> Running);

/// On any engine that works between processes.
const ON_BOTH: [Scenario; 6] = [
    ("of three nodes one is killed", |stage| {
        Box::pin(nodes::killed(stage))
    }),
    ("rolling restarts", |stage| Box::pin(nodes::rolling(stage))),
    ("a node's address changes", |stage| {
        Box::pin(changes::moved(stage))
    }),
    ("a service grows and shrinks", |stage| {
        Box::pin(changes::scaled(stage))
    }),
    ("a service moves to a new version", |stage| {
        Box::pin(changes::new_version(stage))
    }),
    (FRESHNESS, |stage| Box::pin(freshness::measured(stage))),
];

/// These depend on no engine, or on servers.
const ON_ETCD: [Scenario; 3] = [
    ("of three nodes one is ten times slower", |stage| {
        Box::pin(nodes::slow(stage))
    }),
    ("streams end in their own time", |stage| {
        Box::pin(changes::streams(stage))
    }),
    ("all servers are killed", |stage| {
        Box::pin(registries::killed(stage))
    }),
];

const ON_MEMORY: [Scenario; 1] = [(FRESHNESS, |stage| Box::pin(freshness::measured(stage)))];

const FRESHNESS: &str = "calls go by a change soon";

fn all() -> impl Iterator<Item = (Engine, Scenario)> {
    let on = |engine, scenarios: &'static [Scenario]| scenarios.iter().map(move |&it| (engine, it));
    on(Engine::Etcd, &ON_BOTH)
        .chain(on(Engine::Etcd, &ON_ETCD))
        .chain(on(Engine::Mdns, &ON_BOTH))
        .chain(on(Engine::Memory, &ON_MEMORY))
}

/// Runs those whose names contain one of `filters`, or all of them; says whether all passed.
pub(crate) async fn run(filters: &[&str], full: bool) -> bool {
    let (mut passed, mut failed) = (0, 0);
    for (engine, (name, scenario)) in all() {
        let name = format!("{engine}: {name}");
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        let began = Instant::now();
        // In a task of its own, so that a panic is the end of this scenario alone.
        let mut running =
            tokio::spawn(async move { scenario(Stage::new(engine, full).await).await });
        let outcome = timeout(LIMIT, &mut running).await;
        let took = began.elapsed().as_millis();
        if matches!(outcome, Ok(Ok(()))) {
            passed += 1;
            println!("ok      {name} ({took} ms)");
        } else {
            running.abort();
            failed += 1;
            println!("FAILED  {name} ({took} ms): {outcome:?}");
        }
    }
    if passed + failed == 0 {
        println!("no scenario is called {}", filters.join(" or "));
        return false;
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
}
