use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use slab::Slab;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::Instant};

use super::{NAME, TELEMETRY, expiry};
use crate::{
    Error, Node, NodeRef, Result, Service, Watcher,
    telemetry::{Level, REGISTRATIONS},
    view::{Edit, Entry, Reader, Topic, View},
};

/// What all handles of one memory registry share.
pub(super) struct Store {
    state: Mutex<State>,
    next_owner: AtomicU32,
    /// Tells the expiry task that there is an earlier deadline, or that the store is gone.
    signal: Arc<Notify>,
}

/// A handle, as the store knows it.
pub(super) struct Owner {
    id: u32,
    closed: AtomicBool,
}

struct State {
    view: View<usize>,
    leases: Slab<Lease>,
    /// When leases may have run out. One that was renewed is found here under its old deadline,
    /// and put back with the new one when that has come.
    deadlines: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    /// How many leases have a ttl.
    timed: usize,
    /// Ends leases, since there was the first with a ttl.
    expiry: Option<JoinHandle<()>>,
    /// When it looks next; none if it sleeps until told.
    wakes: Option<Instant>,
    /// Numbers leases and changes.
    last: u64,
    owners: Owners,
    registrations: Level,
}

type Owners = HashMap<u32, Party, foldhash::fast::RandomState>;

/// What the store remembers of an owner.
struct Party {
    /// That of services which name none.
    namespace: Arc<str>,
    /// The nodes that it lost to another owner and has not deregistered since.
    lost: HashSet<NodeRef>,
    leases: usize,
    /// The handle is gone: its leases are the last that needs this.
    left: bool,
}

/// What one call registered, as far as no later one has taken its place.
struct Lease {
    /// Tells it from an earlier one in the same place.
    number: u32,
    owner: u32,
    /// How many nodes it holds.
    nodes: u32,
    /// As given, so that the same one again is known by its address; with its ttl as it holds.
    service: Arc<Service>,
    deadline: Option<Instant>,
}

/// Leases that may have run out, number and place of each, by namespace and name.
pub(super) type Due = HashMap<(Arc<str>, Arc<str>), Vec<(u32, u32)>>;

/// How many deadlines are looked at before others get the lock.
const BATCH: usize = 4096;

