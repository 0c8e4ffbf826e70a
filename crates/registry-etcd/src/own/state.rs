use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use tokio::time::Instant;
use vine_registry::{Error, Node, NodeRef, Result, Service};

use super::{batch::Batch, lease::Lease};
use crate::{client::Failure, keys::Keys, telemetry, value};

/// How long a put may still take effect whose fate is not known.
pub(super) const UNSURE: Duration = Duration::from_secs(10);

/// How long to leave a cluster alone that denies permission.
const AFTER_DENIAL: Duration = Duration::from_secs(30);

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
    /// The last revision in which a service was changed from here.
    writes: HashMap<(Arc<str>, Arc<str>), i64>,
    last: u64,
    wanted: usize,
}

/// Entries by namespace, name and id.
type Names = HashMap<Arc<str>, HashMap<Arc<str>, HashMap<Arc<str>, usize>>>;

/// One key.
pub(super) struct Entry {
    pub(super) node: NodeRef,
    pub(super) key: Bytes,
    /// None: that it is gone.
    pub(super) want: Option<Want>,
    /// Of the registration; a change keeps it.
    pub(super) epoch: u64,
    /// The revision in which the key was last put by this handle, as far as it is still so.
    pub(super) have: Option<i64>,
    /// The lease of the last put.
    pub(super) lease: i64,
    /// The revision up to which it is known what stood there.
    pub(super) known: i64,
    /// Why the cluster refuses, if it does.
    refusal: Option<Error>,
    /// Whether the key is as wanted.
    settled: bool,
    /// Whether it ever was.
    established: bool,
    /// Since when it is not as wanted.
    since: Instant,
    /// The last revision in which somebody was seen to change it.
    pub(super) seen: i64,
    /// Counts what was wanted.
    pub(super) wish: u64,
    /// A request is under way.
    busy: bool,
    queued: bool,
    /// Until when a put may take effect that was given up.
    unsure: Option<Instant>,
    /// Whether nothing was asked of the cluster yet.
    untried: bool,
    /// Somebody else has taken its place.
    lost: bool,
    pub(super) watched: bool,
    waiters: Vec<Arc<Batch>>,
}

/// What shall stand at a key.
pub(super) struct Want {
    group: usize,
    source: Arc<Service>,
    node: Arc<Node>,
    changed: u64,
    pub(super) value: Bytes,
    /// The lease, by its seconds.
    pub(super) ttl: u64,
}

/// What one call registered, as far as no later one has taken its place.
struct Group {
    /// Tells it from an earlier one in the same place.
    number: u64,
    service: Arc<Service>,
    ttl: Option<Duration>,
    nodes: usize,
    unsettled: usize,
    deadline: Option<Instant>,
}

/// A call of register, with its values written.
pub(super) struct Call {
    /// As given.
    pub(super) service: Arc<Service>,
    pub(super) namespace: Arc<str>,
    pub(super) ttl: Option<Duration>,
    /// With the namespace and the ttl in force.
    pub(super) source: Arc<Service>,
    pub(super) nodes: Vec<(Arc<Node>, Bytes)>,
    pub(super) epoch: u64,
    /// The seconds of the lease.
    pub(super) seconds: u64,
}

/// What became of a put.
pub(super) enum Put {
    /// It was done, in this revision.
    Done(i64),
    /// There is another value than expected.
    Occupied(Occupant),
    /// There is none.
    Vacant,
}

/// What stands at a key.
pub(super) struct Occupant {
    /// None if it is no node of this key.
    pub(super) node: Option<NodeRef>,
    pub(super) version: Arc<str>,
    pub(super) epoch: u64,
    pub(super) lease: i64,
    pub(super) mod_revision: i64,
    pub(super) value: Bytes,
}

