use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use vine_registry::{
    Result, Services,
    telemetry::{CACHED_NODES, Level},
    view::Topic,
};

use crate::{TELEMETRY, catalog::Catalog, client::Client, keys::Keys, listing};

/// How many services are remembered, and how many nodes of them.
const MAX_SERVICES: usize = 256;
const MAX_NODES: usize = 100_000;

/// Look-ups of single services. The cluster is asked each time; what has not changed since the last
/// time is not decoded again.
pub(crate) struct Lookups {
    client: Arc<Client>,
    keys: Keys,
    namespace: Arc<str>,
    timeout: Duration,
    cache: Mutex<Cache>,
}

struct Cache {
    services: HashMap<(Arc<str>, Arc<str>), Remembered>,
    nodes: usize,
    uses: u64,
    level: Level,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            services: HashMap::new(),
            nodes: 0,
            uses: 0,
            level: TELEMETRY.level(CACHED_NODES),
        }
    }
}

struct Remembered {
    catalog: Catalog,
    revision: i64,
    used: u64,
}

impl Lookups {
    pub(crate) fn new(
        client: Arc<Client>,
        keys: Keys,
        namespace: Arc<str>,
        timeout: Duration,
    ) -> Self {
        Self {
            client,
            keys,
            namespace,
            timeout,
            cache: Mutex::default(),
        }
    }

    /// A service in all its versions; empty if there is none.
    pub(crate) async fn get(&self, namespace: &Arc<str>, name: &Arc<str>) -> Result<Services> {
        let topic = Topic::service(Arc::clone(namespace), Arc::clone(name));
        let listing = listing::list(&self.client, &self.keys.prefix(&topic), self.timeout).await?;
        let key = (Arc::clone(namespace), Arc::clone(name));
        // Whoever looks up the same at the same time decodes for himself.
        let known = self.cache().take(&key);
        let mut catalog =
            known.unwrap_or_else(|| Catalog::new(self.keys, Arc::clone(&self.namespace)));
        catalog.replace(&listing.kvs);
        let services = catalog.view.reader().get(namespace, name);
        self.cache().put(key, catalog, listing.revision);
        Ok(services)
    }

    /// What was found last.
    pub(crate) fn known(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<Services> {
        let cache = self.cache();
        let known = cache
            .services
            .get(&(Arc::clone(namespace), Arc::clone(name)))?;
        Some(known.catalog.view.reader().get(namespace, name))
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.cache() = Cache::default();
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn take(&mut self, key: &(Arc<str>, Arc<str>)) -> Option<Catalog> {
        let Remembered { catalog, .. } = self.services.remove(key)?;
        self.nodes -= catalog.len();
        Some(catalog)
    }

    fn put(&mut self, key: (Arc<str>, Arc<str>), catalog: Catalog, revision: i64) {
        let newer = self
            .services
            .get(&key)
            .is_some_and(|known| known.revision > revision);
        if newer || catalog.len() == 0 || catalog.len() > MAX_NODES {
            return;
        }
        self.take(&key);
        while self.services.len() >= MAX_SERVICES || self.nodes + catalog.len() > MAX_NODES {
            let oldest = self.services.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.take(&oldest);
        }
        self.uses += 1;
        self.nodes += catalog.len();
        self.level.set(self.nodes);
        let used = self.uses;
        self.services.insert(
            key,
            Remembered {
                catalog,
                revision,
                used,
            },
        );
    }
}
