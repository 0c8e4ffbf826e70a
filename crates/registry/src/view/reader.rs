use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arc_swap::ArcSwap;

use super::{Topic, slot::Slot};
use crate::{
    ServiceSummary, Services,
    trie::{Keyed, Trie, hash},
};

/// Reads a [`View`](super::View) without a lock. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    slots: Arc<ArcSwap<Trie<Slot>>>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            slots: Arc::new(ArcSwap::from_pointee(Trie::Empty)),
        }
    }

    /// The service in all its versions; empty if it is not known.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Services {
        let pair = (namespace, name);
        self.slots
            .load()
            .find(hash(pair), |slot| slot.key.pair() == pair)
            .map(|slot| slot.copy())
            .unwrap_or_default()
    }

    /// The services of one namespace, or of all, sorted by namespace and name.
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> Vec<ServiceSummary> {
        let slots = self.slots.load();
        let mut list: Vec<_> = slots
            .iter()
            .filter(|slot| namespace.is_none_or(|namespace| *slot.key.namespace == *namespace))
            .filter_map(|slot| slot.summary())
            .collect();
        list.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        list
    }

    pub(super) fn snapshot(&self, topic: &Topic) -> Services {
        if let (Some(namespace), Some(name)) = (&topic.namespace, &topic.service) {
            return self.get(namespace, name);
        }
        let slots = self.slots.load();
        let slots = slots
            .iter()
            .filter(|slot| topic.covers(&slot.key.namespace, &slot.key.name));
        slots.flat_map(|slot| slot.load().to_vec()).collect()
    }

    pub(super) fn add(&self, key: Key) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(key));
        let mut slots = Trie::clone(&self.slots.load());
        slots.insert(Arc::clone(&slot));
        self.slots.store(Arc::new(slots));
        slot
    }

    pub(super) fn remove(&self, slot: &Slot) {
        let mut slots = Trie::clone(&self.slots.load());
        slots.remove(slot.key_hash(), |other| slot.same_key(other));
        self.slots.store(Arc::new(slots));
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("services", &self.slots.load().len())
            .finish()
    }
}

/// Namespace and name of a service.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
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
