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
use crate::Known;

/// The names that a cache follows, and what is known of each: found in one step without a lock, in
/// shards that are small enough to be copied when anything changes.
pub(super) struct Names {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    len: AtomicUsize,
}

const SHARDS: usize = 256;

#[derive(Default)]
struct Shard {
    table: ArcSwap<HashTable<Followed>>,
    writing: Mutex<()>,
}

/// A name, and what its entry published last: a look-up need not go through the entry for that.
#[derive(Clone)]
struct Followed {
    entry: Arc<Entry>,
    known: Arc<Known>,
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

    /// Looks at the entry of a name, and at what is known.
    pub(super) fn with<R>(
        &self,
        namespace: &str,
        name: &str,
        look: impl FnOnce(&Entry, &Known) -> R,
    ) -> Option<R> {
        let (hash, shard) = self.place(name);
        let table = shard.table.load();
        let followed = table.find(hash, |followed| followed.entry.is(namespace, name))?;
        Some(look(&followed.entry, &followed.known))
    }

    /// Shows what is known of a name, unless it was let go.
    pub(super) fn publish(&self, entry: &Arc<Entry>, known: &Arc<Known>) {
        let (hash, shard) = self.place(&entry.name);
        let _writing = shard.lock();
        let mut table = HashTable::clone(&shard.table.load());
        if let Some(followed) = table.find_mut(hash, |followed| followed.is(entry)) {
            followed.known = Arc::clone(known);
            shard.table.store(Arc::new(table));
        }
    }

    /// The entry of a name, and a receiver that keeps it from being let go; of a new one also what `make`
    /// makes for it.
    pub(super) fn hold<T>(
        &self,
        namespace: &str,
        name: &str,
        make: impl FnOnce(&Arc<Entry>) -> T,
    ) -> (Arc<Entry>, watch::Receiver<u64>, Option<T>) {
        let (hash, shard) = self.place(name);
        let _writing = shard.lock();
        let table = shard.table.load_full();
        if let Some(Followed { entry, .. }) =
            table.find(hash, |followed| followed.entry.is(namespace, name))
        {
            return (Arc::clone(entry), entry.changes(), None);
        }
        let entry = Arc::new(Entry::new(namespace.into(), name.into()));
        let changes = entry.changes();
        let made = make(&entry);
        let followed = Followed {
            entry: Arc::clone(&entry),
            known: Arc::clone(&entry.known()),
        };
        let mut table = HashTable::clone(&table);
        table.insert_unique(hash, followed, |followed| self.hash(&followed.entry));
        shard.table.store(Arc::new(table));
        self.len.fetch_add(1, Ordering::Relaxed);
        (entry, changes, Some(made))
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
                let entries = table.iter().map(|followed| &followed.entry);
                let mut idle = entries.filter(|entry| !entry.is_awaited());
                idle.find(|entry| even_used || !entry.was_used_since(Entry::EVICTION))
                    .cloned()
            })
        };
        // Somebody may take the one that is found; then there is another one, or none that is idle.
        while let Some(entry) = candidates(false).or_else(|| candidates(true)) {
            if self.let_go(&entry) {
                entry.dismiss();
                return true;
            }
        }
        false
    }

    /// Under the lock of the shard.
    fn remove(&self, shard: &Shard, hash: u64, entry: &Arc<Entry>) {
        let mut table = HashTable::clone(&shard.table.load());
        if let Ok(found) = table.find_entry(hash, |followed| followed.is(entry)) {
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

impl Followed {
    fn is(&self, entry: &Arc<Entry>) -> bool {
        Arc::ptr_eq(&self.entry, entry)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
