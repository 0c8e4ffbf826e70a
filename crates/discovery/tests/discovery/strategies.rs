//! How strategies share calls out.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use vine_discovery::{
    Cache, ConsistentHash, LeastLoaded, Pick, Selector, SelectorBuilder, Strategy, Updates,
    Weighted,
};
use vine_registry::{Node, Service};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

fn node(id: &str) -> Node {
    Node::new(id, format!("{id}.example:80"))
}

fn service(nodes: impl IntoIterator<Item = Node>) -> Service {
    Service::new(NAME, "v1").with_nodes(nodes)
}

async fn selector(nodes: Vec<Node>, strategy: impl Strategy) -> (Faulty, Selector, Updates) {
    refined(nodes, |builder| builder.strategy(strategy)).await
}

async fn refined(
    nodes: Vec<Node>,
    refine: impl FnOnce(SelectorBuilder) -> SelectorBuilder,
) -> (Faulty, Selector, Updates) {
    let faulty = Faulty::with([service(nodes)]);
    let subscription = Cache::new(faulty.clone()).subscribe(NAME);
    let selector = refine(Selector::builder(subscription)).build();
    selector.ready().await.unwrap();
    let mut updates = selector.updates();
    updates.next().await;
    (faulty, selector, updates)
}

#[tokio::test(start_paused = true)]
async fn weights_are_shares() {
    fastrand::seed(11);
    let weights = ["1", "2", "0.5", "10", "", "-3", "NaN", "1e-9"];
    let shares = [1.0, 2.0, 0.5, 10.0, 1.0, 1.0, 1.0, 1e-9];
    let nodes = weights.iter().enumerate();
    let nodes =
        nodes.map(|(i, weight)| node(&format!("n{i}")).with_metadata([(Node::WEIGHT, *weight)]));
    let (_, selector, _) = selector(nodes.collect(), Weighted).await;
    let mut counts = BTreeMap::<String, f64>::new();
    let picks = 165_000;
    for _ in 0..picks {
        let id = selector.with_pick(|node| node.id.to_string()).unwrap();
        *counts.entry(id).or_default() += 1.0;
    }
    let sum: f64 = shares.iter().sum();
    // The last is too rare to count.
    let statistic: f64 = (0..7)
        .map(|i| {
            let expected = f64::from(picks) * shares[i] / sum;
            (counts[&format!("n{i}")] - expected).powi(2) / expected
        })
        .sum();
    // With 6 degrees of freedom, one in a thousand exceeds 22.5.
    assert!(statistic < 22.5, "{statistic}: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_gets_few_calls_under_least_loaded() {
    fastrand::seed(13);
    let nodes = ["a", "b", "slow"].map(node).to_vec();
    let (_, selector, _) = selector(nodes, LeastLoaded).await;
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let selector = selector.clone();
        callers.spawn(async move {
            let mut slow = 0;
            for _ in 0..1_000 {
                let guard = selector.pick().unwrap();
                let is_slow = &*guard.node().id == "slow";
                sleep(Duration::from_millis(if is_slow { 50 } else { 5 })).await;
                slow += u32::from(is_slow);
                guard.succeed();
            }
            slow
        });
    }
    let slow: u32 = callers.join_all().await.into_iter().sum();
    assert!(slow > 0, "it is tried");
    assert!(slow < 20_000 / 20, "less than 5 %, not {slow} of 20,000");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_gets_few_calls_though_nobody_waits_for_it() {
    fastrand::seed(17);
    let nodes = ["a", "b", "hangs"].map(node).to_vec();
    let (_, selector, _) = selector(nodes, LeastLoaded).await;
    let mut hung = 0;
    for _ in 0..1_000 {
        let guard = selector.pick().unwrap();
        if &*guard.node().id == "hangs" {
            sleep(Duration::from_millis(500)).await;
            hung += 1;
        } else {
            sleep(Duration::from_millis(5)).await;
            guard.succeed();
        }
    }
    assert!((1..50).contains(&hung), "{hung} of 1,000");
}

/// Where each key goes.
fn homes(selector: &Selector) -> HashMap<u32, String> {
    (0..10_000_u32)
        .map(|key| {
            let pick = Pick::new().with_key(key.to_be_bytes());
            let id = selector.with_pick_by(&pick, |node| node.id.to_string());
            (key, id.unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_or_goes_moves_its_own_keys_alone() {
    for count in [2, 3, 10, 50] {
        let nodes: Vec<_> = (0..count).map(|i| node(&format!("n{i}"))).collect();
        let (faulty, selector, mut updates) = selector(nodes.clone(), ConsistentHash).await;
        let all = homes(&selector);
        let mut sum = 0;
        for gone in 0..count {
            let id = format!("n{gone}");
            let left = nodes.iter().filter(|node| *node.id != *id).cloned();
            faulty.set([service(left)]);
            updates.next().await;
            let fewer = homes(&selector);
            let moved = all.iter().filter(|(key, home)| fewer[key] != **home);
            assert!(
                moved.clone().all(|(_, home)| *home == id),
                "only keys of {id} move"
            );
            let moved = moved.count();
            sum += moved;
            // A fair share of so few keys is not exactly 1/n of them.
            let fair = 10_000 / count;
            assert!(
                moved <= fair * 5 / 4 + 30,
                "{moved} of {id}, 1/n would be {fair}"
            );
            faulty.set([service(nodes.clone())]);
            updates.next().await;
            assert_eq!(homes(&selector), all, "and come back with it");
        }
        assert_eq!(sum, 10_000, "each key moved with its node and never else");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_go_to_the_same_node_in_every_process() {
    let nodes: Vec<_> = (0..20).map(|i| node(&format!("n{i}"))).collect();
    let reversed = nodes.iter().rev().cloned().collect();
    let (_, one, _) = selector(nodes, ConsistentHash).await;
    let (_, other, _) = selector(reversed, ConsistentHash).await;
    assert_eq!(homes(&one), homes(&other));
    // Known for good: a later version that moves them would part new clients from old ones.
    let homes = homes(&one);
    let known = [0, 1, 2, 3].map(|key| &*homes[&key]);
    assert_eq!(known, ["n18", "n3", "n8", "n9"]);
}

#[tokio::test(start_paused = true)]
async fn a_near_zone_is_preferred_while_enough_of_it_is_healthy() {
    let zoned = |id: &str, zone: &str, state: &str| {
        node(id).with_metadata([(Node::ZONE, zone), (Node::STATE, state)])
    };
    let with = |second: &str, third: &str| {
        service([
            zoned("n1", "north", "up"),
            zoned("n2", "north", second),
            zoned("n3", "north", third),
            zoned("s1", "south", "up"),
        ])
    };
    let prefer = |builder: SelectorBuilder| builder.zone("north", 0.5);
    let (faulty, selector, mut updates) = refined(vec![zoned("s1", "south", "up")], prefer).await;
    assert!(selector.pick().is_ok(), "without a near node, any will do");
    faulty.set([with("up", "up")]);
    updates.next().await;
    let picked = |selector: &Selector| {
        let picks = (0..200).map(|_| selector.with_pick(|node| node.id.to_string()).unwrap());
        picks.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(
        picked(&selector).into_iter().collect::<Vec<_>>(),
        ["n1", "n2", "n3"]
    );
    faulty.set([with("up", "draining")]);
    updates.next().await;
    assert_eq!(
        picked(&selector).into_iter().collect::<Vec<_>>(),
        ["n1", "n2"]
    );
    faulty.set([with("down", "draining")]);
    updates.next().await;
    assert_eq!(
        picked(&selector).into_iter().collect::<Vec<_>>(),
        ["n1", "s1"],
        "one of three is below half"
    );
    faulty.set([with("up", "up")]);
    updates.next().await;
    let tried = ["n1".into(), "n2".into(), "n3".into()];
    let last = selector.pick_by(&Pick::new().avoiding(&tried)).unwrap();
    assert_eq!(&*last.node().id, "s1", "when all near ones were tried");
}
