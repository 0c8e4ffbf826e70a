//! Nodes that vanish with many others are suspects, not dead.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use vine_discovery::{Cache, CacheOptions, LossGuard, Pick, Selector, Subscription, Verdict};
use vine_registry::{MemoryRegistry, Node, RegisterOptions, Registry, RegistryExt, Service};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

fn node(id: &str) -> Node {
    Node::new(id, format!("{id}.example:80"))
}

fn service(ids: &str) -> Service {
    Service::new(NAME, "v1").with_nodes(ids.split_whitespace().map(node))
}

fn ids<'a>(services: impl IntoIterator<Item = &'a Arc<Service>>) -> String {
    let services = services.into_iter();
    let mut ids: Vec<_> = services
        .flat_map(|service| &service.nodes)
        .map(|node| node.id.to_string())
        .collect();
    ids.sort_unstable();
    ids.join(" ")
}

/// The live nodes and the suspects.
fn seen(subscription: &Subscription) -> (String, String) {
    let known = subscription.known();
    (ids(&known.services), ids(&known.suspects))
}

async fn until(subscription: &mut Subscription, live: &str, suspects: &str) {
    let wait = async {
        while seen(subscription) != (live.to_owned(), suspects.to_owned()) {
            subscription.changed().await.unwrap();
        }
    };
    let done = timeout(Duration::from_secs(300), wait).await;
    assert!(
        done.is_ok(),
        "{:?} instead of {live:?}, {suspects:?}",
        seen(subscription)
    );
}

async fn follow(registry: impl Registry) -> (Cache, Subscription) {
    let cache = Cache::new(registry);
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    (cache, subscription)
}

#[tokio::test(start_paused = true)]
async fn leases_that_run_out_in_bulk_make_suspects() {
    let registry = MemoryRegistry::new();
    let crashing = registry.handle();
    let ttl = RegisterOptions::new().with_ttl(Duration::from_secs(5));
    crashing
        .register_with(service("a b c").into(), &ttl)
        .await
        .unwrap();
    registry.register(service("d e")).await.unwrap();
    let (_, mut subscription) = follow(registry.clone()).await;
    let selector = Selector::builder(subscription.clone()).build();
    selector.ready().await.unwrap();
    until(&mut subscription, "d e", "a b c").await;
    for _ in 0..100 {
        let id = selector.with_pick(|node| node.id.to_string()).unwrap();
        assert!("d e".contains(&id), "a suspect is not preferred");
    }
    // The truth stays visible.
    assert_eq!(ids(&registry.get_service(NAME).await.unwrap()), "d e");
}

