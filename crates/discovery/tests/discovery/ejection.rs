//! Nodes that fail get no calls for a while.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vine_discovery::{Cache, Ejection, Fallback, Guard, Outcome, Pick, Selector, Updates, Verdict};
use vine_registry::{Node, Service};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

fn service(ids: &str) -> Service {
    let node = |id: &str| Node::new(id, format!("{id}.example:80"));
    Service::new(NAME, "v1").with_nodes(ids.split_whitespace().map(node))
}

/// A selector over some nodes, and its updates but for the first.
async fn selector(ids: &str, ejection: Ejection) -> (Faulty, Selector, Updates) {
    let faulty = Faulty::with([service(ids)]);
    let subscription = Cache::new(faulty.clone()).subscribe(NAME);
    let selector = Selector::builder(subscription).ejection(ejection).build();
    selector.ready().await.unwrap();
    let mut updates = selector.updates();
    updates.next().await;
    (faulty, selector, updates)
}

/// Picks this node and no other.
fn pick(selector: &Selector, id: &str) -> Guard {
    let ids = selector.peers();
    let others: Vec<Arc<str>> = ids
        .iter()
        .map(|peer| Arc::clone(&peer.node().id))
        .filter(|other| **other != *id)
        .collect();
    selector.pick_by(&Pick::new().avoiding(&others)).unwrap()
}

fn ejected(selector: &Selector) -> Vec<String> {
    let all = selector.explain().into_iter();
    let ejected = all.filter(|node| node.verdict == Verdict::Fallback(Fallback::Ejected));
    ejected.map(|node| node.node.id.to_string()).collect()
}