impl Store {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                view: View::new(NAME),
                leases: Slab::new(),
                deadlines: BinaryHeap::new(),
                timed: 0,
                expiry: None,
                wakes: None,
                last: 0,
                owners: HashMap::default(),
                registrations: TELEMETRY.level(REGISTRATIONS),
            }),
            next_owner: AtomicU32::new(0),
            signal: Arc::default(),
        })
    }

    pub(super) fn reader(&self) -> Reader {
        self.lock().view.reader()
    }

    /// An owner whose services are in `namespace` if they name none.
    pub(super) fn owner(&self, namespace: &Arc<str>) -> Owner {
        let id = self.next_owner.fetch_add(1, Ordering::Relaxed);
        let party = Party {
            namespace: Arc::clone(namespace),
            lost: HashSet::new(),
            leases: 0,
            left: false,
        };
        self.lock().owners.insert(id, party);
        Owner {
            id,
            closed: AtomicBool::new(false),
        }
    }

    /// Renews what the very same call registered before; says whether there is such a lease. None
    /// is left of an owner that was closed.
    pub(super) fn renew(
        &self,
        owner: &Owner,
        namespace: &str,
        service: &Arc<Service>,
        ttl: Option<Duration>,
    ) -> bool {
        let Some(first) = service.nodes.nth(0) else {
            return false;
        };
        let mut state = self.lock();
        let State { view, leases, .. } = &mut *state;
        let Some(lease) = view
            .tag(namespace, &service.name, &first.id)
            .and_then(|&key| leases.get_mut(key))
        else {
            return false;
        };
        if !Arc::ptr_eq(&lease.service, service) || !lease.fits(owner.id, service, ttl) {
            return false;
        }
        lease.renew();
        true
    }

    pub(super) fn register(
        self: &Arc<Self>,
        owner: &Owner,
        namespace: &Arc<str>,
        service: &Arc<Service>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let mut state = self.lock();
        state.party(owner)?.check_not_lost(namespace, service)?;
        if ttl.is_some() && state.expiry.as_ref().is_none_or(JoinHandle::is_finished) {
            let runtime = Handle::try_current().map_err(|_| no_runtime())?;
            state.expiry =
                Some(runtime.spawn(expiry::run(Arc::downgrade(self), Arc::clone(&self.signal))));
        }
        if let Some(deadline) = state.register(owner.id, namespace, service, ttl)
            && state.wakes.is_none_or(|wakes| deadline < wakes)
        {
            state.wakes = Some(deadline);
            self.signal.notify_one();
        }
        Ok(())
    }

    pub(super) fn deregister(
        &self,
        owner: &Owner,
        namespace: &str,
        service: &Service,
        force: bool,
    ) -> Result<()> {
        let mut state = self.lock();
        state.party(owner)?;
        state.deregister(owner.id, namespace, service, force)
    }

    pub(super) fn watch(&self, owner: &Owner, topic: Topic) -> Result<Watcher> {
        Handle::try_current().map_err(|_| no_runtime())?;
        let mut state = self.lock();
        state.party(owner)?;
        Ok(state.view.watch(topic, owner.id.into()))
    }

    pub(super) fn close(&self, owner: &Owner) {
        if owner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.lock();
        let State { view, leases, .. } = &*state;
        let own = view.iter().filter(|(.., entry)| {
            leases
                .get(*entry.tag)
                .is_some_and(|lease| lease.owner == owner.id)
        });
        let gone = own
            .map(|(namespace, name, entry)| {
                (
                    Arc::clone(namespace),
                    Arc::clone(name),
                    Arc::clone(&entry.node.id),
                )
            })
            .collect();
        state.remove(gone);
        state.owners.remove(&owner.id);
        state.view.end_watches(owner.id.into());
    }

    /// Forgets an owner whose handle is gone, as soon as nothing is left of it.
    pub(super) fn leave(&self, owner: &Owner) {
        let mut state = self.lock();
        if let Some(party) = state.owners.get_mut(&owner.id) {
            party.left = true;
            if party.leases == 0 {
                state.owners.remove(&owner.id);
            }
        }
    }

    /// Notes leases that may have run out, up to a number; gives the time to look again, which is
    /// `now` if there may be more.
    pub(super) fn gather(&self, now: Instant, due: &mut Due) -> Option<Instant> {
        self.lock().gather(now, due)
    }

    /// Ends those leases of one service that have run out.
    pub(super) fn expire(&self, now: Instant, namespace: &str, name: &str, due: &[(u32, u32)]) {
        self.lock().expire(now, namespace, name, due);
    }

    #[cfg(test)]
    pub(super) fn deadlines(&self) -> usize {
        self.lock().deadlines.len()
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> usize {
        self.lock().owners.len()
    }

    /// Every change is whole before anything can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.signal.notify_one();
    }
}

impl Owner {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Lease {
    /// Whether it holds just the nodes of `service`, as the owner registered them.
    fn fits(&self, owner: u32, service: &Service, ttl: Option<Duration>) -> bool {
        let nodes = self.nodes as usize;
        self.owner == owner
            && self.service.ttl == ttl
            && nodes == service.nodes.len()
            && nodes == self.service.nodes.len()
    }

    fn renew(&mut self) {
        self.deadline = self.service.ttl.map(|ttl| Instant::now() + ttl);
    }
}

impl Party {
    fn check_not_lost(&self, namespace: &str, service: &Service) -> Result<()> {
        if self.lost.is_empty() {
            return Ok(());
        }
        let mut ids = service.nodes.iter().map(|node| Arc::clone(&node.id));
        let lost = |id: &Arc<str>| {
            let node = reference(namespace, service, Arc::clone(id));
            self.lost.contains(&node)
        };
        match ids.find(lost) {
            Some(id) => Err(Error::Replaced {
                name: Arc::clone(&service.name),
                id,
            }),
            None => Ok(()),
        }
    }
}

impl State {
    /// Whoever was closed meanwhile is not known any more: nothing would ever end what it still
    /// began.
    fn party(&self, owner: &Owner) -> Result<&Party> {
        self.owners.get(&owner.id).ok_or(Error::Closed)
    }

