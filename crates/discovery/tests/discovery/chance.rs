//! Whatever nodes, calls and the registry do, in any order: the rules hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{Instant, sleep};
use vine_discovery::{
    Cache, CacheOptions, ConsistentHash, Ejection, Fallback, Guard, LeastLoaded, NoNode, Outcome,
    Pick, Random, RoundRobin, Selector, Standing, Strategy, Verdict, Weighted,
};
use vine_registry::{Metadata, Node, Service, Services};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

/// What a node says of itself.
#[derive(Clone, Copy)]
struct State {
    port: u8,
    state: &'static str,
    zone: &'static str,
    is_blue: bool,
    version: &'static str,
}

/// The nodes that there are, by id.
#[derive(Clone, Default)]
struct World(BTreeMap<String, State>);

type Ids = BTreeSet<String>;

impl World {
    /// A few nodes come, change or go; sometimes most go.
    fn change(&mut self, rng: &mut Rng) {
        for _ in 0..rng.usize(1..6) {
            let id = rng.u8(..10).to_string();
            if rng.u8(..3) == 0 {
                self.0.remove(&id);
                continue;
            }
            let state = State {
                port: rng.u8(1..3),
                state: ["up", "up", "up", "draining", "down"][rng.usize(..5)],
                zone: ["north", "south"][rng.usize(..2)],
                is_blue: rng.u8(..4) > 0,
                version: ["v1", "v1", "v2"][rng.usize(..3)],
            };
            self.0.insert(id, state);
        }
        if rng.u8(..5) == 0 {
            self.0.retain(|_, _| rng.u8(..4) == 0);
        }
    }

    fn services(&self) -> Vec<Service> {
        let node = |(id, state): (&String, &State)| {
            let facts = [(Node::ZONE, state.zone), (Node::STATE, state.state)];
            let team = state.is_blue.then_some(("team", "blue"));
            let facts: Metadata = facts.into_iter().chain(team).collect();
            Node::new(&**id, format!("h:{}", state.port)).with_metadata(facts)
        };
        let versions = ["v1", "v2"].map(|version| {
            let its = self.0.iter().filter(|(_, state)| state.version == version);
            Service::new(NAME, version).with_nodes(its.map(node))
        });
        let there = versions.into_iter();
        there.filter(|service| !service.nodes.is_empty()).collect()
    }

    fn ids(&self, is_it: impl Fn(&State) -> bool) -> Ids {
        let its = self.0.iter().filter(|(_, state)| is_it(state));
        its.map(|(id, _)| id.clone()).collect()
    }
}

fn ids(services: &Services) -> Ids {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| node.id.to_string()).collect()
}

/// Until every task has done what there is to do.
async fn settle() {
    sleep(Duration::from_millis(2)).await;
}

/// A selector for blue nodes of version 1, the northern ones first.
struct Picky {
    selector: Selector,
    max_share: f64,
    min_healthy: f64,
}

fn strategy(number: u64) -> Arc<dyn Strategy> {
    match number % 5 {
        0 => Arc::new(Random),
        1 => Arc::new(RoundRobin::new()),
        2 => Arc::new(LeastLoaded),
        3 => Arc::new(ConsistentHash),
        _ => Arc::new(Weighted),
    }
}

impl Picky {
    fn new(cache: &Cache, rng: &mut Rng, strategy: Arc<dyn Strategy>) -> Self {
        let max_share = [0.0, 0.3, 0.5, 1.0][rng.usize(..4)];
        let min_healthy = [0.0, 0.5, 0.7, 1.0][rng.usize(..4)];
        let ejection = Ejection::new()
            .with_failures(2)
            .with_max_share(max_share)
            .with_times(Duration::from_secs(1), Duration::from_secs(8));
        let builder = Selector::builder(cache.subscribe(NAME))
            .version("v1")
            .label("team", "blue")
            .zone("north", min_healthy);
        Self {
            selector: builder.ejection(ejection).strategy(strategy).build(),
            max_share,
            min_healthy,
        }
    }

    fn fallen_back(&self, to: Fallback) -> Ids {
        let all = self.selector.explain().into_iter();
        let its = all.filter(|one| one.verdict == Verdict::Fallback(to));
        its.map(|one| one.node.id.to_string()).collect()
    }