fn report(selector: &Selector, id: &str, outcome: Outcome) {
    pick(selector, id).report(outcome);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_ejected_for_growing_times() {
    let (_, selector, mut updates) = selector("a b c", Ejection::new()).await;
    for _ in 0..5 {
        report(&selector, "a", Outcome::Failure);
    }
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let start = Instant::now();
        updates.next().await;
        assert_eq!(ejected(&selector), ["a"]);
        for _ in 0..100 {
            assert_ne!(&*selector.with_pick(|node| node.id.clone()).unwrap(), "a");
        }
        updates.next().await;
        assert_eq!(ejected(&selector), [""; 0], "it is tried again");
        let out = start.elapsed();
        let expected = Duration::from_secs(seconds);
        let tick = Duration::from_millis(2);
        assert!(
            (expected..expected + tick).contains(&out),
            "{out:?} instead of {expected:?}"
        );
        // One failure is enough now.
        report(&selector, "a", Outcome::Failure);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_did_well_starts_anew() {
    let (_, selector, mut updates) = selector("a b c", Ejection::new()).await;
    for _ in 0..2 {
        report(&selector, "a", Outcome::Refused);
        updates.next().await;
        updates.next().await;
    }
    // It was out for two seconds, and does well for as long.
    report(&selector, "a", Outcome::Success);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let start = Instant::now();
    report(&selector, "a", Outcome::Refused);
    updates.next().await;
    updates.next().await;
    assert!(start.elapsed() < Duration::from_millis(1_010));
}

#[tokio::test(start_paused = true)]
async fn cancelled_is_neither_success_nor_failure() {
    let (_, selector, mut updates) = selector("a b", Ejection::new()).await;
    for round in 0..2 {
        for _ in 0..4 {
            report(&selector, "a", Outcome::Failure);
        }
        if round == 0 {
            report(&selector, "a", Outcome::Success);
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ejected(&selector), [""; 0], "four in a row are not five");
    drop(pick(&selector, "a"));
    report(&selector, "a", Outcome::Failure);
    updates.next().await;
    assert_eq!(
        ejected(&selector),
        ["a"],
        "a cancelled call between does not count"
    );
}

#[tokio::test(start_paused = true)]
async fn never_more_than_a_share_is_ejected() {
    for (ids, share, most) in [
        ("a b c", 0.5, 1),
        ("a", 0.5, 0),
        ("a b c d", 0.5, 2),
        ("a b", 1.0, 2),
    ] {
        let (_, selector, _) = selector(ids, Ejection::new().with_max_share(share)).await;
        for _ in 0..3 {
            for id in ids.split_whitespace() {
                report(&selector, id, Outcome::Refused);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(ejected(&selector).len(), most, "of {ids} by {share}");
        selector.pick().expect("calls go on").succeed();
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_go_leave_room_for_none() {
    let (faulty, selector, mut updates) = selector("a b c d", Ejection::new()).await;
    for id in ["a", "b"] {
        report(&selector, id, Outcome::Refused);
        updates.next().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ejected(&selector).len(), 2);
    faulty.set([service("a b")]);
    updates.next().await;
    assert_eq!(
        ejected(&selector),
        ["b"],
        "of two, one; a would have come back first"
    );
    let moved = Node::new("b", "elsewhere.example:80");
    faulty.set([service("a").with_node(moved)]);
    updates.next().await;
    assert_eq!(
        ejected(&selector),
        [""; 0],
        "another process has done nothing yet"
    );
}

/// A selector over six nodes, three of which refused, were ejected and then vanished.
async fn with_ejected_suspects() -> (Faulty, Selector, Updates) {
    let (faulty, selector, mut updates) = selector("a b c d e f", Ejection::new()).await;
    for id in ["a", "b", "c"] {
        report(&selector, id, Outcome::Refused);
        updates.next().await;
    }
    assert_eq!(ejected(&selector).len(), 3);
    faulty.set([service("d e f")]);
    while suspects(&selector).is_empty() {
        updates.next().await;
    }
    (faulty, selector, updates)
}

fn suspects(selector: &Selector) -> String {
    let known = selector.subscription().known();
    let nodes = known.suspects.iter().flat_map(|service| &service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id.to_string()).collect();
    ids.sort_unstable();
    ids.join(" ")
}

#[tokio::test(start_paused = true)]
async fn who_was_ejected_and_vanished_is_dropped_when_he_refuses() {
    let (_, selector, mut updates) = with_ejected_suspects().await;
    assert_eq!(suspects(&selector), "a b c");
    tokio::time::sleep(Duration::from_secs(2)).await;
    report(&selector, "b", Outcome::Refused);
    while suspects(&selector) != "a c" {
        updates.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_ejected_and_vanished_may_be_ejected_again() {
    let (faulty, selector, mut updates) = with_ejected_suspects().await;
    faulty.set([service("a b c d e f")]);
    while !suspects(&selector).is_empty() {
        updates.next().await;
    }
    assert_eq!(ejected(&selector), [""; 0]);
    for _ in 0..5 {
        report(&selector, "a", Outcome::Failure);
    }
    updates.next().await;
    assert_eq!(ejected(&selector), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn refusals_reach_the_registry_once_a_second_though_the_node_is_ejected() {
    let (faulty, selector, _) = selector("a b", Ejection::new()).await;
    for _ in 0..30 {
        report(&selector, "a", Outcome::Refused);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(faulty.state().unreachable.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_node_may_be_ejected_for_ever() {
    let for_ever = Ejection::new().with_times(Duration::MAX, Duration::MAX);
    let (faulty, selector, mut updates) = selector("a b", for_ever).await;
    report(&selector, "a", Outcome::Refused);
    updates.next().await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(ejected(&selector), ["a"]);
    faulty.set([service("a b c")]);
    updates.next().await;
    assert_eq!(selector.peers().len(), 3, "its task goes on");
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_reaches_the_registry() {
    let (faulty, selector, mut updates) = selector("a b", Ejection::new()).await;
    report(&selector, "a", Outcome::Refused);
    updates.next().await;
    assert_eq!(ejected(&selector), ["a"]);
    while faulty.state().unreachable.is_empty() {
        faulty.called.notified().await;
    }
    let reported = faulty.state().unreachable[0].to_string();
    assert_eq!(reported, "vine/go.vine.test/a");
}
