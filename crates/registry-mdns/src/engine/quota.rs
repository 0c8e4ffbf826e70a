//! Room for those who are there: what to forget first when there is too much.
//!
//! Who was heard of again after a minute stays. Of the others, the host that has brought the most
//! has to give way to one that has brought less: so a flood of names crowds itself out, and not
//! the nodes that come meanwhile.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::{Duration, Instant},
};

use super::{
    Ending, Engine,
    intake::{Origin, Said},
    lease::Lease,
};
use crate::{codec::Name, mapping::Facts};

/// Who is heard of again after so long is no flood.
const PROBATION: Duration = Duration::from_secs(60);
/// When what found no room is asked for again.
pub(super) const RETRY: Duration = Duration::from_secs(30);
/// About what is kept of a node beside what it says.
pub(super) const BASE: usize = 1_024;

/// What the nodes that have not proven themselves take, by the host that brought them.
#[derive(Debug)]
pub(super) struct Quota<K> {
    hosts: HashMap<u32, Account<K>, foldhash::fast::RandomState>,
    /// The hosts by how many there are of each, and by what they take: who makes one node come after the
    /// other, from ever new addresses, must not have all be looked through for each.
    by_count: BTreeSet<(usize, u32)>,
    by_bytes: BTreeSet<(usize, u32)>,
    /// About how many bytes all nodes take.
    pub(super) total: usize,
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self {
            hosts: HashMap::default(),
            by_count: BTreeSet::new(),
            by_bytes: BTreeSet::new(),
            total: 0,
        }
    }
}

#[derive(Debug)]
struct Account<K> {
    /// How many there are, and their names, among which may be some that are gone.
    count: usize,
    names: Vec<K>,
    bytes: usize,
}

impl<K> Default for Account<K> {
    fn default() -> Self {
        Self {
            count: 0,
            names: Vec::new(),
            bytes: 0,
        }
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Excess {
    Nodes,
    /// By so many bytes more than its host takes already.
    Bytes(usize),
}

/// What a node takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub(super) bytes: usize,
    since: Instant,
    /// Who brought it, until it has proven itself.
    host: Option<u32>,
}

impl Charge {
    /// Who brought it, if it has not proven itself.
    pub(super) fn host(&self) -> Option<u32> {
        self.host
    }

    fn is_of(&self, host: u32) -> bool {
        self.host == Some(host)
    }
}

impl<K: Clone + Eq + Hash> Quota<K> {
    /// Charges a host for something new; `charges` finds what is there by its name.
    pub(super) fn charge<'a>(
        &mut self,
        now: Instant,
        name: &K,
        host: u32,
        bytes: usize,
        charges: impl Fn(&K) -> Option<&'a Charge>,
    ) -> Charge {
        self.total += bytes;
        self.change(host, |account| {
            account.count += 1;
            account.bytes += bytes;
            account.names.push(name.clone());
            if account.names.len() > 2 * account.count + 64 {
                let is_here = |other: &K| charges(other).is_some_and(|charge| charge.is_of(host));
                // What comes and goes has left its name each time.
                let mut seen = HashSet::new();
                account.names.retain(|other| {
                    (other == name || is_here(other)) && seen.insert(other.clone())
                });
            }
        });
        Charge {
            bytes,
            since: now,
            host: Some(host),
        }
    }

    /// Charges for what something takes now, and sees whether it has proven itself.
    pub(super) fn recharge(&mut self, now: Instant, charge: &mut Charge, bytes: usize) {
        let before = std::mem::replace(&mut charge.bytes, bytes);
        self.total = self.total - before + bytes;
        if let Some(host) = charge.host.filter(|_| bytes != before) {
            self.change(host, |account| {
                account.bytes = account.bytes - before + bytes;
            });
        }
        if now >= charge.since + PROBATION
            && let Some(host) = charge.host.take()
        {
            self.leave(host, bytes);
        }
    }