    /// Who is to get calls, and who may when all of those were tried.
    fn expected(&self, world: &World) -> (Ids, Ids) {
        let fits = |state: &State| state.is_blue && state.version == "v1";
        let is_fine = |state: &State| fits(state) && state.state == "up";
        let ejected = self.fallen_back(Fallback::Ejected);
        let suspects = self.fallen_back(Fallback::Suspect);
        let fine = world.ids(is_fine);
        assert!(ejected.is_subset(&fine));
        assert!(ejected.len() as f64 <= self.max_share * fine.len() as f64);
        assert!(suspects.is_disjoint(&world.ids(|_| true)));

        let near = |state: &State| state.zone == "north";
        let healthy = world.ids(|state| is_fine(state) && near(state));
        let healthy: Ids = healthy.difference(&ejected).cloned().collect();
        let far = world.ids(|state| is_fine(state) && !near(state));
        let far: Ids = far.difference(&ejected).cloned().collect();
        let vanished = self.selector.explain().into_iter().filter(|one| {
            let is_near = one.node.metadata.get(Node::ZONE) == Some("north");
            is_near && suspects.contains(&*one.node.id)
        });
        let known = world.ids(|state| fits(state) && near(state)).len() + vanished.count();
        let few = (healthy.len() as f64) < self.min_healthy * known as f64;
        let both: Ids = healthy.union(&far).cloned().collect();
        let tiers = match few || healthy.is_empty() {
            true => [both, ejected, suspects],
            false => [healthy, &far | &ejected, suspects],
        };
        let all = tiers.iter().flatten().cloned().collect();
        let first = tiers.into_iter().find(|tier| !tier.is_empty());
        (first.unwrap_or_default(), all)
    }

    fn pick(&self) -> Option<String> {
        let picked = self.selector.with_pick(|node| node.id.to_string());
        picked.ok()
    }