/// What to do about a key.
pub(super) enum Task {
    Put {
        key: Bytes,
        value: Bytes,
        lease: i64,
        expected: i64,
    },
    Delete {
        key: Bytes,
        lease: i64,
    },
}

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
            untried: true,
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

    /// Wants a key to be gone.
    fn unwant(&mut self, at: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let Some(want) = entry.want.take() else {
            return;
        };
        let settled = std::mem::replace(&mut entry.settled, false);
        entry.wish += 1;
        entry.since = now;
        self.leave(want.group, settled);
        self.enqueue(at);
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
            self.unwant(at, now);
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
                _ => {
                    let ended = self.entries.iter().filter(|(_, entry)| {
                        entry.want.as_ref().is_some_and(|want| want.group == group)
                    });
                    for at in ended.map(|(at, _)| at).collect::<Vec<_>>() {
                        self.unwant(at, now);
                    }
                }
            }
        }
        None
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
            let key = entry.key.clone();
            let task = match &entry.want {
                None if entry.untried => {
                    self.settle(at, now);
                    continue;
                }
                None => Task::Delete {
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

    pub(super) fn enqueue(&mut self, at: usize) {
        if let Some(entry) = self.entries.get_mut(at)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.queue.push_back(at);
        }
    }

    /// Takes in that some put may take effect still.
    pub(super) fn doubt(&mut self, at: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.unsure = Some(now + UNSURE);
            self.later.push(Reverse((now + UNSURE, at)));
        }
    }

    /// Takes in what became of a put.
    pub(super) fn put(&mut self, at: usize, wish: u64, put: Put, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.busy = false;
        let first = std::mem::replace(&mut entry.untried, false) && entry.unsure.is_none();
        match put {
            Put::Done(revision) => {
                self.note_write(at, revision);
                self.stands(at, wish, revision, now);
            }
            Put::Vacant => {
                entry.have = None;
                self.enqueue(at);
            }
            Put::Occupied(occupant) => self.occupied(at, wish, &occupant, first, now),
        }
    }

    /// Our value stands at the key.
    fn stands(&mut self, at: usize, wish: u64, revision: i64, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let changed_since = entry.seen > revision;
        entry.known = revision;
        entry.have = (!changed_since).then_some(revision);
        if entry.wish == wish && !changed_since {
            self.settle(at, now);
        } else {
            self.enqueue(at);
        }
    }

    fn occupied(&mut self, at: usize, wish: u64, occupant: &Occupant, first: bool, now: Instant) {
        let ours = self.own_leases.contains(&occupant.lease);
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        match &occupant.node {
            Some(node) if *node != entry.node => {
                let error = clash(&entry.node.id, node);
                return self.give_up(at, &error, now);
            }
            _ => {}
        }
        let Some(want) = &entry.want else {
            return self.enqueue(at);
        };
        if ours && occupant.value == want.value && occupant.lease == entry.lease {
            return self.stands(at, wish, occupant.mod_revision, now);
        }
        let later = (occupant.epoch, occupant.lease) > (entry.epoch, entry.lease);
        if !ours && later && occupant.node.is_some() {
            if !first {
                return self.lose(at);
            }
            // It stood there when this call was made: this is the later one, whatever the clocks say.
            entry.epoch = occupant.epoch + 1;
            match value::encode(&want.source, &want.node, entry.epoch, want.changed) {
                Ok(value) => {
                    if let Some(want) = &mut entry.want {
                        want.value = value.into();
                    }
                }
                Err(error) => return self.give_up(at, &error, now),
            }
        }
        entry.have = Some(occupant.mod_revision);
        self.enqueue(at);
    }

    /// Takes in that a delete was done, or that somebody else's value stands there.
    pub(super) fn deleted(
        &mut self,
        at: usize,
        wish: u64,
        occupant: Option<&Occupant>,
        revision: i64,
        now: Instant,
    ) {
        let ours = occupant.is_some_and(|occupant| self.own_leases.contains(&occupant.lease));
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.busy = false;
        entry.have = None;
        if let Some(occupant) = occupant.filter(|_| ours) {
            entry.lease = occupant.lease;
            return self.enqueue(at);
        }
        entry.known = revision;
        let put_since = entry.seen > revision;
        let is_done = entry.wish == wish && !put_since;
        if entry.unsure.is_some() && !entry.watched {
            self.unwatched.push(at);
        }
        self.note_write(at, revision);
        if is_done {
            self.settle(at, now);
        } else {
            self.enqueue(at);
        }
    }

    /// Takes in that a request was not answered, or was refused.
    pub(super) fn failed(&mut self, at: usize, failure: &Failure, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.busy = false;
        let was_untried = std::mem::replace(&mut entry.untried, false);
        let error = Error::from(failure.clone());
        let denied = failure.is_denial();
        if !(error.is_retryable() || denied && entry.established) {
            entry.untried = was_untried && entry.unsure.is_none();
            return self.give_up(at, &error, now);
        }
        entry.waiters.drain(..).for_each(|batch| batch.fail(&error));
        if denied {
            entry.refusal = Some(error);
            self.later.push(Reverse((now + AFTER_DENIAL, at)));
        } else {
            self.enqueue(at);
        }
    }

    /// Takes in that the lease of a put was gone.
    pub(super) fn lease_gone(&mut self, at: usize, lease: i64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.busy = false;
            self.enqueue(at);
        }
        self.lose_lease(lease, now);
    }

    /// Takes in that the cluster lets nobody look at these keys.
    pub(super) fn refused(&mut self, keys: &[usize], failure: &Failure, now: Instant) {
        for &at in keys {
            self.distrust(at, now);
            if let Some(entry) = self.entries.get_mut(at) {
                entry.refusal = Some(failure.clone().into());
            }
        }
    }

    /// Takes in that somebody changed a key, in this revision.
    pub(super) fn changed(&mut self, at: usize, revision: i64, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        if revision <= entry.seen || entry.have == Some(revision) || entry.lost {
            return;
        }
        entry.seen = revision;
        if !entry.busy && entry.have.is_none_or(|have| revision > have) {
            self.distrust(at, now);
        }
    }

    /// What stands at the key is not known any more: find out.
    pub(super) fn distrust(&mut self, at: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        if entry.lost {
            return;
        }
        entry.have = None;
        if std::mem::replace(&mut entry.settled, false) {
            entry.since = now;
            if let Some(want) = &entry.want
                && let Some(group) = self.groups.get_mut(want.group)
            {
                group.unsettled += 1;
            }
        }
        self.enqueue(at);
    }

    /// Puts everything again that a lease held.
    pub(super) fn lose_lease(&mut self, id: i64, now: Instant) {
        let Some(lease) = self.leases.values_mut().find(|lease| lease.id == id) else {
            return;
        };
        let ttl = lease.seconds;
        lease.renew(now);
        telemetry::lease_lost();
        let held = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.want.as_ref().is_some_and(|want| want.ttl == ttl));
        for at in held.map(|(at, _)| at).collect::<Vec<_>>() {
            self.distrust(at, now);
        }
    }

    /// The last revision that is known to have been.
    pub(super) fn mark(&self) -> i64 {
        let known = self.entries.iter().map(|(_, entry)| entry.known);
        let written = self.writes.values().copied();
        known.chain(written).max().unwrap_or_default()
    }

    /// Takes in that the cluster is back at an earlier revision. Its leases may hold keys that were
    /// ended since: others take their place, and they run out.
    pub(super) fn rolled_back(&mut self, revision: i64, now: Instant) {
        self.writes.clear();
        for (_, entry) in &mut self.entries {
            (entry.known, entry.seen) = (revision, 0);
        }
        let lost = self.leases.values().filter(|lease| lease.is_granted());
        for id in lost.map(|lease| lease.id).collect::<Vec<_>>() {
            self.lose_lease(id, now);
        }
    }

    /// Lets what waited for a lease go on.
    pub(super) fn granted(&mut self, ttl: u64, id: i64, now: Instant) {
        let Some(lease) = self.leases.get_mut(&ttl).filter(|lease| lease.id == id) else {
            return;
        };
        lease.granted(now);
        for at in std::mem::take(&mut lease.waiting) {
            self.enqueue(at);
        }
    }

    /// Tells those who wait for a lease that it can't be had.
    pub(super) fn not_granted(&mut self, ttl: u64, failure: &Failure, now: Instant) {
        let Some(lease) = self.leases.get_mut(&ttl) else {
            return;
        };
        lease.granting = false;
        let error = Error::from(failure.clone());
        for at in std::mem::take(&mut lease.waiting) {
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            if error.is_retryable() || entry.established {
                entry.waiters.drain(..).for_each(|batch| batch.fail(&error));
                self.enqueue(at);
            } else {
                self.give_up(at, &error, now);
            }
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
        self.writes.get(&key).copied().unwrap_or_default()
    }

    /// Fails whoever waits.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for (_, entry) in &mut self.entries {
            entry
                .waiters
                .drain(..)
                .for_each(|batch| batch.fail(&Error::Closed));
        }
    }

    /// How many nodes are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    fn settle(&mut self, at: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.waiters.drain(..).for_each(|batch| batch.done());
        entry.refusal = None;
        entry.since = now;
        if let Some(want) = &entry.want {
            if !std::mem::replace(&mut entry.settled, true)
                && let Some(group) = self.groups.get_mut(want.group)
            {
                group.unsettled -= 1;
            }
            entry.established = true;
            if !entry.watched {
                self.unwatched.push(at);
            }
        } else {
            entry.settled = true;
            self.remove_if_done(at);
        }
    }

    /// Somebody else holds the node now.
    fn lose(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let error = replaced(&entry.node);
        entry.lost = true;
        entry.waiters.drain(..).for_each(|batch| batch.fail(&error));
        let settled = std::mem::replace(&mut entry.settled, false);
        if let Some(want) = entry.want.take() {
            self.leave(want.group, settled);
        }
    }

    /// It can't be registered: as if it had never been asked.
    fn give_up(&mut self, at: usize, error: &Error, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.waiters.drain(..).for_each(|batch| batch.fail(error));
        let untouched = entry.untried || entry.unsure.is_none() && !entry.established;
        if entry.want.is_none() {
            return;
        }
        self.unwant(at, now);
        if untouched {
            self.settle(at, now);
        }
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

    fn note_write(&mut self, at: usize, revision: i64) {
        if let Some(entry) = self.entries.get(at) {
            let NodeRef {
                namespace, service, ..
            } = entry.node.clone();
            self.writes.insert((namespace, service), revision);
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

impl Want {
    /// Whether it says the same, when it was said aside.
    fn is_like(&self, other: &Self) -> bool {
        self.ttl == other.ttl
            && self.node == other.node
            && self.source.version == other.source.version
            && self.source.same_fields(&other.source)
    }
}

fn replaced(node: &NodeRef) -> Error {
    Error::Replaced {
        name: Arc::clone(&node.service),
        id: Arc::clone(&node.id),
    }
}

fn clash(id: &str, other: &NodeRef) -> Error {
    Error::invalid_service(
        "node id",
        format!(
            "{id:?} has the same key as node {:?} of service {:?} in namespace {:?}, since / counts as - in keys; choose another id",
            other.id, other.service, other.namespace
        ),
    )
}