    /// Gives the deadline of a new lease.
    fn register(
        &mut self,
        owner: u32,
        namespace: &Arc<str>,
        service: &Arc<Service>,
        ttl: Option<Duration>,
    ) -> Option<Instant> {
        let source = if service.ttl == ttl {
            Arc::clone(service)
        } else {
            Arc::new(Service {
                ttl,
                ..Service::clone(service)
            })
        };
        let Self {
            view,
            leases,
            owners,
            ..
        } = self;
        let mut edit = view.edit(Arc::clone(namespace), Arc::clone(&source.name));
        if let Some(key) = same_lease(&edit, leases, owner, &source, ttl) {
            leases[key].renew();
            return None;
        }
        self.last += 1;
        let mut lease = Lease {
            // Four thousand million changes later a stale deadline might be taken for a true one,
            // and would then be found not to have come.
            number: self.last as u32,
            owner,
            nodes: u32::try_from(source.nodes.len()).unwrap_or(u32::MAX),
            service: Arc::clone(&source),
            deadline: None,
        };
        lease.renew();
        let (number, deadline) = (lease.number, lease.deadline);
        let key = leases.insert(lease);
        let replaced = put(&mut edit, leases, owners, key, self.last);
        edit.commit();
        if let Some(party) = owners.get_mut(&owner) {
            party.leases += 1;
        }
        if let Some(deadline) = deadline {
            self.timed += 1;
            self.deadlines.push(Reverse((deadline, number, key as u32)));
        }
        self.registrations.set(self.view.node_count());
        replaced.into_iter().for_each(|key| self.release(key));
        self.forget_stale_deadlines();
        deadline
    }

    fn deregister(
        &mut self,
        owner: u32,
        namespace: &str,
        service: &Service,
        force: bool,
    ) -> Result<()> {
        let name = &service.name;
        let holder = |tag: &usize| self.leases.get(*tag).map(|lease| lease.owner);
        let mut gone = Vec::new();
        if service.nodes.is_empty() {
            let nodes = self
                .view
                .nodes(namespace, name)
                .filter(|entry| entry.source.version == service.version);
            let ended = nodes.filter(|entry| force || holder(entry.tag) == Some(owner));
            gone.extend(ended.map(|entry| Arc::clone(&entry.node.id)));
        }
        for node in &service.nodes {
            let known = self.view.get(namespace, name, &node.id);
            let Some(known) = known.filter(|known| known.source.version == service.version) else {
                continue;
            };
            if force || holder(known.tag) == Some(owner) {
                gone.push(Arc::clone(&node.id));
            } else if !self.has_lost(owner, &reference(namespace, service, Arc::clone(&node.id))) {
                return Err(Error::NotOwner {
                    name: Arc::clone(name),
                    id: Arc::clone(&node.id),
                });
            }
        }
        if let Some(Party { lost, .. }) = self.owners.get_mut(&owner) {
            let all = service.nodes.is_empty();
            lost.retain(|node| {
                let named = all || service.nodes.get(&node.id).is_some();
                !(named && *node.namespace == *namespace && node.service == *name)
            });
        }
        let namespace: Arc<str> = namespace.into();
        self.remove(
            gone.into_iter()
                .map(|id| (Arc::clone(&namespace), Arc::clone(name), id))
                .collect(),
        );
        Ok(())
    }

    fn has_lost(&self, owner: u32, node: &NodeRef) -> bool {
        self.owners
            .get(&owner)
            .is_some_and(|party| party.lost.contains(node))
    }

    fn gather(&mut self, now: Instant, due: &mut Due) -> Option<Instant> {
        for _ in 0..BATCH {
            let next = self.deadlines.peek().map(|&Reverse(next)| next);
            let Some((_, number, key)) = next.filter(|(at, ..)| *at <= now) else {
                self.wakes = next.map(|(at, ..)| at);
                return self.wakes;
            };
            self.deadlines.pop();
            let lease = known(&self.leases, number, key);
            let Some((lease, deadline)) = lease.and_then(|lease| Some((lease, lease.deadline?)))
            else {
                continue;
            };
            if deadline > now {
                self.deadlines.push(Reverse((deadline, number, key)));
            } else {
                let service = (
                    Arc::clone(namespace(&self.owners, lease)),
                    Arc::clone(&lease.service.name),
                );
                due.entry(service).or_default().push((number, key));
            }
        }
        Some(now)
    }

    fn expire(&mut self, now: Instant, namespace: &str, name: &str, due: &[(u32, u32)]) {
        let mut released = Vec::new();
        let mut edit = self.view.edit(namespace, name);
        for &(number, key) in due {
            let lease = known(&self.leases, number, key);
            let Some((lease, deadline)) = lease.and_then(|lease| Some((lease, lease.deadline?)))
            else {
                continue;
            };
            if deadline > now {
                self.deadlines.push(Reverse((deadline, number, key)));
                continue;
            }
            for node in &lease.service.nodes {
                if edit.tag(&node.id) == Some(&(key as usize)) {
                    released.extend(edit.remove(&node.id));
                }
            }
        }
        edit.commit();
        self.registrations.set(self.view.node_count());
        if !released.is_empty() {
            TELEMETRY.expired(released.len() as u64);
        }
        released.into_iter().for_each(|key| self.release(key));
    }

