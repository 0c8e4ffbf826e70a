//! Where a scenario is played: a registry, and a name of its own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;
use vine_discovery::{Cache, CacheOptions, Subscription};
use vine_etcd_harness::Cluster;
use vine_registry::{Options, Registry};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

/// Longer than anything takes that goes well, on a busy machine, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The engine that a scenario is played on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Etcd,
    Mdns,
    /// Within one process alone.
    Memory,
}

/// A registry for one scenario, and the name of the service in it.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    /// That of etcd.
    pub(crate) cluster: Option<Cluster>,
    /// What [`open`] takes.
    pub(crate) word: String,
    pub(crate) service: String,
    /// Whether to play it at length.
    pub(crate) full: bool,
}

impl Stage {
    pub(crate) async fn new(engine: Engine, full: bool) -> Self {
        static STAGES: AtomicUsize = AtomicUsize::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let cluster = match engine {
            Engine::Etcd => Some(Cluster::single().await),
            Engine::Mdns | Engine::Memory => None,
        };
        let word = match &cluster {
            Some(cluster) => cluster.addrs().join(","),
            None => engine.to_string(),
        };
        Self {
            engine,
            cluster,
            word,
            service: format!("go.vine.proof{number}"),
            full,
        }
    }

    /// One of two, by the length.
    pub(crate) fn of<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }

    pub(crate) fn cache(&self) -> Cache {
        self.cache_with(CacheOptions::new())
    }

    pub(crate) fn cache_with(&self, options: CacheOptions) -> Cache {
        Cache::with_options(open(&self.word), options)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::Mdns => "mdns",
            Self::Memory => "memory",
        })
    }
}

/// A handle of this process on the registry that a word stands for: `mdns`, or addresses of etcd.
pub(crate) fn open(word: &str) -> Arc<dyn Registry> {
    let options = Options::new();
    if word == "mdns" {
        let loopback = MdnsOptions::new().with_interfaces(["lo"]);
        return Arc::new(MdnsRegistry::new(options, loopback).unwrap());
    }
    let options = options.with_addrs(word.split(','));
    Arc::new(EtcdRegistry::new(options, EtcdOptions::new()).unwrap())
}

/// Waits until what is known of a service is so.
pub(crate) async fn until(
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

/// Waits until so many nodes are known.
pub(crate) async fn until_nodes(subscription: &mut Subscription, nodes: usize) {
    until(subscription, &format!("{nodes} nodes"), |it| {
        it.services().node_count() == nodes
    })
    .await;
}
