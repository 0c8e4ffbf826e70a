//! Picks a live node for each call.

mod builder;
mod ejection;
mod explain;
mod filter;
mod guard;
mod latency;
mod no_node;
mod peer;
mod peers;
mod pick;
mod ranks;
mod roster;
mod table;
mod task;
mod updates;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use vine_registry::Node;

pub use self::{
    builder::SelectorBuilder,
    ejection::Ejection,
    explain::{Considered, Exclusion, Fallback, Verdict},
    guard::{Guard, Outcome},
    no_node::NoNode,
    peer::Peer,
    peers::Peers,
    pick::Pick,
    updates::Updates,
};
use self::{filter::Filter, peer::Reports, table::Table, task::Task};
use crate::{Call, Strategy, Subscription, strategy::Start};

/// Picks a node of one service for each call: one that fits, by a [`Strategy`].
///
/// The choice is prepared whenever something changes, by a task of its own; picking takes no lock
/// and never waits. Clones are the same selector.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use vine_discovery::{Cache, RoundRobin, Selector};
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};
///
/// let cache = Cache::new(MemoryRegistry::new());
/// cache.register(Service::new("go.vine.test", "v1.4.0").with_node(Node::new("a", "10.0.0.7:80"))).await?;
///
/// let selector = Selector::builder(cache.subscribe("go.vine.test"))
///     .versions("^1.2")?
///     .strategy(RoundRobin::new())
///     .build();
/// selector.ready().await?;
///
/// // The quick way: a borrowed node.
/// let address = selector.with_pick(|node| node.address.clone())?;
/// assert_eq!(&*address, "10.0.0.7:80");
///
/// // The thorough way: a guard that hears how the call went.
/// let guard = selector.pick()?;
/// assert_eq!(&*guard.node().id, "a");
/// guard.succeed();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Selector(Arc<Handle>);

struct Handle {
    core: Arc<Core>,
    task: JoinHandle<()>,
}

/// What the task writes and the selectors read.
struct Core {
    subscription: Subscription,
    config: Config,
    /// Whom the stats of all nodes tell of failures.
    reports: Arc<Reports>,
    table: ArcSwap<Table>,
    /// Counts the tables.
    published: watch::Sender<u64>,
}

#[derive(Debug)]
struct Config {
    filter: Filter,
    zone: Option<Zone>,
    strategy: Box<dyn Strategy>,
    ejection: Ejection,
}

#[derive(Debug)]
struct Zone {
    name: Arc<str>,
    /// Which share of its nodes has to be healthy for it to be preferred.
    min_healthy: f64,
}

impl Selector {
    /// Begins to make a selector.
    pub fn builder(subscription: Subscription) -> SelectorBuilder {
        SelectorBuilder::new(subscription)
    }

    fn new(subscription: Subscription, config: Config) -> Self {
        let (told, failures) = mpsc::unbounded_channel();
        let reports = Reports {
            start: Instant::now(),
            failures: config.ejection.failures.max(1),
            told,
        };
        let core = Arc::new(Core {
            subscription,
            config,
            reports: Arc::new(reports),
            table: ArcSwap::default(),
            published: watch::Sender::new(0),
        });
        let task = tokio::spawn(Task::new(Arc::clone(&core), failures).run());
        Self(Arc::new(Handle { core, task }))
    }

    /// Picks a node and lets `call` look at it.
    ///
    /// The quickest way, for calls whose outcome nobody reports.
    ///
    /// # Errors
    /// [`NoNode`], with why there is none.
    pub fn with_pick<R>(&self, call: impl FnOnce(&Node) -> R) -> Result<R, NoNode> {
        let core = &*self.0.core;
        let table = core.table.load();
        let peer = table
            .tiers
            .first()
            .and_then(|tier| tier.choose(&Call::default()));
        match peer {
            Some(peer) => Ok(call(peer.node())),
            None => Err(core.no_node(&table, &Pick::new())),
        }
    }