    /// Takes nodes out that were deregistered, each service's in one go.
    fn remove(&mut self, gone: Vec<(Arc<str>, Arc<str>, Arc<str>)>) {
        let mut services = HashMap::<_, Vec<_>>::new();
        for (namespace, name, id) in gone {
            services.entry((namespace, name)).or_default().push(id);
        }
        for ((namespace, name), ids) in services {
            let mut edit = self.view.edit(&*namespace, &*name);
            let released: Vec<_> = ids.iter().filter_map(|id| edit.deregister(id)).collect();
            edit.commit();
            released.into_iter().for_each(|key| self.release(key));
        }
        self.registrations.set(self.view.node_count());
    }

    /// Takes one node from a lease, and the lease away with its last one.
    fn release(&mut self, key: usize) {
        let Some(lease) = self.leases.get_mut(key) else {
            return;
        };
        lease.nodes -= 1;
        if lease.nodes > 0 {
            return;
        }
        let Lease {
            owner, deadline, ..
        } = self.leases.remove(key);
        self.timed -= usize::from(deadline.is_some());
        if let Some(party) = self.owners.get_mut(&owner) {
            party.leases -= 1;
            if party.leases == 0 && party.left {
                self.owners.remove(&owner);
            }
        }
    }

    /// Keeps registrations that change all the time from piling up deadlines until those come.
    fn forget_stale_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.timed + 64 {
            let leases = &self.leases;
            self.deadlines
                .retain(|&Reverse((_, number, key))| known(leases, number, key).is_some());
        }
    }
}

fn no_runtime() -> Error {
    Error::unavailable(NAME, "there is no tokio runtime; call it from within one")
}

/// The lease that a deadline was noted for, if it is still held.
fn known(leases: &Slab<Lease>, number: u32, key: u32) -> Option<&Lease> {
    leases
        .get(key as usize)
        .filter(|lease| lease.number == number)
}

fn namespace<'a>(owners: &'a Owners, lease: &'a Lease) -> &'a Arc<str> {
    let own = &lease.service.namespace;
    match owners.get(&lease.owner) {
        Some(party) if own.is_empty() => &party.namespace,
        _ => own,
    }
}

/// Enters the nodes of a new lease; gives the leases that held them before.
fn put(
    edit: &mut Edit<'_, usize>,
    leases: &Slab<Lease>,
    owners: &mut Owners,
    key: usize,
    number: u64,
) -> Vec<usize> {
    let Lease { owner, service, .. } = &leases[key];
    let mut replaced = Vec::new();
    for node in &service.nodes {
        let mut changed = number;
        if let Some(known) = edit.get(&node.id) {
            let holder = leases.get(*known.tag).map_or(*owner, |lease| lease.owner);
            if holder != *owner {
                let namespace = namespace(owners, &leases[key]);
                let node = reference(namespace, service, Arc::clone(&node.id));
                if let Some(loser) = owners.get_mut(&holder) {
                    loser.lost.insert(node);
                }
            } else if same(&known, node, service) {
                changed = known.changed;
            }
            replaced.push(*known.tag);
        }
        edit.put(Entry {
            source: Arc::clone(service),
            node: Arc::clone(node),
            changed,
            tag: key,
        });
    }
    replaced
}

/// The lease that holds just these nodes, all unchanged.
fn same_lease(
    edit: &Edit<'_, usize>,
    leases: &Slab<Lease>,
    owner: u32,
    source: &Service,
    ttl: Option<Duration>,
) -> Option<usize> {
    let key = *edit.tag(&source.nodes.nth(0)?.id)?;
    leases
        .get(key)
        .filter(|lease| lease.fits(owner, source, ttl))?;
    let unchanged = |node: &Arc<Node>| {
        edit.get(&node.id)
            .is_some_and(|entry| *entry.tag == key && same(&entry, node, source))
    };
    source.nodes.iter().all(unchanged).then_some(key)
}

fn reference(namespace: &str, service: &Service, id: Arc<str>) -> NodeRef {
    NodeRef::new(Arc::clone(&service.name), id).with_namespace(namespace)
}

/// Whether the node was registered before with the same content.
fn same(known: &Entry<&usize>, node: &Node, source: &Service) -> bool {
    *known.node == *node
        && known.source.version == source.version
        && known.source.same_fields(source)
}
