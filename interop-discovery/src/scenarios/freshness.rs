//! From a change in the registry to the first choice that goes by it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use vine_discovery::{Cache, Peer, Pick, Selector};
use vine_registry::{MemoryRegistry, Node, Registry, RegistryExt, Service};

use crate::{
    load::percentiles,
    stage::{self, Engine, Stage, until_nodes},
};

const NODES: usize = 1_000;

/// Between two changes: in a second, fewer than one node of a hundred changes.
const PAUSE: Duration = Duration::from_millis(110);

/// One node at a time gets another address; it is another process' registry that hears of it, but
/// for memory.
pub(super) async fn measured(stage: Stage) {
    let (owner, seen): (Arc<dyn Registry>, Arc<dyn Registry>) = match stage.engine {
        Engine::Memory => {
            let owner = MemoryRegistry::new();
            let seen = owner.handle();
            (Arc::new(owner), Arc::new(seen))
        }
        _ => (stage::open(&stage.word), stage::open(&stage.word)),
    };
    let node = |at: usize, port: usize| Node::new(format!("n{at}"), format!("127.0.0.1:{port}"));
    let service = Service::new(stage.service.as_str(), "v1");
    let all = (0..NODES).map(|at| node(at, 1));
    let registered = owner.register(service.clone().with_nodes(all)).await;
    registered.unwrap();
    let cache = Cache::new(seen);
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, NODES).await;
    let selector = Selector::builder(subscription).build();
    let mut updates = selector.updates();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::new();
    for change in 0..stage.of(50, 400) {
        let changed = node(change % NODES, change + 2);
        let (id, address) = (Arc::clone(&changed.id), Arc::clone(&changed.address));
        let service = service.clone().with_node(changed);
        let is_chosen = || {
            let is_it = |peer: &Peer| peer.node().id == id && peer.node().address == address;
            let pick = Pick::new().only(&is_it);
            selector.with_pick_by(&pick, |_| ()).is_ok()
        };
        ticks.tick().await;
        let start = Instant::now();
        owner.register(service).await.unwrap();
        while !is_chosen() {
            updates.next().await;
        }
        took.push(start.elapsed());
    }
    let (p50, p99) = percentiles(&mut took);
    println!(
        "        {} changes among {NODES} nodes: p50 {p50:.1?}, p99 {p99:.1?} from `register` to the choice",
        took.len()
    );
    owner.close().await.unwrap();
    cache.close().await.unwrap();
}