    /// [`with_pick`](Self::with_pick) by a key, or past some nodes.
    ///
    /// # Errors
    /// [`NoNode`], with why there is none.
    pub fn with_pick_by<R>(
        &self,
        pick: &Pick<'_>,
        call: impl FnOnce(&Node) -> R,
    ) -> Result<R, NoNode> {
        let core = &*self.0.core;
        let table = core.table.load();
        match table.choose(pick, &pick.call(None)) {
            Some(peer) => Ok(call(peer.node())),
            None => Err(core.no_node(&table, pick)),
        }
    }

    /// Picks a node for a call whose outcome will be reported.
    ///
    /// # Errors
    /// [`NoNode`], with why there is none.
    pub fn pick(&self) -> Result<Guard, NoNode> {
        self.pick_by(&Pick::new())
    }

    /// [`pick`](Self::pick) by a key, or past some nodes.
    ///
    /// # Errors
    /// [`NoNode`], with why there is none.
    pub fn pick_by(&self, pick: &Pick<'_>) -> Result<Guard, NoNode> {
        let core = &*self.0.core;
        let instant = Instant::now();
        let nanos = core.reports.time(instant);
        let call = pick.call(Some(Start { instant, nanos }));
        let table = core.table.load();
        match table.choose(pick, &call) {
            Some(peer) => Ok(Guard::new(peer, nanos)),
            None => Err(core.no_node(&table, pick)),
        }
    }

    /// Waits until a node can be picked, or until it is known that there is none.
    ///
    /// # Errors
    /// [`NoNode`], with why there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn ready(&self) -> Result<(), NoNode> {
        let core = &*self.0.core;
        let mut published = core.published.subscribe();
        let mut subscription = core.subscription.clone();
        // Why not stands in the table, too.
        let _ = subscription.ready().await;
        loop {
            published.mark_unchanged();
            let table = core.table.load_full();
            if !table.tiers.is_empty() {
                return Ok(());
            }
            // The task may not have come to what the subscription knows.
            if Arc::ptr_eq(&table.known, &subscription.known()) {
                return Err(core.no_node(&table, &Pick::new()));
            }
            if published.changed().await.is_err() {
                return Err(core.no_node(&table, &Pick::new()));
            }
        }
    }

    /// The nodes that calls may go to, and how that changes.
    #[must_use]
    pub fn updates(&self) -> Updates {
        Updates::new(self.clone())
    }

    /// The nodes that calls may go to now, the preferred ones first.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.0.core.table.load().peers()
    }

    /// What it thinks of each node that is known.
    #[must_use]
    pub fn explain(&self) -> Vec<Considered> {
        let core = &self.0.core;
        explain::explain(&core.config, &core.table.load())
    }

    /// The service that it picks from.
    #[must_use]
    pub fn subscription(&self) -> &Subscription {
        &self.0.core.subscription
    }
}

impl Core {
    fn publish(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.published.send_modify(|count| *count += 1);
    }

    #[cold]
    fn no_node(&self, table: &Table, pick: &Pick<'_>) -> NoNode {
        let service = Arc::clone(self.subscription.name());
        let known = &table.known;
        // That there was none before an outage does not say that there is none.
        let says_nothing = known.is_stale() && known.services.is_empty() && table.tiers.is_empty();
        if !known.is_known() || says_nothing {
            let error = table.known.error().cloned();
            NoNode::Unknown { service, error }
        } else if !table.tiers.is_empty() && !pick.is_free() {
            NoNode::Tried { service }
        } else if !table.known.services.is_empty() {
            let considered = table.known.services.node_count();
            NoNode::Excluded {
                service,
                considered,
            }
        } else {
            NoNode::NotFound { service }
        }
    }
}

impl Config {
    /// Without a preferred zone, every node is near.
    fn is_near(&self, node: &Node) -> bool {
        let zone = self.zone.as_ref();
        zone.is_none_or(|zone| node.metadata.get(Node::ZONE) == Some(&*zone.name))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = &self.0.core;
        f.debug_struct("Selector")
            .field("service", core.subscription.name())
            .field("config", &core.config)
            .field("table", &core.table.load())
            .finish_non_exhaustive()
    }
}
