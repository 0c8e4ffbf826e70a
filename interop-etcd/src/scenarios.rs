//! What must work between processes.

use std::{fs, future::Future, pin::Pin, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use vine_etcd_harness::{Cluster, Mode, Proxy, proto::PutRequest};
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
        (
            "writes are back as soon as the cluster is, after its leader's death",
            || Box::pin(leader_dies()),
        ),
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
    if passed + failed == 0 {
        println!("no scenario is called {}", filters.join(" or "));
        return false;
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
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

/// When the cluster can be written to again, once its leader is dead, is its own affair; what counts
/// is how much later a handle has done so that was connected to some member, perhaps the dead one.
async fn leader_dies() {
    const MOST_ADDED: Duration = Duration::from_millis(250);
    const SETS: usize = 3;

    let mut cluster = Cluster::three().await;
    let registry = open(cluster.addrs());
    let mut last = Duration::MAX;
    // A busy machine may spoil a set.
    for set in 0..SETS {
        let mut added = Vec::new();
        for round in 0..5 {
            let node = Node::new(format!("n{set}.{round}"), "10.0.0.1:1");
            let service = Service::new(NAME, "v1").with_node(node);
            registry.register(service.clone()).await.unwrap();
            let again = service.with_metadata([("after", "the leader")]);
            let leader = cluster.leader().await;
            cluster.member_mut(leader).kill();
            let from = Instant::now();
            let (own, ours) = tokio::join!(
                async {
                    writable(&cluster).await;
                    from.elapsed()
                },
                async {
                    while registry.register(again.clone()).await.is_err() {}
                    from.elapsed()
                }
            );
            println!("        the cluster was back after {own:?}, writes after {ours:?}");
            added.push(ours.saturating_sub(own));
            cluster.restart().await;
        }
        last = median(&added);
        if last <= MOST_ADDED {
            break;
        }
    }
    println!("        {last:?} were added at the median");
    assert!(last <= MOST_ADDED, "{last:?}");
    registry.close().await.unwrap();
}

/// Waits until a bare put to one of the members that are left has been done. Each is asked anew all
/// the time, since what it passed on to the dead leader is lost.
async fn writable(cluster: &Cluster) {
    let mut puts = JoinSet::new();
    loop {
        let members = (0..cluster.size()).map(|index| cluster.member(index));
        for member in members.filter(|member| member.is_running()) {
            let client = member.client().clone();
            puts.spawn(async move {
                let request = PutRequest {
                    key: "/bare".into(),
                    ..PutRequest::default()
                };
                client.kv().put(request).await.is_ok()
            });
        }
        let next = Instant::now() + Duration::from_millis(50);
        while let Ok(Some(done)) = timeout_at(next, puts.join_next()).await {
            if done.unwrap() {
                return;
            }
        }
        sleep_until(next).await;
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
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
