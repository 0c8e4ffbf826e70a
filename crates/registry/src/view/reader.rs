use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Topic;
use crate::{ServiceSummary, Services, model::List};

/// Reads a [`View`](super::View) without a lock. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reader {
    names: Arc<ArcSwap<Names>>,
}

type Names = imbl::GenericHashMap<
    Key,
    Arc<Slot>,
    foldhash::fast::RandomState,
    imbl::shared_ptr::DefaultSharedPtr,
>;

/// Where the state of one service is published.
#[derive(Default)]
pub(super) struct Slot(ArcSwapOption<List>);

impl Reader {
    /// The service in all its versions; empty if it is not known.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Services {
        self.names
            .load()
            .get(&(namespace, name) as &dyn Pair)
            .map(|slot| slot.load())
            .unwrap_or_default()
    }

    /// The services of one namespace, or of all, sorted by namespace and name.
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> Vec<ServiceSummary> {
        let names = self.names.load();
        let mut list: Vec<_> = names
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| *key.namespace == *namespace))
            .filter_map(|(key, slot)| key.summary(&slot.load()))
            .collect();
        list.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        list
    }

    pub(super) fn snapshot(&self, topic: &Topic) -> Services {
        if let (Some(namespace), Some(name)) = (&topic.namespace, &topic.service) {
            return self.get(namespace, name);
        }
        let names = self.names.load();
        let slots = names
            .iter()
            .filter(|(key, _)| topic.covers(&key.namespace, &key.name));
        slots.flat_map(|(_, slot)| slot.load().to_vec()).collect()
    }

    pub(super) fn add(&self, key: Key) -> Arc<Slot> {
        let slot = Arc::<Slot>::default();
        let mut names = Names::clone(&self.names.load());
        names.insert(key, Arc::clone(&slot));
        self.names.store(Arc::new(names));
        slot
    }

    pub(super) fn remove(&self, namespace: &str, name: &str) {
        let mut names = Names::clone(&self.names.load());
        names.remove(&(namespace, name) as &dyn Pair);
        self.names.store(Arc::new(names));
    }
}

impl Slot {
    pub(super) fn load(&self) -> Services {
        Services::from_shared(self.0.load_full())
    }

    pub(super) fn store(&self, services: Services) {
        self.0.store(services.into_shared());
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("names", &self.names.load().len())
            .finish()
    }
}

/// Namespace and name of a service.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn summary(&self, services: &Services) -> Option<ServiceSummary> {
        let versions = services.iter().map(|service| Arc::clone(&service.version));
        (!services.is_empty()).then(|| {
            ServiceSummary::new(
                Arc::clone(&self.namespace),
                Arc::clone(&self.name),
                versions,
                Some(services.node_count()),
            )
        })
    }
}

/// Two texts, owned or borrowed, so that a [`Key`] is found without making one.
pub(super) trait Pair {
    fn pair(&self) -> (&str, &str);
}

impl Pair for Key {
    fn pair(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Pair for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Pair + 'a> for Key {
    fn borrow(&self) -> &(dyn Pair + 'a) {
        self
    }
}

impl Hash for dyn Pair + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

impl PartialEq for dyn Pair + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Pair + '_ {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for Key {}
