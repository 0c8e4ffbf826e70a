mod calls;
mod entry;
mod outcome;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use tokio::time::Instant;
use vine_registry::NodeRef;

pub(super) use self::entry::{Call, Farewell, Occupant, Put, Task, Written};
use self::entry::{Entry, Group};
use super::{batch::Batch, lease::Lease};

/// For how long at least it is remembered in which revision a service was written to.
const REMEMBER: Duration = Duration::from_secs(60);

/// What this handle registered, and how far that is true.
///
/// Calls say what is wanted; the keeper makes it so and says here how that went. Whatever happens,
/// a dropped call, an answer that does not come, a lease that is lost, ends in a key that is not as
/// wanted, and such a key is queued until it is.
pub(super) struct State {
    pub(super) entries: Slab<Entry>,
    pub(super) leases: BTreeMap<u64, Lease>,
    /// Every lease that this handle ever asked for.
    pub(super) own_leases: HashSet<i64>,
    pub(super) closed: bool,
    by_key: Map<Bytes, usize>,
    names: Names,
    groups: Slab<Group>,
    deadlines: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Keys that are not as wanted. One may be here twice: [`Entry::queued`] counts.
    queue: VecDeque<usize>,
    /// Keys to look at again at a time.
    later: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Keys that nobody watches yet.
    pub(super) unwatched: Vec<usize>,
    /// What was waited for and has ended. The keeper says so once this is not locked any more.
    pub(super) ended: Vec<Arc<Batch>>,
    /// The last revision in which a service was changed from here, and when.
    writes: Map<(Arc<str>, Arc<str>), (i64, Instant)>,
    /// That of the cluster in which all this was done.
    pub(super) era: u64,
    last: u64,
    wanted: usize,
}

/// Entries by namespace, name and id.
type Names = Map<Arc<str>, Map<Arc<str>, Map<Arc<str>, usize>>>;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

impl State {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            leases: BTreeMap::new(),
            own_leases: HashSet::new(),
            closed: false,
            by_key: Map::default(),
            names: Map::default(),
            groups: Slab::new(),
            deadlines: BinaryHeap::new(),
            queue: VecDeque::new(),
            later: BinaryHeap::new(),
            unwatched: Vec::new(),
            ended: Vec::new(),
            writes: Map::default(),
            era: 0,
            last: 0,
            wanted: 0,
        }
    }

    /// Looks again at keys whose time has come; gives the next time.
    pub(super) fn awake(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&Reverse((time, at))) = self.later.peek() {
            if time > now {
                return Some(time);
            }
            self.later.pop();
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            if entry.unsure.is_some_and(|until| until <= now) {
                entry.unsure = None;
            }
            if !entry.settled && !entry.lost {
                self.enqueue(at);
            }
            self.remove_if_done(at);
        }
        None
    }

    /// The next key to do something about, if there is one that can be.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, u64, Task)> {
        while let Some(at) = self.queue.pop_front() {
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            if !std::mem::take(&mut entry.queued) || entry.busy || entry.settled || entry.lost {
                continue;
            }
            if entry.turn.is_some_and(|turn| turn > now) {
                continue;
            }
            entry.turn = None;
            let key = entry.key.clone();
            let task = match &entry.want {
                None if entry.untried => {
                    self.settle(at, now);
                    continue;
                }
                None => Task::Delete {
                    farewell: entry.farewell(entry.farewell.clone()),
                    key,
                    lease: entry.lease,
                },
                Some(want) => {
                    let Some(lease) = self.leases.get_mut(&want.ttl) else {
                        continue;
                    };
                    if !lease.is_ready(now) {
                        lease.waiting.push(at);
                        continue;
                    }
                    entry.lease = lease.id;
                    Task::Put {
                        key,
                        value: want.value.clone(),
                        lease: lease.id,
                        expected: entry.have.unwrap_or_default(),
                    }
                }
            };
            entry.busy = true;
            return Some((at, entry.wish, task));
        }
        None
    }

    /// When the next lease is to be asked for.
    pub(super) fn lease_wanted(&self, now: Instant) -> Option<Instant> {
        let leases = self.leases.values();
        leases.filter_map(|lease| lease.wanted_at(now)).min()
    }

    /// Whether nobody renews what is to be renewed.
    pub(super) fn is_abandoned(&self, now: Instant) -> bool {
        let mut leases = self.leases.values();
        leases.any(|lease| lease.is_abandoned(now))
    }

    pub(super) fn enqueue(&mut self, at: usize) {
        if let Some(entry) = self.entries.get_mut(at)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.queue.push_back(at);
        }
    }

    /// Whether any key wants this lease.
    pub(super) fn uses_lease(&self, ttl: u64) -> bool {
        self.entries.iter().any(|(_, entry)| {
            entry.want.as_ref().is_some_and(|want| want.ttl == ttl)
                || entry.unsure.is_some()
                || entry.busy
        })
    }

    /// The last revision in which a service was changed from here.
    pub(super) fn written(&self, namespace: &Arc<str>, name: &Arc<str>) -> i64 {
        let key = (Arc::clone(namespace), Arc::clone(name));
        self.writes.get(&key).map_or(0, |(revision, _)| *revision)
    }

    /// Forgets what was written to services of which nothing is left here, once every watch that is
    /// proven has long seen it.
    pub(super) fn forget_writes(&mut self, now: Instant) {
        let names = &self.names;
        self.writes.retain(|(namespace, name), (_, at)| {
            let is_held = names
                .get(namespace)
                .is_some_and(|names| names.contains_key(name));
            is_held || now.duration_since(*at) < REMEMBER
        });
    }

    /// How many nodes are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    fn remove_if_done(&mut self, at: usize) {
        let Some(entry) = self.entries.get(at) else {
            return;
        };
        if entry.want.is_none()
            && entry.settled
            && !entry.busy
            && entry.unsure.is_none()
            && !entry.lost
        {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(entry) = self.entries.try_remove(at) else {
            return;
        };
        self.by_key.remove(&entry.key);
        let NodeRef {
            namespace,
            service,
            id,
            ..
        } = entry.node;
        if let Some(names) = self.names.get_mut(&namespace) {
            if let Some(ids) = names.get_mut(&service) {
                ids.remove(&id);
                if ids.is_empty() {
                    names.remove(&service);
                }
            }
            if names.is_empty() {
                self.names.remove(&namespace);
            }
        }
    }

    fn note_write(&mut self, at: usize, revision: i64, now: Instant) {
        if let Some(entry) = self.entries.get(at) {
            let NodeRef {
                namespace, service, ..
            } = entry.node.clone();
            self.writes.insert((namespace, service), (revision, now));
        }
    }

    /// The entry of a key.
    pub(super) fn by_key(&self, key: &[u8]) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    fn find(&self, namespace: &str, service: &str, id: &str) -> Option<usize> {
        self.names.get(namespace)?.get(service)?.get(id).copied()
    }
}

#[cfg(test)]
mod tests;
