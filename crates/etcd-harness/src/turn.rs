use std::{fmt, sync::OnceLock};

use tokio::{
    runtime::Runtime,
    sync::{Mutex, MutexGuard},
};

use crate::{Client, Cluster, ClusterOptions};

/// A cluster, and the runtime that it lives on.
struct Shared {
    cluster: Mutex<Cluster>,
    _runtime: Runtime,
}

/// An empty cluster, as long as it is held: the tests of one program take turns at it.
pub struct Turn {
    cluster: MutexGuard<'static, Cluster>,
}

impl Turn {
    /// Waits for the cluster with so many members, one or three, and empties it.
    pub async fn at(members: usize) -> Self {
        static ONE: OnceLock<Shared> = OnceLock::new();
        static THREE: OnceLock<Shared> = OnceLock::new();
        let place = if members == 1 { &ONE } else { &THREE };
        let start = move || {
            let runtime = Runtime::new().unwrap();
            let options = ClusterOptions::new().with_members(members);
            let cluster = Mutex::new(runtime.block_on(Cluster::start(options)));
            Shared {
                cluster,
                _runtime: runtime,
            }
        };
        let shared = tokio::task::spawn_blocking(move || place.get_or_init(start)).await;
        let cluster = shared.unwrap().cluster.lock().await;
        cluster.client().delete("/").await;
        Self { cluster }
    }

    /// What clients connect to.
    #[must_use]
    pub fn addrs(&self) -> Vec<String> {
        self.cluster.addrs()
    }

    /// Bare calls.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.cluster.client()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("addrs", &self.addrs())
            .finish_non_exhaustive()
    }
}