#[tokio::test(start_paused = true)]
async fn suspects_are_the_last_resort() {
    let faulty = Faulty::with([service("a b c d")]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    let selector = Selector::builder(subscription.clone()).build();
    let mut updates = selector.updates();
    faulty.set([service("d")]);
    until(&mut subscription, "d", "a b c").await;
    while selector.peers().len() != 4 || selector.explain()[0].verdict != Verdict::In {
        updates.next().await;
    }
    for _ in 0..100 {
        assert_eq!(selector.with_pick(|node| node.id.to_string()).unwrap(), "d");
    }
    let tried = ["d".into()];
    let last = selector.pick_by(&Pick::new().avoiding(&tried)).unwrap();
    assert_ne!(&*last.node().id, "d", "nothing else is left");

    // One that refuses is out at once, and does not come back.
    let id = last.node().id.to_string();
    last.refuse();
    let others = "a b c"
        .replace(&id, "")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    until(&mut subscription, "d", &others).await;
    faulty.set([]);
    let more = format!("{others} d")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    until(&mut subscription, "", &more).await;
    updates.next().await;
    assert!(selector.pick().is_ok(), "only suspects are left");
}

#[tokio::test(start_paused = true)]
async fn suspects_are_let_go_after_a_minute() {
    let faulty = Faulty::with([service("a b c d")]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    let start = Instant::now();
    faulty.set([service("d")]);
    until(&mut subscription, "d", "a b c").await;
    until(&mut subscription, "d", "").await;
    let kept = start.elapsed().as_secs();
    assert_eq!(kept, 60);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_comes_back_is_none() {
    let faulty = Faulty::with([service("a b c d")]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    faulty.set([]);
    until(&mut subscription, "", "a b c d").await;
    faulty.set([service("b")]);
    until(&mut subscription, "b", "a c d").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deregistered_acts_at_once() {
    let registry = MemoryRegistry::new();
    registry.register(service("a b c d")).await.unwrap();
    let (_, mut subscription) = follow(registry.clone()).await;
    registry.deregister(&service("a b c")).await.unwrap();
    until(&mut subscription, "d", "").await;
    let later = timeout(Duration::from_secs(100), subscription.changed()).await;
    assert!(later.is_err(), "no suspects later on");
}

#[tokio::test(start_paused = true)]
async fn what_was_draining_acts_at_once() {
    let draining = |id: &str| node(id).with_metadata([(Node::STATE, "draining")]);
    let all = Service::new(NAME, "v1").with_nodes(["a", "b", "c"].map(draining));
    let faulty = Faulty::with([all.with_node(node("d"))]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    faulty.set([service("d")]);
    until(&mut subscription, "d", "").await;
    assert!(
        timeout(Duration::from_secs(100), subscription.changed())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_few_or_a_small_part_make_no_suspects() {
    for (before, after) in [("a b", ""), ("a b c d e f g", "a b c d"), ("a", "")] {
        let faulty = Faulty::with([service(before)]);
        let (_, mut subscription) = follow(faulty.clone()).await;
        faulty.set(
            [service(after)]
                .into_iter()
                .filter(|service| !service.nodes.is_empty()),
        );
        until(&mut subscription, after, "").await;
        assert!(
            timeout(Duration::from_secs(100), subscription.changed())
                .await
                .is_err()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_vanishes_within_ten_seconds_counts() {
    for (pause, suspects) in [(4, "a b c"), (6, "")] {
        let faulty = Faulty::with([service("a b c d")]);
        let (_, mut subscription) = follow(faulty.clone()).await;
        for left in ["b c d", "c d", "d"] {
            faulty.set([service(left)]);
            until(
                &mut subscription,
                left,
                if left == "d" { suspects } else { "" },
            )
            .await;
            sleep(Duration::from_secs(pause)).await;
        }
        assert_eq!(seen(&subscription).1, suspects);
    }
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_in_an_outage_counts_as_one_moment() {
    for (after, suspects) in [(8, "a b c"), (12, "")] {
        let faulty = Faulty::with([service("a b c d")]);
        let (_, mut subscription) = follow(faulty.clone()).await;
        faulty.cut();
        // What is on the same host may be heard of in an outage, too.
        for left in ["b c d", "c d"] {
            sleep(Duration::from_secs(20)).await;
            faulty.set([service(left)]);
            until(&mut subscription, left, "").await;
        }
        faulty.mend();
        sleep(Duration::from_secs(after)).await;
        faulty.set([service("d")]);
        until(&mut subscription, "d", suspects).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_after_an_outage_counts_with_what_goes_then() {
    let faulty = Faulty::with([service("a b c d")]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    faulty.crash();
    sleep(Duration::from_secs(300)).await;
    faulty.mend();
    faulty.set([service("c d")]);
    until(&mut subscription, "c d", "").await;
    sleep(Duration::from_secs(8)).await;
    faulty.set([service("d")]);
    until(&mut subscription, "d", "a b c").await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_and_goes_makes_no_suspects_of_the_long_dead() {
    let ids = |from: usize| {
        (from..from + 10)
            .map(|n| format!("n{n}"))
            .collect::<Vec<_>>()
    };
    let faulty = Faulty::with([service(&ids(0).join(" "))]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    for round in 1..30 {
        for _ in 0..5 {
            faulty.cut();
            sleep(Duration::from_secs(5)).await;
            faulty.mend();
            sleep(Duration::from_secs(5)).await;
        }
        // One dies and another one takes its place.
        let mut now = ids(round);
        faulty.set([service(&now.join(" "))]);
        now.sort_unstable();
        until(&mut subscription, &now.join(" "), "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn suspects_are_let_go_while_the_registry_does_not_answer() {
    let faulty = Faulty::with([service("a b c d")]);
    let (_, mut subscription) = follow(faulty.clone()).await;
    let start = Instant::now();
    faulty.set([service("d")]);
    until(&mut subscription, "d", "a b c").await;
    faulty.state().hangs = true;
    faulty.crash();
    subscription.report_unreachable("b").await.unwrap();
    until(&mut subscription, "d", "a c").await;
    until(&mut subscription, "d", "").await;
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn suspects_may_be_kept_for_ever() {
    let faulty = Faulty::with([service("a b c d")]);
    let guard = LossGuard::new()
        .with_keep(Duration::MAX)
        .with_window(Duration::MAX);
    let options = CacheOptions::new()
        .with_loss_guard(guard)
        .with_idle(Duration::MAX);
    let mut subscription = Cache::with_options(faulty.clone(), options).subscribe(NAME);
    subscription.ready().await.unwrap();
    faulty.cut();
    faulty.mend();
    faulty.set([service("d")]);
    until(&mut subscription, "d", "a b c").await;
    sleep(Duration::from_secs(86_400)).await;
    assert_eq!(seen(&subscription).1, "a b c");
}

#[tokio::test(start_paused = true)]
async fn the_guard_can_be_turned_off() {
    let faulty = Faulty::with([service("a b c d")]);
    let options = CacheOptions::new().with_loss_guard(LossGuard::new().with_share(2.0, 1));
    let mut subscription = Cache::with_options(faulty.clone(), options).subscribe(NAME);
    subscription.ready().await.unwrap();
    faulty.set([]);
    until(&mut subscription, "", "").await;
}
