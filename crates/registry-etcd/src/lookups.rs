use std::{
    collections::HashMap,
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use vine_registry::{
    Result, Services,
    telemetry::{CACHED_NODES, Level},
    view::{Entry, Topic, merge},
};

use crate::{
    TELEMETRY,
    client::Client,
    decoder::{Decoder, digest},
    keys::Keys,
    listing,
    proto::KeyValue,
};

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
    services: HashMap<Name, Remembered>,
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

/// Namespace and name of a service.
type Name = (Arc<str>, Arc<str>);

struct Remembered {
    found: Found,
    revision: i64,
    used: u64,
}

/// What was found of a service.
#[derive(Default)]
struct Found {
    /// In the order of their keys.
    values: Vec<Seen>,
    services: Services,
}

/// A key and its value.
struct Seen {
    key: Box<[u8]>,
    mod_revision: i64,
    digest: u64,
    /// None if it is no node of the service.
    entry: Option<Entry<()>>,
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
        let mut found = self.cache().take(&key).unwrap_or_default();
        found.renew(&key, &listing.kvs, || {
            Decoder::new(self.keys, Arc::clone(&self.namespace))
        });
        let services = found.services.clone();
        self.cache().put(key, found, listing.revision);
        Ok(services)
    }

    /// What was found last.
    pub(crate) fn known(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<Services> {
        let cache = self.cache();
        let known = cache
            .services
            .get(&(Arc::clone(namespace), Arc::clone(name)))?;
        Some(known.found.services.clone())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.cache() = Cache::default();
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Takes in that these are all keys now, which are in order.
    fn renew(&mut self, name: &Name, kvs: &[KeyValue], decoder: impl FnOnce() -> Decoder) {
        let are_same = |(known, kv): (&Seen, &KeyValue)| known.is(kv);
        if self.values.len() == kvs.len() && self.values.iter().zip(kvs).all(are_same) {
            return;
        }
        let mut decoder = decoder();
        let mut before = take(&mut self.values).into_iter().peekable();
        let values = kvs.iter().map(|kv| {
            while before.next_if(|known| *known.key < *kv.key).is_some() {}
            match before.next_if(|known| known.is(kv)) {
                Some(known) => known,
                None => Seen::decode(name, kv, &mut decoder),
            }
        });
        self.values = values.collect();
        let (namespace, name) = name;
        let entries = self.values.iter().filter_map(|value| value.entry.as_ref());
        self.services = merge(namespace, name, entries);
    }
}

impl Seen {
    fn decode((namespace, name): &Name, kv: &KeyValue, decoder: &mut Decoder) -> Self {
        // Under the keys of a service there may be those of another one whose name looks alike.
        let decoded = decoder.decode(kv).filter(|decoded| {
            decoded.node.service == *name && decoded.node.namespace == *namespace
        });
        Self {
            key: Box::from(&*kv.key),
            mod_revision: kv.mod_revision,
            digest: digest(&kv.value),
            entry: decoded.map(|decoded| decoded.entry),
        }
    }

    /// Whether it is still the same.
    fn is(&self, kv: &KeyValue) -> bool {
        self.mod_revision == kv.mod_revision
            && *self.key == *kv.key
            && self.digest == digest(&kv.value)
    }
}

impl Cache {
    fn take(&mut self, name: &Name) -> Option<Found> {
        let Remembered { found, .. } = self.services.remove(name)?;
        self.nodes -= found.values.len();
        Some(found)
    }

    fn put(&mut self, name: Name, found: Found, revision: i64) {
        let newer = self
            .services
            .get(&name)
            .is_some_and(|known| known.revision > revision);
        let nodes = found.values.len();
        if newer || nodes == 0 || nodes > MAX_NODES {
            return;
        }
        self.take(&name);
        while self.services.len() >= MAX_SERVICES || self.nodes + nodes > MAX_NODES {
            let oldest = self.services.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            self.take(&oldest);
        }
        self.uses += 1;
        self.nodes += nodes;
        self.level.set(self.nodes);
        let used = self.uses;
        let known = Remembered {
            found,
            revision,
            used,
        };
        self.services.insert(name, known);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;
    use crate::{Layout, catalog::Catalog};

    const KEYS: Keys = Keys(Layout::Vine);

    /// The value of a node; the last one is none, and the one before is of a service with a name alike.
    fn value(id: u8, version: u8, weight: u8) -> String {
        let name = if version == 3 { "a-b" } else { "a/b" };
        let json = format!(
            r#"{{"name":"{name}","version":"v{version}","nodes":[{{"id":"n{id}","address":"10.0.0.7:80","metadata":{{"weight":"{weight}"}}}}],"epoch":1,"changed":{weight}}}"#
        );
        if version == 4 { "{}".into() } else { json }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_catalog_of_the_keys_shows(
            states in proptest::collection::vec(btree_map(0..8_u8, (0..5_u8, 0..4_u8), 0..8), 1..6),
        ) {
            let name: Name = ("vine".into(), "a/b".into());
            let mut found = Found::default();
            let mut revision = 0;
            let mut last = HashMap::new();
            for state in states {
                let kvs = state.iter().map(|(&id, &(version, weight))| {
                    let value = value(id, version, weight);
                    let known = last.entry(id).or_insert_with(|| (String::new(), 0));
                    if known.0 != value {
                        revision += 1;
                        *known = (value.clone(), revision);
                    }
                    KeyValue {
                        key: KEYS.node("vine", "a/b", &format!("n{id}")).into(),
                        value: value.into(),
                        mod_revision: known.1,
                        ..KeyValue::default()
                    }
                });
                let kvs: Vec<_> = kvs.collect();
                last.retain(|id, _| state.contains_key(id));
                found.renew(&name, &kvs, || Decoder::new(KEYS, "vine".into()));
                let mut catalog = Catalog::new(KEYS, "vine".into());
                catalog.replace(&kvs);
                prop_assert_eq!(&found.services, &catalog.view.reader().get("vine", "a/b"));
                let before = found.services.clone();
                found.renew(&name, &kvs, || unreachable!("nothing has changed"));
                prop_assert!(found.services.ptr_eq(&before));
            }
        }
    }
}