    /// Picks past more and more nodes: each once, those to be preferred first.
    fn assert_picks(&self, first: &Ids, all: &Ids) {
        for _ in 0..50 {
            let picked = self.pick();
            assert_eq!(picked.is_some(), !first.is_empty());
            assert!(picked.is_none_or(|id| first.contains(&id)));
        }
        let mut tried: Vec<Arc<str>> = Vec::new();
        let error = loop {
            match self.selector.pick_by(&Pick::new().avoiding(&tried)) {
                Ok(guard) => {
                    let id = Arc::clone(&guard.node().id);
                    assert!(!tried.contains(&id));
                    assert!(tried.len() >= first.len() || first.contains(&*id));
                    tried.push(id);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(matches!(error, NoNode::Tried { .. }), !all.is_empty());
        let tried: Ids = tried.iter().map(ToString::to_string).collect();
        assert_eq!(tried, *all);
    }
}

fn end(mut guard: Guard, rng: &mut Rng) {
    match rng.u8(..6) {
        0 => guard.report(Outcome::Success),
        1 | 2 => guard.report(Outcome::Failure),
        3 | 4 => guard.report(Outcome::Refused),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_best_nodes_that_there_are() {
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let (mut world, faulty) = (World::default(), Faulty::default());
        let cache = Cache::new(faulty.clone());
        let picky = Picky::new(&cache, &mut rng, strategy(seed));
        let (mut calls, mut keyed) = (Vec::new(), None::<(Ids, Vec<String>)>);
        settle().await;
        for _ in 0..60 {
            match rng.u8(..6) {
                0 => {
                    world.change(&mut rng);
                    faulty.set(world.services());
                }
                1 => sleep(Duration::from_millis(rng.u64(..3_000))).await,
                2 => calls.extend((0..5).filter_map(|_| picky.selector.pick().ok())),
                _ if calls.is_empty() => {}
                _ => end(calls.swap_remove(rng.usize(..calls.len())), &mut rng),
            }
            settle().await;
            let (first, all) = picky.expected(&world);
            picky.assert_picks(&first, &all);
            match seed % 5 {
                1 => {
                    let turns = (0..3 * first.len()).filter_map(|_| picky.pick());
                    let mut counts = BTreeMap::<_, usize>::new();
                    turns.for_each(|id| *counts.entry(id).or_default() += 1);
                    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
                }
                3 if !first.is_empty() => {
                    let keys = (0..100).map(|key| Pick::new().with_key(format!("user {key}")));
                    let owner = |pick: Pick<'_>| {
                        let id = picky
                            .selector
                            .with_pick_by(&pick, |node| node.id.to_string());
                        id.unwrap()
                    };
                    let owners: Vec<_> = keys.map(owner).collect();
                    if let Some((before, old)) = &keyed {
                        // Keys leave who is gone, and go to who came.
                        let mut moved = old.iter().zip(&owners).filter(|(old, new)| old != new);
                        assert!(
                            moved.all(|(old, new)| !first.contains(old) || !before.contains(new))
                        );
                    }
                    keyed = Some((first, owners));
                }
                _ => {}
            }
        }
        calls.clear();
        let peers = picky.selector.peers();
        assert!(peers.iter().all(|peer| peer.in_flight() == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn suspects_are_those_that_the_loss_guard_describes() {
    let (window, keep) = (Duration::from_secs(10), Duration::from_secs(60));
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let (mut world, faulty) = (World::default(), Faulty::with([]));
        let mut subscription = Cache::new(faulty.clone()).subscribe(NAME);
        subscription.ready().await.unwrap();
        let mut vanished = BTreeMap::<String, Instant>::new();
        let mut suspects = BTreeMap::<String, Instant>::new();
        for _ in 0..60 {
            let now = Instant::now();
            match rng.u8(..6) {
                0..=2 => {
                    let before = world.clone();
                    world.change(&mut rng);
                    faulty.set(world.services());
                    let there = world.ids(|_| true);
                    let was_up = before.ids(|state| state.state == "up");
                    vanished.extend(was_up.into_iter().map(|id| (id, now)));
                    vanished.retain(|id, at| !there.contains(id) && now - *at <= window);
                    suspects.retain(|id, until| !there.contains(id) && *until > now);
                    let gone = vanished.len();
                    if gone >= 3 && gone >= there.len() {
                        for (id, at) in &vanished {
                            suspects.entry(id.clone()).or_insert(*at + keep);
                        }
                    }
                }
                3 | 4 => sleep(Duration::from_millis(rng.u64(..9_000))).await,
                _ => {
                    let refuses = suspects.pop_first().map(|(id, _)| id);
                    if let Some(id) = refuses {
                        vanished.remove(&id);
                        subscription.report_unreachable(&id).await.unwrap();
                    }
                }
            }
            settle().await;
            suspects.retain(|_, until| *until > Instant::now());
            let expected: Ids = suspects.keys().cloned().collect();
            assert_eq!(ids(&subscription.known().suspects), expected, "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_ends_with_what_the_registry_has() {
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let (mut world, faulty) = (World::default(), Faulty::default());
        let options = CacheOptions::new().with_idle(Duration::from_secs(20));
        let cache = Cache::with_options(faulty.clone(), options.with_max_names(2));
        let mut subscriptions = Vec::new();
        for _ in 0..60 {
            match rng.u8(..11) {
                0..=2 => {
                    world.change(&mut rng);
                    faulty.set(world.services());
                }
                3 => faulty.cut(),
                4 => faulty.crash(),
                5 | 6 => faulty.mend(),
                7 => sleep(Duration::from_millis(rng.u64(..8_000))).await,
                8 => subscriptions.push(cache.subscribe(NAME)),
                9 if !subscriptions.is_empty() => {
                    subscriptions.swap_remove(rng.usize(..subscriptions.len()));
                }
                _ => faulty.state().delay = Duration::from_millis(rng.u64(..400)),
            }
            settle().await;
            let peeked = cache.peek(NAME).unwrap_or_default();
            for subscription in &subscriptions {
                let known = subscription.known();
                assert_eq!(known.services, peeked);
                assert!(ids(&known.services).is_disjoint(&ids(&known.suspects)));
            }
        }
        faulty.mend();
        faulty.state().delay = Duration::ZERO;
        subscriptions.push(cache.subscribe(NAME));
        // Longer than the longest pause between attempts.
        sleep(Duration::from_secs(6)).await;
        for subscription in &subscriptions {
            let known = subscription.known();
            assert!(matches!(known.standing, Standing::Live), "seed {seed}");
            assert_eq!(known.services, faulty.state().services, "seed {seed}");
        }
        subscriptions.clear();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(cache.name_count(), 0, "seed {seed}");
    }
}
