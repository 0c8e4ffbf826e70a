//! Clusters that the tests of one program take turns at.

use std::sync::OnceLock;

use tokio::{
    runtime::Runtime,
    sync::{Mutex, MutexGuard},
};
use vine_etcd_harness::{Client, Cluster, ClusterOptions};
use vine_registry::Options;
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

/// A cluster, and the runtime that it lives on.
struct Shared {
    cluster: Mutex<Cluster>,
    _runtime: Runtime,
}

/// An empty cluster, as long as it is held.
pub(crate) struct Turn {
    cluster: MutexGuard<'static, Cluster>,
}

impl Turn {
    /// Waits for the cluster with so many members, and empties it.
    pub(crate) async fn at(members: usize) -> Self {
        static ONE: OnceLock<Shared> = OnceLock::new();
        static THREE: OnceLock<Shared> = OnceLock::new();
        let place = if members == 1 { &ONE } else { &THREE };
        let start = move || {
            let runtime = Runtime::new().expect("a runtime");
            let options = ClusterOptions::new().with_members(members);
            let cluster = Mutex::new(runtime.block_on(Cluster::start(options)));
            Shared {
                cluster,
                _runtime: runtime,
            }
        };
        let shared = tokio::task::spawn_blocking(move || place.get_or_init(start)).await;
        let shared = shared.expect("the cluster starts");
        let cluster = shared.cluster.lock().await;
        cluster.client().delete("/").await;
        Self { cluster }
    }

    /// Bare calls.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn client(&self) -> &Client {
        self.cluster.client()
    }
}

/// Two handles of the cluster.
#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn handles(turn: Turn) -> (EtcdRegistry, EtcdRegistry, Turn) {
    let handle = || registry(&turn, "conformance", EtcdOptions::new());
    (handle(), handle(), turn)
}

/// A handle of the cluster.
pub(crate) fn registry(turn: &Turn, namespace: &str, etcd: EtcdOptions) -> EtcdRegistry {
    let options = Options::new()
        .with_addrs(turn.cluster.addrs())
        .with_namespace(namespace);
    EtcdRegistry::new(options, etcd).expect("the options are fine")
}