    /// How many names are remembered.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        let accounts = self.hosts.values();
        accounts.map(|account| account.names.len()).sum()
    }

    pub(super) fn release(&mut self, charge: &Charge) {
        self.total -= charge.bytes;
        if let Some(host) = charge.host {
            self.leave(host, charge.bytes);
        }
    }

    fn leave(&mut self, host: u32, bytes: usize) {
        self.change(host, |account| {
            account.count -= 1;
            account.bytes -= bytes;
        });
    }

    fn change(&mut self, host: u32, change: impl FnOnce(&mut Account<K>)) {
        let account = self.hosts.entry(host).or_default();
        self.by_count.remove(&(account.count, host));
        self.by_bytes.remove(&(account.bytes, host));
        change(account);
        if account.count == 0 {
            self.hosts.remove(&host);
        } else {
            self.by_count.insert((account.count, host));
            self.by_bytes.insert((account.bytes, host));
        }
    }

    /// Who has to give way: something of the host that has brought the most, if that is more than
    /// this one has with what it brings now.
    pub(super) fn victim<'a>(
        &mut self,
        by: u32,
        excess: Excess,
        charges: impl Fn(&K) -> Option<&'a Charge>,
    ) -> Option<K> {
        let own = self.hosts.get(&by);
        let (greediest, own, more) = match excess {
            Excess::Nodes => (self.by_count.last(), own.map(|own| own.count), 1),
            Excess::Bytes(more) => (self.by_bytes.last(), own.map(|own| own.bytes), more),
        };
        let (most, host) = *greediest?;
        if host == by || most <= own.unwrap_or_default() + more {
            return None;
        }
        let names = &mut self.hosts.get_mut(&host)?.names;
        let is_here = |name: &K| charges(name).is_some_and(|charge| charge.is_of(host));
        while let Some(name) = names.pop() {
            if is_here(&name) {
                return Some(name);
            }
        }
        None
    }
}

impl Engine {
    /// Makes room for a new instance and charges it; none if it is not entitled to any.
    pub(super) fn make_room(
        &mut self,
        now: Instant,
        name: &Name,
        origin: &Origin,
    ) -> Option<Charge> {
        let host = origin.by.host;
        loop {
            let excess = if self.cache.instances.len() >= self.config.max_nodes {
                Excess::Nodes
            } else if self.quota.total + BASE > self.config.max_memory {
                Excess::Bytes(BASE)
            } else {
                break;
            };
            if !self.evict(host, excess) {
                self.counters.refused += 1;
                return None;
            }
        }
        let instances = &self.cache.instances;
        let charges = |name: &Name| instances.get(name).map(|known| &known.charge);
        Some(self.quota.charge(now, name, host, BASE, charges))
    }

    /// Forgets an instance of the host that has brought the most, if that is more than this one
    /// has.
    fn evict(&mut self, by: u32, excess: Excess) -> bool {
        let instances = &self.cache.instances;
        let charges = |name: &Name| instances.get(name).map(|known| &known.charge);
        let Some(name) = self.quota.victim(by, excess, charges) else {
            return false;
        };
        self.forget_instance(&name, Ending::Lost);
        self.counters.refused += 1;
        true
    }

    /// Makes room for what an instance says now, charges it for that, and sees whether it has proven
    /// itself; false if it is not entitled to so much, and it stays charged as it was.
    pub(super) fn recharge(&mut self, now: Instant, name: &Name, by: u32, bytes: usize) -> bool {
        loop {
            let Some(instance) = self.cache.instances.get_mut(name) else {
                return false;
            };
            let before = instance.charge.bytes;
            if bytes <= before || self.quota.total - before + bytes <= self.config.max_memory {
                self.quota.recharge(now, &mut instance.charge, bytes);
                return true;
            }
            if !self.evict(by, Excess::Bytes(bytes - before)) {
                self.counters.refused += 1;
                return false;
            }
        }
    }

    /// There is no room for what an instance says: as long as that is so it stays the node that it
    /// was, if it was one.
    pub(super) fn hold(&mut self, now: Instant, name: &Name, said: &Said<'_>, origin: &Origin) {
        let lasting = |ttl| Lease::new(now, origin.ttl(ttl), self.jitter, origin.by);
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        if instance.node.is_none() {
            return self.forget_instance(name, Ending::Lost);
        }
        instance.is_behind = true;
        if let Some((srv, ttl)) = said.srv
            && let Some((held, lease)) = &mut instance.srv
            && held == srv
        {
            instance.trial = None;
            lease.renew(lasting(ttl), origin.is_weak());
            if let Some((known, (_, ttl))) = instance.txt.as_mut().zip(said.txt)
                && ttl > 0
            {
                known.lease.renew(lasting(ttl), origin.is_weak());
            }
        }
    }

    /// Asks again for what found no room, when there may be some.
    pub(super) fn ask_when_there_is_room(&mut self, now: Instant, name: &Name) {
        let instance = self.cache.instances.get(name);
        let pointers = instance.into_iter().flat_map(|known| &known.pointers);
        let topics: Vec<_> = pointers.map(|(topic, _)| topic.clone()).collect();
        for topic in topics {
            self.ask_by(&topic, now + RETRY);
        }
    }
}

/// What an instance takes whose TXT record is of so many bytes and says this.
pub(super) fn taken(txt: usize, facts: Option<&Facts>) -> usize {
    BASE + txt + facts.map_or(0, |facts| facts.weight)
}
