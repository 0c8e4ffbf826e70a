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
use vine_registry::{Error, NodeRef, Result, Service};

pub(super) use self::entry::{Call, Farewell, Occupant, Put, Task};
use self::entry::{Entry, Group, Want, clash, replaced};
use super::{batch::Batch, lease::Lease};
use crate::{keys::Keys, value};

/// For how long at least it is remembered in which revision a service was written to.
const REMEMBER: Duration = Duration::from_secs(60);

/// What this handle registered, and how far that is true.
///
/// Calls say what is wanted; the keeper makes it so and says here how that went. Whatever happens,
/// a dropped call, an answer that does not come, a lease that is lost, ends in a key that is not as
/// wanted, and such a key is queued until it is.
pub(super) struct State {
    pub(super) keys: Keys,
    pub(super) entries: Slab<Entry>,
    pub(super) leases: BTreeMap<u64, Lease>,
    /// Every lease that this handle ever asked for.
    pub(super) own_leases: HashSet<i64>,
    pub(super) closed: bool,
    by_key: HashMap<Bytes, usize>,
    names: Names,
    groups: Slab<Group>,
    deadlines: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Keys that are not as wanted. One may be here twice: [`Entry::queued`] counts.
    queue: VecDeque<usize>,
    /// Keys to look at again at a time.
    later: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Keys that nobody watches yet.
    pub(super) unwatched: Vec<usize>,
    /// The last revision in which a service was changed from here, and when.
    writes: HashMap<(Arc<str>, Arc<str>), (i64, Instant)>,
    /// The last revision of those that were forgotten.
    forgotten: i64,
    last: u64,
    wanted: usize,
}

/// Entries by namespace, name and id.
type Names = HashMap<Arc<str>, HashMap<Arc<str>, HashMap<Arc<str>, usize>>>;

