use std::{
    fmt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::{
    runtime::Runtime,
    sync::{Semaphore, SemaphorePermit},
};

use tonic::Code;

use crate::{Client, Cluster, ClusterOptions, proto::LeaseRevokeRequest};

/// How many clusters of one size a program of tests has: its tests mostly wait for leases to end, so
/// they take a fraction of the time when several do.
const CLUSTERS: usize = 3;

/// Clusters of one size.
struct Pool {
    members: usize,
    /// So many may be used.
    places: Semaphore,
    /// Those started that nobody uses.
    idle: Mutex<Vec<Cluster>>,
    /// What they live on.
    runtime: Runtime,
}

/// An empty cluster, as long as it is held: the tests of one program take turns at a few of them.
pub struct Turn {
    /// Taken when it is dropped.
    cluster: Option<Cluster>,
    pool: &'static Pool,
    _place: SemaphorePermit<'static>,
}

impl Turn {
    /// Waits for a cluster with so many members, one or three, and empties it.
    pub async fn at(members: usize) -> Self {
        static ONE: OnceLock<Pool> = OnceLock::new();
        static THREE: OnceLock<Pool> = OnceLock::new();
        let pool = if members == 1 { &ONE } else { &THREE };
        let pool = pool.get_or_init(|| Pool::new(members));
        let place = pool.places.acquire().await.unwrap();
        let idle = pool.idle().pop();
        let cluster = match idle {
            Some(cluster) => cluster,
            None => pool.start().await,
        };
        empty(cluster.client()).await;
        Self {
            cluster: Some(cluster),
            pool,
            _place: place,
        }
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }

    /// What clients connect to.
    #[must_use]
    pub fn addrs(&self) -> Vec<String> {
        self.cluster().addrs()
    }

    /// Bare calls.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.cluster().client()
    }
}

/// Deletes everything. A put of whoever had the cluster before may still be on its way; it has no lease
/// then, and fails.
async fn empty(client: &Client) {
    for id in client.leases().await {
        let request = LeaseRevokeRequest { id };
        let revoked = client.lease().lease_revoke(request).await;
        // Its owner may be revoking it at the same time.
        let gone = revoked.map_or_else(|error| error.code() == Code::NotFound, |_| true);
        assert!(gone, "lease {id} can't be revoked");
    }
    client.delete("/").await;
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pool.idle().extend(self.cluster.take());
    }
}

impl Pool {
    fn new(members: usize) -> Self {
        Self {
            members,
            places: Semaphore::new(CLUSTERS),
            idle: Mutex::default(),
            runtime: Runtime::new().unwrap(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Cluster>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Cluster {
        let options = ClusterOptions::new().with_members(self.members);
        self.runtime.spawn(Cluster::start(options)).await.unwrap()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("addrs", &self.addrs())
            .finish_non_exhaustive()
    }
}
