//! What must work between processes.

use std::{fs, future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use vine_etcd_harness::{Cluster, Mode, Proxy};
use vine_registry::{
    Fold, Namespaces, Node, Options, Registration, RegistrationOptions, Registry, RegistryExt,
    Service, Update, WatchOptions, Watcher,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

use crate::{process::Peer, restoring};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(180);

const NAME: &str = "go.vine.held";
const HELD: usize = 20;
const TTL: Duration = Duration::from_secs(5);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it shows, and the way to begin it.
type Scenario = (&'static str, fn() -> Running);

fn all() -> Vec<Scenario> {
    vec![
        (
            "what a killed process held is gone within ttl + 2 s",
            || Box::pin(killed()),
        ),
        ("across an election, within twice that", || {
            Box::pin(killed_with_the_leader())
        }),
        ("what a stopped process held is gone at once", || {
            Box::pin(stopped())
        }),
        (
            "of two processes with the same id the later one wins",
            || Box::pin(same_id()),
        ),
        ("writes are back soon after the leader's death", || {
            Box::pin(leader_dies())
        }),
        (
            "outages leave no file handle behind",
            || Box::pin(handles()),
        ),
        ("ten thousand keys are restored", || {
            Box::pin(restoring::ten_thousand())
        }),
        ("twenty processes restore what they held", || {
            Box::pin(restoring::twenty_processes())
        }),
    ]
}

/// Runs those whose names contain one of `filters`, or all of them; says whether all passed.
pub(crate) async fn run(filters: &[&str]) -> bool {
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in all() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        let began = Instant::now();
        // In a task of its own, so that a panic is the end of this scenario alone.
        let mut running = tokio::spawn(scenario());
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
    println!("{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}

/// A handle of this process.
pub(crate) fn open(addrs: Vec<String>) -> EtcdRegistry {
    let options = Options::new().with_addrs(addrs);
    EtcdRegistry::new(options, EtcdOptions::new()).unwrap()
}

async fn watch(registry: &EtcdRegistry) -> (Watcher, Fold) {
    let options = WatchOptions::new().with_namespace(Namespaces::All);
    let mut watcher = registry.watch(options).await.unwrap();
    let fold = Fold::new(&watcher.take_snapshot());
    (watcher, fold)
}

/// Waits until a watcher has heard that nothing is left, and says how long that took.
async fn gone(watcher: &mut Watcher, fold: &mut Fold) -> Duration {
    let from = Instant::now();
    while fold.services().node_count() > 0 {
        if let Update::Event(event) = watcher.next().await.unwrap() {
            fold.apply(&event);
        }
    }
    from.elapsed()
}

async fn killed() {
    let cluster = Cluster::three().await;
    let peer = Peer::holding(&cluster.addrs(), NAME, "n", HELD, TTL.as_secs()).await;
    let registry = open(cluster.addrs());
    let (mut watcher, mut fold) = watch(&registry).await;
    assert_eq!(fold.services().node_count(), HELD);
    peer.kill().await;
    let took = gone(&mut watcher, &mut fold).await;
    println!("        gone after {took:?}, the ttl is {TTL:?}");
    assert!(took <= TTL + Duration::from_secs(2), "{took:?}");
    assert!(cluster.client().leases().await.is_empty());
}

async fn killed_with_the_leader() {
    let mut cluster = Cluster::three().await;
    let peer = Peer::holding(&cluster.addrs(), NAME, "n", HELD, TTL.as_secs()).await;
    let registry = open(cluster.addrs());
    let (mut watcher, mut fold) = watch(&registry).await;
    let leader = cluster.leader().await;
    cluster.member_mut(leader).kill();
    peer.kill().await;
    let took = gone(&mut watcher, &mut fold).await;
    println!("        gone after {took:?}, the ttl is {TTL:?}");
    assert!(took <= 2 * (TTL + Duration::from_secs(2)), "{took:?}");
}

async fn stopped() {
    let cluster = Cluster::three().await;
    let peer = Peer::holding(&cluster.addrs(), NAME, "n", HELD, TTL.as_secs()).await;
    let registry = open(cluster.addrs());
    let (mut watcher, mut fold) = watch(&registry).await;
    peer.terminate().await;
    // It had deregistered before it ended: what is left is the way of the news.
    let took = gone(&mut watcher, &mut fold).await;
    println!("        gone {took:?} after its end");
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert!(cluster.client().leases().await.is_empty());
}

async fn same_id() {
    let cluster = Cluster::three().await;
    let mut first = Peer::holding(&cluster.addrs(), NAME, "n", 1, TTL.as_secs()).await;
    let mut second = Peer::holding(&cluster.addrs(), NAME, "n", 1, TTL.as_secs()).await;
    let deadline = Instant::now() + TTL;
    while !first.tell("state").await.contains("replaced") {
        assert!(Instant::now() < deadline, "the first one was never told");
        sleep(Duration::from_millis(50)).await;
    }
    // The loser's end must not touch what the winner holds.
    first.terminate().await;
    assert_eq!(second.tell("state").await, "state registered");
    let registry = open(cluster.addrs());
    let found = registry.get_service(&format!("{NAME}.0")).await.unwrap();
    assert_eq!(found.node_count(), 1);
}

/// Each time, by a handle that was connected to some member, perhaps the one that died.
async fn leader_dies() {
    let mut cluster = Cluster::three().await;
    let registry = open(cluster.addrs());
    registry.init().await.unwrap();
    let mut times = Vec::new();
    for round in 0..5 {
        let node = Node::new(format!("n{round}"), "10.0.0.1:1");
        let service = Service::new(NAME, "v1").with_node(node);
        let leader = cluster.leader().await;
        cluster.member_mut(leader).kill();
        let from = Instant::now();
        while registry.register(service.clone()).await.is_err() {}
        times.push(from.elapsed());
        cluster.restart().await;
    }
    times.sort();
    println!("        writes were back after {times:?}");
    let median = times[times.len() / 2];
    assert!(median <= Duration::from_millis(2500), "{median:?}");
    registry.close().await.unwrap();
}

/// The whole process has as many file handles after many outages as before.
async fn handles() {
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let cluster = Cluster::single().await;
    let proxy = Proxy::to(cluster.member(0).addr()).await;
    let registry = open(vec![proxy.addr()]);
    let options = RegistrationOptions::new().with_ttl(TTL);
    let service = Service::new(NAME, "v1").with_node(Node::new("n", "10.0.0.1:1"));
    let registration = Registration::start(registry.clone(), service, options);
    registration.registered().await.unwrap();
    let (mut watcher, _) = watch(&registry).await;
    let before = count();
    for mode in [Mode::Reset, Mode::Refuse, Mode::Hang].repeat(5) {
        proxy.set(mode).await;
        while !matches!(watcher.next().await.unwrap(), Update::Stale(_)) {}
        proxy.set(Mode::Pass).await;
        while !matches!(watcher.next().await.unwrap(), Update::Live) {}
        registration.registered().await.unwrap();
    }
    let deadline = Instant::now() + TTL;
    while count() > before {
        assert!(
            Instant::now() < deadline,
            "{} handles, {before} before",
            count()
        );
        sleep(Duration::from_millis(50)).await;
    }
    println!("        {before} file handles before, {} after", count());
    registration.close().await.unwrap();
    registry.close().await.unwrap();
}