impl State {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            entries: Slab::new(),
            leases: BTreeMap::new(),
            own_leases: HashSet::new(),
            closed: false,
            by_key: HashMap::new(),
            names: HashMap::new(),
            groups: Slab::new(),
            deadlines: BinaryHeap::new(),
            queue: VecDeque::new(),
            later: BinaryHeap::new(),
            unwatched: Vec::new(),
            writes: HashMap::new(),
            forgotten: 0,
            last: 0,
            wanted: 0,
        }
    }

    /// Answers a call that says nothing new without asking the cluster; none if it has to be asked.
    pub(super) fn repeat(
        &mut self,
        namespace: &str,
        service: &Arc<Service>,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Option<Result<()>> {
        let first = service.nodes.nth(0)?;
        let at = self.find(namespace, &service.name, &first.id)?;
        let want = self.entries.get(at)?.want.as_ref()?;
        let group = self.groups.get_mut(want.group)?;
        let same = Arc::ptr_eq(&group.service, service) || group.service == *service;
        if !same || group.ttl != ttl || group.nodes != service.nodes.len() {
            return None;
        }
        group.deadline = ttl.map(|ttl| now + ttl);
        let lease = self.leases.get(&want.ttl)?;
        match lease.trouble(now) {
            Some(error) => Some(Err(error)),
            None => (group.unsettled == 0).then_some(Ok(())),
        }
    }

    /// Wants what a call says, all of it at once. Gives what to wait for.
    pub(super) fn register(&mut self, call: Call, now: Instant) -> Result<Arc<Batch>> {
        self.check(&call)?;
        self.last += 1;
        let deadline = call.ttl.map(|ttl| now + ttl);
        let group = self.groups.insert(Group {
            number: self.last,
            service: Arc::clone(&call.service),
            namespace: Arc::clone(&call.namespace),
            ttl: call.ttl,
            nodes: 0,
            unsettled: 0,
            deadline,
        });
        if let Some(deadline) = deadline {
            self.deadlines.push(Reverse((deadline, group, self.last)));
        }
        let Call {
            namespace,
            source,
            nodes,
            epoch,
            seconds,
            ..
        } = call;
        self.leases
            .entry(seconds)
            .or_insert_with(|| Lease::new(seconds));
        let batch = Batch::new();
        for (node, value) in nodes {
            let reference = NodeRef::new(Arc::clone(&source.name), Arc::clone(&node.id))
                .with_namespace(Arc::clone(&namespace));
            let want = Want {
                group,
                source: Arc::clone(&source),
                node,
                changed: epoch,
                value,
                ttl: seconds,
            };
            let at = self.want(reference, want, epoch, now)?;
            self.wait(at, &batch);
        }
        batch.seal();
        Ok(batch)
    }

    fn check(&self, call: &Call) -> Result<()> {
        if self.closed {
            return Err(Error::Closed);
        }
        let name = &call.source.name;
        for (node, _) in &call.nodes {
            if let Some(entry) = self
                .find(&call.namespace, name, &node.id)
                .and_then(|at| self.entries.get(at))
                && entry.lost
            {
                return Err(replaced(&entry.node));
            }
            let key = self.keys.node(&call.namespace, name, &node.id);
            if let Some(entry) = self
                .by_key
                .get(key.as_bytes())
                .and_then(|at| self.entries.get(*at))
                && !(entry.node.id == node.id
                    && entry.node.service == *name
                    && entry.node.namespace == call.namespace)
            {
                return Err(clash(&node.id, &entry.node));
            }
        }
        Ok(())
    }

    /// Wants a value at the key of a node.
    fn want(&mut self, node: NodeRef, mut want: Want, epoch: u64, now: Instant) -> Result<usize> {
        let group = want.group;
        let Some(at) = self.find(&node.namespace, &node.service, &node.id) else {
            let at = self.add(node, epoch, now);
            self.entries[at].want = Some(want);
            self.join(group, false);
            self.enqueue(at);
            return Ok(at);
        };
        let entry = &mut self.entries[at];
        match entry.want.take() {
            Some(old) if old.is_like(&want) => {
                want.value = old.value;
                want.changed = old.changed;
                entry.want = Some(want);
                let settled = entry.settled;
                self.join(group, settled);
                self.leave(old.group, settled);
                return Ok(at);
            }
            Some(old) => {
                want.value =
                    value::encode(&want.source, &want.node, entry.epoch, want.changed)?.into();
                let settled = std::mem::replace(&mut entry.settled, false);
                self.leave(old.group, settled);
            }
            None => {
                entry.epoch = epoch;
                entry.settled = false;
            }
        }
        let entry = &mut self.entries[at];
        entry.want = Some(want);
        entry.turn = None;
        entry.wish += 1;
        entry.since = now;
        self.join(group, false);
        self.enqueue(at);
        Ok(at)
    }

    fn add(&mut self, node: NodeRef, epoch: u64, now: Instant) -> usize {
        let key = Bytes::from(self.keys.node(&node.namespace, &node.service, &node.id));
        let at = self.entries.insert(Entry {
            key: key.clone(),
            want: None,
            epoch,
            have: None,
            lease: 0,
            known: 0,
            refusal: None,
            settled: false,
            established: false,
            since: now,
            seen: 0,
            wish: 0,
            busy: false,
            queued: false,
            unsure: None,
            turn: None,
            untried: true,
            farewell: None,
            lost: false,
            watched: false,
            waiters: Vec::new(),
            node: node.clone(),
        });
        self.by_key.insert(key, at);
        let names = self.names.entry(node.namespace).or_default();
        names.entry(node.service).or_default().insert(node.id, at);
        at
    }

    /// Wants a key to be gone. Gives what was wanted before.
    fn unwant(&mut self, at: usize, now: Instant) -> Option<Want> {
        let entry = self.entries.get_mut(at)?;
        let want = entry.want.take()?;
        entry.farewell = None;
        let settled = std::mem::replace(&mut entry.settled, false);
        entry.turn = None;
        entry.wish += 1;
        entry.since = now;
        self.leave(want.group, settled);
        self.enqueue(at);
        Some(want)
    }

    /// What this handle has of a service in a version, or of the nodes named; lost ones are
    /// forgotten. Gives what is left to end, and which of the nodes named are not known here.
    pub(super) fn held(
        &mut self,
        namespace: &str,
        service: &Service,
    ) -> (Vec<usize>, Vec<Arc<str>>) {
        let ids = self
            .names
            .get(namespace)
            .and_then(|names| names.get(&service.name));
        let named: Vec<_> = match (service.nodes.is_empty(), ids) {
            (true, ids) => ids
                .into_iter()
                .flatten()
                .map(|(id, at)| (Arc::clone(id), Some(*at)))
                .collect(),
            (false, ids) => {
                let at = |id: &Arc<str>| ids.and_then(|ids| ids.get(id).copied());
                service
                    .nodes
                    .iter()
                    .map(|node| (Arc::clone(&node.id), at(&node.id)))
                    .collect()
            }
        };
        let (mut held, mut unknown) = (Vec::new(), Vec::new());
        for (id, at) in named {
            let Some((at, entry)) = at.and_then(|at| Some((at, self.entries.get(at)?))) else {
                unknown.push(id);
                continue;
            };
            match &entry.want {
                Some(want) if want.source.version == service.version => held.push(at),
                None if entry.lost => self.remove(at),
                // On its way out: wait for that.
                None => held.push(at),
                Some(_) => {}
            }
        }
        (held, unknown)
    }

    /// Wants keys to be gone. Gives what to wait for.
    pub(super) fn deregister(&mut self, held: &[usize], now: Instant) -> Arc<Batch> {
        let batch = Batch::new();
        for &at in held {
            if let Some(want) = self.unwant(at, now)
                && let Some(entry) = self.entries.get_mut(at)
            {
                entry.farewell = value::farewell(&want.value);
            }
            self.wait(at, &batch);
        }
        batch.seal();
        batch
    }

    fn wait(&mut self, at: usize, batch: &Arc<Batch>) {
        if let Some(entry) = self.entries.get_mut(at)
            && !entry.settled
        {
            match &entry.refusal {
                Some(error) => batch.fail(error),
                None => {
                    batch.add();
                    entry.waiters.push(Arc::clone(batch));
                }
            }
        }
    }

    /// Ends what was not renewed in time; gives the time to look again.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&Reverse((deadline, group, number))) = self.deadlines.peek() {
            if deadline > now {
                return Some(deadline);
            }
            self.deadlines.pop();
            let Some(known) = self
                .groups
                .get(group)
                .filter(|known| known.number == number)
            else {
                continue;
            };
            match known.deadline {
                Some(later) if later > now => self.deadlines.push(Reverse((later, group, number))),
                _ => self.end_group(group, now),
            }
        }
        None
    }

    fn end_group(&mut self, group: usize, now: Instant) {
        let Some(known) = self.groups.get(group) else {
            return;
        };
        let (service, namespace) = (Arc::clone(&known.service), Arc::clone(&known.namespace));
        for node in &service.nodes {
            let Some(at) = self.find(&namespace, &service.name, &node.id) else {
                continue;
            };
            let entry = self.entries.get(at);
            let want = entry.and_then(|entry| entry.want.as_ref());
            if want.is_some_and(|want| want.group == group) {
                self.unwant(at, now);
            }
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

    /// Since when a call's nodes are not as wanted although they were before.
    pub(super) fn is_restoring(&self, namespace: &str, service: &Service) -> bool {
        let ids = service
            .nodes
            .iter()
            .filter_map(|node| self.find(namespace, &service.name, &node.id));
        ids.filter_map(|at| self.entries.get(at))
            .any(|entry| entry.established && !entry.settled && entry.want.is_some())
    }

    /// The last revision in which a service was changed from here.
    pub(super) fn written(&self, namespace: &Arc<str>, name: &Arc<str>) -> i64 {
        let key = (Arc::clone(namespace), Arc::clone(name));
        self.writes.get(&key).map_or(0, |(revision, _)| *revision)
    }

    /// Forgets what was written to services of which nothing is left here, once every watch that is
    /// proven has long seen it.
    pub(super) fn forget_writes(&mut self, now: Instant) {
        let (names, forgotten) = (&self.names, &mut self.forgotten);
        self.writes.retain(|(namespace, name), (revision, at)| {
            let is_held = names
                .get(namespace)
                .is_some_and(|names| names.contains_key(name));
            let keep = is_held || now.duration_since(*at) < REMEMBER;
            if !keep {
                *forgotten = (*forgotten).max(*revision);
            }
            keep
        });
    }

    /// Fails whoever waits. Gives what to say at the keys before they are gone.
    pub(super) fn close(&mut self) -> Vec<Farewell> {
        let farewells = match self.closed {
            true => Vec::new(),
            false => self.farewells(),
        };
        self.closed = true;
        for (_, entry) in &mut self.entries {
            entry
                .waiters
                .drain(..)
                .for_each(|batch| batch.fail(&Error::Closed));
        }
        farewells
    }

    fn farewells(&self) -> Vec<Farewell> {
        let farewell = |(_, entry): (usize, &Entry)| {
            let want = entry.want.as_ref()?;
            entry.farewell(value::farewell(&want.value))
        };
        self.entries.iter().filter_map(farewell).collect()
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

    /// A node joins the call that registers it.
    fn join(&mut self, group: usize, settled: bool) {
        let Some(known) = self.groups.get_mut(group) else {
            return;
        };
        known.nodes += 1;
        known.unsettled += usize::from(!settled);
        self.wanted += 1;
    }

    /// A node leaves the call that registered it.
    fn leave(&mut self, group: usize, settled: bool) {
        let Some(known) = self.groups.get_mut(group) else {
            return;
        };
        known.nodes -= 1;
        self.wanted -= 1;
        known.unsettled -= usize::from(!settled);
        if known.nodes == 0 {
            self.groups.remove(group);
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
