//! How strategies share calls out.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use vine_discovery::{
    Cache, ConsistentHash, LeastLoaded, Outcome, Peer, Pick, Selector, SelectorBuilder, Strategy,
    Updates, Weighted,
};
use vine_registry::{Node, Service};
use xxhash_rust::xxh3::xxh3_64;

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

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_gets_few_calls_though_they_are_waited_for() {
    fastrand::seed(19);
    let nodes = ["a", "b", "hangs"].map(node).to_vec();
    let (_, selector, _) = selector(nodes, LeastLoaded).await;
    let mut waiting = Vec::new();
    for call in 0..60_000 {
        let guard = selector.pick().unwrap();
        if call > 1_000 && &*guard.node().id == "hangs" {
            waiting.push(guard);
        } else {
            sleep(Duration::from_millis(5)).await;
            guard.succeed();
        }
    }
    let hung = waiting.len();
    assert!((1..20).contains(&hung), "{hung} within five minutes");
}

#[tokio::test(start_paused = true)]
async fn who_has_a_stream_open_gets_calls() {
    fastrand::seed(23);
    let (_, selector, _) = selector(["a", "b"].map(node).to_vec(), LeastLoaded).await;
    let mut stream = selector.pick().unwrap();
    sleep(Duration::from_millis(5)).await;
    stream.report(Outcome::Success);
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (selector, id) = (selector.clone(), stream.node().id.clone());
        callers.spawn(async move {
            let mut beside_it = 0;
            for _ in 0..500 {
                let guard = selector.pick().unwrap();
                sleep(Duration::from_millis(5)).await;
                beside_it += u32::from(guard.node().id == id);
                guard.succeed();
            }
            beside_it
        });
    }
    let beside_it: u32 = callers.join_all().await.into_iter().sum();
    assert!((4_000..5_500).contains(&beside_it), "{beside_it} of 10,000");
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

/// The 32 places of a node, or the first 4 of a key, by its hash.
fn place(hash: u64, n: u64) -> u32 {
    let mut z = hash.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 32) as u32
}

/// The node that has a key by the rule: whose place comes the closest behind one of the key's own.
fn rule<'a>(ids: &'a [String]) -> impl Fn(u32) -> &'a str {
    let places = |id| (0..32).map(move |n| (place(xxh3_64(str::as_bytes(id)), n), id));
    let mut ring: Vec<_> = ids.iter().flat_map(|id| places(id)).collect();
    ring.sort_unstable();
    move |key| {
        let key = xxh3_64(&key.to_be_bytes());
        let closest = (0..4).map(|n| {
            let at = place(key, n);
            let behind = ring.partition_point(|(place, _)| *place < at);
            let (place, id) = ring[behind % ring.len()];
            (place.wrapping_sub(at), place, id)
        });
        closest.min().unwrap().2
    }
}

fn assert_by_rule(selector: &Selector, ids: &[String], keys: u32) {
    let home = rule(ids);
    for key in 0..keys {
        let pick = Pick::new().with_key(key.to_be_bytes());
        let id = selector.with_pick_by(&pick, |node| node.id.to_string());
        assert_eq!(id.unwrap(), home(key), "key {key} of {ids:?}");
    }
}

fn nodes(ids: &[String]) -> Vec<Node> {
    ids.iter().map(|id| node(id)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_to_the_node_closest_behind_one_of_its_places() {
    for count in [1, 2, 5, 9, 40, 300] {
        let ids: Vec<_> = (0..count).map(|i| format!("n{i}")).collect();
        let (_faulty, selector, _) = selector(nodes(&ids), ConsistentHash).await;
        assert_by_rule(&selector, &ids, 10_000);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_go_by_the_rule_whatever_comes_and_goes() {
    let mut random = fastrand::Rng::with_seed(5);
    for count in [1, 3, 33, 40, 80, 150, 280, 350] {
        let mut ids: Vec<_> = (0..count).map(|i| format!("n{i}")).collect();
        let (faulty, selector, mut updates) = selector(nodes(&ids), ConsistentHash).await;
        for round in 0..25 {
            for change in 0..random.usize(1..6) {
                if ids.len() > 1 && random.bool() {
                    ids.swap_remove(random.usize(..ids.len()));
                } else {
                    ids.push(format!("new-{round}-{change}"));
                }
            }
            if round == 20 {
                ids.truncate(ids.len() / 2 + 1);
            }
            faulty.set([service(nodes(&ids))]);
            updates.next().await;
            assert_by_rule(&selector, &ids, 200);
        }
    }
}

/// 335 and 3949 share a place, and all others are below 100.
#[tokio::test(start_paused = true)]
async fn who_comes_last_does_not_decide_who_has_a_shared_place() {
    for pair in [["335", "3949"], ["3949", "335"]] {
        let mut ids: Vec<_> = (0..100).map(|i| i.to_string()).collect();
        let (faulty, selector, mut updates) = selector(nodes(&ids), ConsistentHash).await;
        for id in pair {
            ids.push(id.to_owned());
            faulty.set([service(nodes(&ids))]);
            updates.next().await;
        }
        assert_by_rule(&selector, &ids, 10_000);
    }
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
    // Ejected, too, two of three leave one, which is below half.
    for id in ["n1", "n2"] {
        let only = |peer: &Peer| &*peer.node().id == id;
        selector.pick_by(&Pick::new().only(&only)).unwrap().refuse();
        updates.next().await;
    }
    assert_eq!(
        picked(&selector).into_iter().collect::<Vec<_>>(),
        ["n3", "s1"]
    );
    sleep(Duration::from_secs(2)).await;
    let tried = ["n1".into(), "n2".into(), "n3".into()];
    let last = selector.pick_by(&Pick::new().avoiding(&tried)).unwrap();
    assert_eq!(&*last.node().id, "s1", "when all near ones were tried");
}

#[tokio::test(start_paused = true)]
async fn a_near_node_that_would_not_fit_says_nothing_of_its_zone() {
    let zoned = |id: &str, zone: &str, state: &str, team: &str| {
        node(id).with_metadata([(Node::ZONE, zone), (Node::STATE, state), ("team", team)])
    };
    let nodes = vec![
        zoned("n1", "north", "up", "blue"),
        zoned("n2", "north", "draining", "red"),
        zoned("n3", "north", "down", "red"),
        zoned("s1", "south", "up", "blue"),
    ];
    let refine = |builder: SelectorBuilder| builder.zone("north", 0.5).label("team", "blue");
    let (_, selector, _) = refined(nodes, refine).await;
    for _ in 0..100 {
        assert_eq!(
            selector.with_pick(|node| node.id.to_string()).unwrap(),
            "n1"
        );
    }
}
