//! The cache over real etcd servers that fail.

#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod world;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use vine_discovery::{Cache, Fallback, Selector, Subscription, Verdict};
use vine_etcd_harness::Cluster;
use vine_registry::{Node, Options, RegisterOptions, Registry, RegistryExt, Service, Services};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAME: &str = "go.vine.test";

/// Longer than anything takes that goes well, on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(120);

fn registry(cluster: &Cluster) -> EtcdRegistry {
    let options = Options::new().with_addrs(cluster.addrs());
    EtcdRegistry::new(options, EtcdOptions::new()).unwrap()
}

fn service(ids: &[&str]) -> Service {
    let node = |id: &&str| Node::new(*id, format!("{id}.example:80"));
    Service::new(NAME, "v1").with_nodes(ids.iter().map(node))
}

async fn until(
    subscription: &mut Subscription,
    what: &str,
    is: impl Fn(&Subscription) -> bool + Send + Sync,
) {
    let wait = async {
        while !is(subscription) {
            subscription.changed().await.unwrap();
        }
    };
    let done = timeout(PATIENCE, wait).await;
    assert!(done.is_ok(), "not {what}: {:?}", subscription.known());
}

fn suspected(selector: &Selector) -> usize {
    let suspect = Verdict::Fallback(Fallback::Suspect);
    let considered = selector.explain();
    considered.iter().filter(|it| it.verdict == suspect).count()
}

/// Looks up again and again, and never in vain, as long as somebody counts.
async fn look_up(cache: Cache, selector: Selector, count: watch::Sender<usize>) {
    while !count.is_closed() {
        let services: Services = cache.get_service(NAME).await.unwrap();
        assert_eq!(services.node_count(), 3);
        assert_eq!(cache.peek(NAME).unwrap().node_count(), 3);
        selector.with_pick(|_| ()).unwrap();
        count.send_modify(|count| *count += 1);
        sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until it was looked up some times more.
async fn looked_up(count: &mut watch::Receiver<usize>) {
    let wanted = *count.borrow() + 25;
    let wait = timeout(PATIENCE, count.wait_for(|count| *count >= wanted));
    wait.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_look_up_fails_while_members_fail() {
    let mut cluster = Cluster::three().await;
    let owner = registry(&cluster);
    // Held through what is done here.
    let ttl = RegisterOptions::new().with_ttl(Duration::from_secs(600));
    let all = Arc::new(service(&["a", "b", "c"]));
    owner.register_with(all, &ttl).await.unwrap();

    let cache = Cache::new(registry(&cluster));
    let mut subscription = cache.subscribe(NAME);
    let selector = Selector::builder(subscription.clone()).build();
    selector.ready().await.unwrap();
    let (counts, mut count) = watch::channel(0);
    let looking = tokio::spawn(look_up(cache.clone(), selector, counts));

    let leader = cluster.leader().await;
    cluster.member_mut(leader).kill();
    looked_up(&mut count).await;
    cluster.restart().await;

    cluster.kill();
    until(&mut subscription, "stale", |it| it.known().is_stale()).await;
    let before = subscription.known().age().unwrap();
    sleep(Duration::from_secs(1)).await;
    let after = subscription.known().age().unwrap();
    assert!(
        after >= before + Duration::from_secs(1),
        "its age grows: {before:?}, {after:?}"
    );
    looked_up(&mut count).await;
    cluster.restart().await;
    until(&mut subscription, "live", |it| !it.known().is_stale()).await;

    let paused = cluster.leader().await;
    cluster.member(paused).pause();
    sleep(Duration::from_secs(1)).await;
    looked_up(&mut count).await;
    cluster.member(paused).resume();

    drop(count);
    looking.await.unwrap();
    cache.close().await.unwrap();
    owner.close().await.unwrap();
}

/// By another process, which says that it does so on purpose: one by one, and with its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deregistered_in_bulk_makes_no_suspects() {
    let cluster = Cluster::single().await;
    let (staying, leaving, ending) = (registry(&cluster), registry(&cluster), registry(&cluster));
    staying.register(service(&["a"])).await.unwrap();
    leaving.register(service(&["b", "c", "d"])).await.unwrap();
    let cache = Cache::new(registry(&cluster));
    let mut subscription = cache.subscribe(NAME);
    until(&mut subscription, "four there", |it| {
        it.services().node_count() == 4
    })
    .await;
    leaving
        .deregister(&service(&["b", "c", "d"]))
        .await
        .unwrap();
    until(&mut subscription, "one left", |it| {
        it.services().node_count() == 1
    })
    .await;
    assert_eq!(subscription.known().suspects.node_count(), 0);
    ending.register(service(&["e", "f", "g"])).await.unwrap();
    until(&mut subscription, "four again", |it| {
        it.services().node_count() == 4
    })
    .await;
    ending.close().await.unwrap();
    until(&mut subscription, "one left again", |it| {
        it.services().node_count() == 1
    })
    .await;
    assert_eq!(subscription.known().suspects.node_count(), 0);
    for registry in [staying, leaving] {
        registry.close().await.unwrap();
    }
    cache.close().await.unwrap();
}

#[test]
fn leases_that_expire_in_bulk_make_suspects() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let ours = runtime();
    let cluster = ours.block_on(Cluster::single());
    // A process that is killed: what it has registered is renewed no more.
    let theirs = runtime();
    let dying = registry(&cluster);
    let again = dying.clone();
    let register = async move {
        let ttl = RegisterOptions::new().with_ttl(Duration::from_secs(5));
        let lost = service(&["a", "b", "c"]);
        again.register_with(lost.into(), &ttl).await
    };

    ours.block_on(async {
        let owner = registry(&cluster);
        owner.register(service(&["d"])).await.unwrap();
        let cache = Cache::new(registry(&cluster));
        let mut subscription = cache.subscribe(NAME);
        let selector = Selector::builder(subscription.clone()).build();
        until(&mut subscription, "one there", |it| {
            it.services().node_count() == 1
        })
        .await;
        // Only now: they have to be seen within their ttl.
        theirs.spawn(register).await.unwrap().unwrap();
        until(&mut subscription, "all there", |it| {
            it.services().node_count() == 4
        })
        .await;

        theirs.shutdown_background();
        let is_lost = |it: &Subscription| it.known().suspects.node_count() == 3;
        until(&mut subscription, "three suspects", is_lost).await;
        // The truth stays visible, and suspects are not preferred.
        assert_eq!(cache.get_service(NAME).await.unwrap().node_count(), 1);
        // The selector follows the subscription: until it does, it may pick any of the four.
        let mut updates = selector.updates();
        while suspected(&selector) != 3 {
            updates.next().await;
        }
        for _ in 0..100 {
            assert_eq!(selector.with_pick(|node| node.id.to_string()).unwrap(), "d");
        }
        owner.close().await.unwrap();
        cache.close().await.unwrap();
    });
    drop(dying);
}
