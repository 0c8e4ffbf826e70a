use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tokio::sync::watch;

use super::entry::Entry;

/// The names that a cache follows: found without a lock, in shards that are copied when a name comes
/// or goes.
pub(super) struct Names {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    len: AtomicUsize,
}

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    table: ArcSwap<HashTable<Arc<Entry>>>,
    writing: Mutex<()>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Shard::default()),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Looks at the entry of a name.
    pub(super) fn with<R>(
        &self,
        namespace: &str,
        name: &str,
        look: impl FnOnce(&Entry) -> R,
    ) -> Option<R> {
        let (hash, shard) = self.place(name);
        let table = shard.table.load();
        table
            .find(hash, |entry| entry.is(namespace, name))
            .map(|entry| look(entry))
    }

    /// The entry of a name, and a receiver that keeps it from being let go; `start` is called with a
    /// new one.
    pub(super) fn hold(
        &self,
        namespace: &Arc<str>,
        name: &str,
        start: impl FnOnce(&Arc<Entry>),
    ) -> (Arc<Entry>, watch::Receiver<u64>) {
        let (hash, shard) = self.place(name);
        let _writing = shard.lock();
        let table = shard.table.load_full();
        if let Some(entry) = table.find(hash, |entry| entry.is(namespace, name)) {
            return (Arc::clone(entry), entry.changes());
        }
        let entry = Arc::new(Entry::new(Arc::clone(namespace), name.into()));
        let changes = entry.changes();
        let mut table = HashTable::clone(&table);
        table.insert_unique(hash, Arc::clone(&entry), |entry| self.hash(entry));
        shard.table.store(Arc::new(table));
        self.len.fetch_add(1, Ordering::Relaxed);
        start(&entry);
        (entry, changes)
    }

    /// Lets an entry go, unless somebody holds it; says whether it is gone.
    pub(super) fn let_go(&self, entry: &Arc<Entry>) -> bool {
        let (hash, shard) = self.place(&entry.name);
        let _writing = shard.lock();
        let may = !entry.is_awaited();
        if may {
            self.remove(shard, hash, entry);
        }
        may
    }

    /// Lets an entry go whose task ends.
    pub(super) fn forget(&self, entry: &Arc<Entry>) {
        let (hash, shard) = self.place(&entry.name);
        let _writing = shard.lock();
        self.remove(shard, hash, entry);
    }

    /// Lets a name go that nobody holds, one that was not used lately if possible; says whether
    /// there was one. Starts anywhere, and takes the first.
    pub(super) fn evict(&self) -> bool {
        let start = fastrand::usize(..SHARDS);
        let shards = || (0..SHARDS).map(|i| &self.shards[(start + i) % SHARDS]);
        let candidates = |even_used: bool| {
            shards().find_map(|shard| {
                let table = shard.table.load();
                let mut idle = table.iter().filter(|entry| !entry.is_awaited());
                idle.find(|entry| even_used || !entry.take_used()).cloned()
            })
        };
        let found = candidates(false).or_else(|| candidates(true));
        found.is_some_and(|entry| {
            entry.dismiss();
            self.let_go(&entry)
        })
    }

    /// Under the lock of the shard.
    fn remove(&self, shard: &Shard, hash: u64, entry: &Arc<Entry>) {
        let mut table = HashTable::clone(&shard.table.load());
        if let Ok(found) = table.find_entry(hash, |other| Arc::ptr_eq(other, entry)) {
            found.remove();
            shard.table.store(Arc::new(table));
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Of the name alone: few stand in several namespaces.
    fn place(&self, name: &str) -> (u64, &Shard) {
        let hash = self.hasher.hash_one(name);
        // The table itself goes by the low and the topmost bits.
        (hash, &self.shards[(hash >> 32) as usize % SHARDS])
    }

    fn hash(&self, entry: &Entry) -> u64 {
        self.hasher.hash_one(&*entry.name)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
