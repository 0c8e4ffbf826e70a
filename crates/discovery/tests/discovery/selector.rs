//! What a selector picks, over a memory registry.

use std::{collections::HashMap, sync::Arc, thread};

use vine_discovery::{Cache, NoNode, Pick, Random, RoundRobin, Selector, SelectorBuilder};
use vine_registry::{Endpoint, MemoryRegistry, Node, RegistryExt, Service};

const NAME: &str = "go.vine.test";

fn node(id: &str) -> Node {
    Node::new(id, format!("{id}.example:80"))
}

fn service(ids: &str) -> Service {
    Service::new(NAME, "v1").with_nodes(ids.split_whitespace().map(node))
}

async fn cache(services: impl IntoIterator<Item = Service>) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    for service in services {
        cache.register(service).await.unwrap();
    }
    cache
}

async fn ready(builder: SelectorBuilder) -> Selector {
    let selector = builder.build();
    selector.ready().await.unwrap();
    selector
}

async fn select(cache: &Cache, refine: impl FnOnce(SelectorBuilder) -> SelectorBuilder) -> String {
    let selector = refine(Selector::builder(cache.subscribe(NAME))).build();
    let _ = selector.ready().await;
    ids(&selector)
}

fn ids(selector: &Selector) -> String {
    let mut ids: Vec<_> = selector
        .peers()
        .iter()
        .map(|peer| peer.node().id.to_string())
        .collect();
    ids.sort_unstable();
    ids.join(" ")
}

/// How often each node is picked.
fn counts(selector: &Selector, picks: usize) -> HashMap<Arc<str>, usize> {
    let mut counts = HashMap::new();
    for _ in 0..picks {
        let id = selector.with_pick(|node| node.id.clone()).unwrap();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn filters_say_who_may_be_picked() {
    let other = Service::new(NAME, "v2.1.0")
        .with_endpoint(Endpoint::new("Test.New"))
        .with_metadata([("team", "blue")])
        .with_node(node("c").with_metadata([("os", "linux")]))
        .with_node(node("d").with_metadata([(Node::STATE, "draining")]))
        .with_node(node("e").with_metadata([(Node::STATE, "down")]));
    let cache = cache([service("a b"), other]).await;
    assert_eq!(select(&cache, |builder| builder).await, "a b c");
    assert_eq!(select(&cache, |builder| builder.version("v1")).await, "a b");
    let newer = |builder: SelectorBuilder| builder.versions(">=1.5, <3").unwrap();
    assert_eq!(select(&cache, newer).await, "c");
    assert_eq!(
        select(&cache, |builder| builder.endpoint("Test.New")).await,
        "c"
    );
    assert_eq!(
        select(&cache, |builder| builder.label("os", "linux")).await,
        "c"
    );
    assert_eq!(
        select(&cache, |builder| builder.label("team", "blue")).await,
        "c"
    );
    assert_eq!(
        select(&cache, |builder| builder.label("os", "plan9")).await,
        ""
    );
}

#[tokio::test]
async fn why_there_is_no_node() {
    let cache = cache([service("a b")]).await;
    let none = Selector::builder(cache.subscribe("go.vine.none")).build();
    assert!(matches!(none.pick(), Err(NoNode::Unknown { .. })));
    assert!(matches!(none.ready().await, Err(NoNode::NotFound { .. })));
    let unfit = Selector::builder(cache.subscribe(NAME))
        .version("v9")
        .build();
    let excluded = unfit.ready().await;
    assert!(matches!(
        excluded,
        Err(NoNode::Excluded { considered: 2, .. })
    ));
    let selector = ready(Selector::builder(cache.subscribe(NAME))).await;
    let tried = ["a".into(), "b".into()];
    let picked = selector
        .pick_by(&Pick::new().avoiding(&tried[..1]))
        .unwrap();
    assert_eq!(&*picked.node().id, "b");
    let exhausted = selector.pick_by(&Pick::new().avoiding(&tried));
    assert!(matches!(exhausted, Err(NoNode::Tried { .. })));
}

#[tokio::test]
async fn picks_follow_the_registry() {
    let cache = cache([service("a")]).await;
    let selector = ready(Selector::builder(cache.subscribe(NAME))).await;
    let mut updates = selector.updates();
    assert_eq!(updates.next().await.len(), 1);
    cache.register(service("b")).await.unwrap();
    assert_eq!(updates.next().await.len(), 2);
    cache.deregister(&service("a")).await.unwrap();
    assert_eq!(updates.next().await.len(), 1);
    assert_eq!(selector.with_pick(|node| node.id.to_string()).unwrap(), "b");
}

#[tokio::test]
async fn a_changed_node_keeps_what_its_calls_have_shown() {
    let cache = cache([service("a")]).await;
    let selector = ready(Selector::builder(cache.subscribe(NAME))).await;
    let mut updates = selector.updates();
    updates.next().await;
    let guard = selector.pick().unwrap();
    let changed = Service::new(NAME, "v1").with_node(node("a").with_metadata([("os", "linux")]));
    cache.register(changed).await.unwrap();
    let peers = updates.next().await;
    assert_eq!(peers[0].node().metadata.get("os"), Some("linux"));
    assert_eq!(peers[0].in_flight(), 1, "the same process");
    let moved = Service::new(NAME, "v1").with_node(Node::new("a", "elsewhere.example:80"));
    cache.register(moved).await.unwrap();
    assert_eq!(updates.next().await[0].in_flight(), 0, "another process");
    assert_eq!(guard.peer().in_flight(), 1);
    guard.succeed();
}

/// Pearson's statistic for what should be alike.
fn chi_square(counts: &HashMap<Arc<str>, usize>, nodes: usize) -> f64 {
    assert_eq!(counts.len(), nodes, "each node is picked");
    let expected = counts.values().sum::<usize>() as f64 / nodes as f64;
    let deviation = |&count: &usize| (count as f64 - expected).powi(2) / expected;
    counts.values().map(deviation).sum()
}

#[tokio::test]
async fn random_picks_are_even() {
    fastrand::seed(7);
    let cache = cache([service("a b c d e f g h i j")]).await;
    let selector = ready(Selector::builder(cache.subscribe(NAME)).strategy(Random)).await;
    // With 9 degrees of freedom, one in a thousand exceeds 27.9.
    let statistic = chi_square(&counts(&selector, 100_000), 10);
    assert!(statistic < 27.9, "{statistic}");
}

#[tokio::test]
async fn round_robin_is_exact_for_each_thread() {
    const THREADS: usize = 4;
    let cache = cache([service("a b c d e f g")]).await;
    let builder = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
    let selector = ready(builder).await;
    let alone = counts(&selector, 7_001);
    let spread = |counts: &HashMap<Arc<str>, usize>| {
        counts.values().max().unwrap() - counts.values().min().unwrap()
    };
    assert_eq!(spread(&alone), 1);
    let mut sum = HashMap::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|extra| {
                scope.spawn({
                    let selector = &selector;
                    move || counts(selector, 7_001 + extra)
                })
            })
            .collect();
        for thread in threads {
            for (id, count) in thread.join().unwrap() {
                *sum.entry(id).or_default() += count;
            }
        }
    });
    assert!(spread(&sum) <= THREADS, "{sum:?}");
}
