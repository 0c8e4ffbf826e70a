use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use super::reader::{Key, Pair};
use crate::{
    ServiceSummary, Services,
    model::List,
    trie::{Keyed, hash},
};

/// Where the state of one service is published.
///
/// Whoever looks it up counts a reference, and two threads that count the same one wait for each
/// other. So the first thread that reads counts those of the original, and others those of copies:
/// no more than a pointer or two, made when such a thread first reads a new state.
pub(super) struct Slot {
    pub(super) key: Key,
    services: ArcSwapOption<List>,
    /// How often the state changed. Written after it.
    version: AtomicU64,
    copies: OnceLock<Box<[ArcSwapOption<Copy>; GROUPS - 1]>>,
}

struct Copy {
    version: u64,
    services: Services,
}

/// The threads of the process are dealt into as many groups.
const GROUPS: usize = 8;

thread_local! {
    static GROUP: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The group of this thread.
fn group() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    GROUP.get().unwrap_or_else(|| {
        let group = NEXT.fetch_add(1, Ordering::Relaxed) % GROUPS;
        GROUP.set(Some(group));
        group
    })
}

impl Slot {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            services: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            copies: OnceLock::new(),
        }
    }

    /// The state itself, for those who do not read it again and again.
    pub(super) fn load(&self) -> Services {
        Services::from_shared(self.services.load_full())
    }

    /// The state, whose references are counted apart from those of other threads.
    pub(super) fn copy(&self) -> Services {
        match group() {
            0 => self.load(),
            group => self.copy_of(group),
        }
    }

    fn copy_of(&self, group: usize) -> Services {
        let copies = self
            .copies
            .get_or_init(|| Box::new([const { ArcSwapOption::const_empty() }; GROUPS - 1]));
        let place = &copies[group - 1];
        let version = self.version.load(Ordering::Acquire);
        if let Some(copy) = &*place.load()
            && copy.version == version
        {
            return copy.services.clone();
        }
        let services = self.load().apart();
        place.store(Some(Arc::new(Copy {
            version,
            services: services.clone(),
        })));
        services
    }

    pub(super) fn store(&self, services: Services) {
        self.services.store(services.into_shared());
        self.version.fetch_add(1, Ordering::Release);
        // What nobody may read any more need not be kept until somebody reads again.
        for place in self.copies.get().into_iter().flat_map(|copies| &**copies) {
            if place.load().is_some() {
                place.store(None);
            }
        }
    }

    pub(super) fn summary(&self) -> Option<ServiceSummary> {
        let services = self.load();
        let versions = services.iter().map(|service| Arc::clone(&service.version));
        let Key { namespace, name } = self.key.clone();
        (!services.is_empty())
            .then(|| ServiceSummary::new(namespace, name, versions, Some(services.node_count())))
    }
}

impl Keyed for Slot {
    fn key_hash(&self) -> u64 {
        hash(self.key.pair())
    }

    fn same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Service;

    fn state(number: u64) -> Services {
        let service = Service::new("s", "v1").with_metadata([("number", number.to_string())]);
        [service].into_iter().collect()
    }

    fn number(services: &Services) -> u64 {
        services[0].metadata.get("number").unwrap().parse().unwrap()
    }

    fn slot() -> Slot {
        let slot = Slot::new(Key {
            namespace: "vine".into(),
            name: "s".into(),
        });
        slot.store(state(0));
        slot
    }

    #[test]
    fn every_thread_reads_what_was_stored_before() {
        const CHANGES: u64 = 20_000;
        let slot = slot();
        let stored = AtomicU64::new(0);
        thread::scope(|scope| {
            for group in [0, 1, 2, 2] {
                let (slot, stored) = (&slot, &stored);
                scope.spawn(move || {
                    GROUP.set(Some(group));
                    let mut seen = 0;
                    while seen < CHANGES {
                        let before = stored.load(Ordering::Acquire);
                        let now = number(&slot.copy());
                        assert!(now >= before.max(seen), "{now} after {before} and {seen}");
                        seen = now;
                    }
                });
            }
            for number in 1..=CHANGES {
                slot.store(state(number));
                stored.store(number, Ordering::Release);
            }
        });
    }

    #[test]
    fn copies_of_an_old_state_are_let_go() {
        let slot = slot();
        GROUP.set(Some(3));
        let old = Arc::downgrade(&slot.copy()[0]);
        assert!(slot.copy().ptr_eq(&slot.copy()), "one copy for a group");
        assert!(!slot.copy().ptr_eq(&slot.load()));
        slot.store(state(1));
        assert!(old.upgrade().is_none());
    }
}
