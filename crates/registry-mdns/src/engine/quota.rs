//! Room for those who are there: what to forget first when there is too much.
//!
//! Who was heard of again after a minute stays. Of the others, the host that has brought the most
//! has to give way to one that has brought less: so a flood of names crowds itself out, and not
//! the nodes that come meanwhile.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Ending, Engine, cache::Instance, intake::Origin};
use crate::{codec::Name, mapping::Facts};

/// Who is heard of again after so long is no flood.
const PROBATION: Duration = Duration::from_secs(60);
/// About what is kept of a node beside what it says.
const BASE: usize = 1_024;
/// About what a pair of metadata takes beside its text.
const PAIR: usize = 64;

/// What the nodes that have not proven themselves take, by the host that brought them.
#[derive(Debug, Default)]
pub(super) struct Quota {
    hosts: HashMap<u32, Account, foldhash::fast::RandomState>,
    /// About how many bytes all nodes take.
    pub(super) total: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// How many there are, and their names, among which may be some that are gone.
    count: usize,
    names: Vec<Name>,
}

/// What an instance takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    bytes: usize,
    since: Instant,
    /// Who brought it, until it has proven itself.
    host: Option<u32>,
}

impl Charge {
    fn is_of(&self, host: u32) -> bool {
        self.host == Some(host)
    }
}

impl Quota {
    fn count(&self, host: u32) -> usize {
        self.hosts.get(&host).map_or(0, |account| account.count)
    }

    fn leave(&mut self, host: u32) {
        if let Some(account) = self.hosts.get_mut(&host) {
            account.count -= 1;
            if account.count == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    pub(super) fn release(&mut self, charge: &Charge) {
        self.total -= charge.bytes;
        if let Some(host) = charge.host {
            self.leave(host);
        }
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
        while self.cache.instances.len() >= self.config.max_nodes
            || self.quota.total + BASE > self.config.max_memory
        {
            if !self.evict(host) {
                self.counters.refused += 1;
                return None;
            }
        }
        self.quota.total += BASE;
        let account = self.quota.hosts.entry(host).or_default();
        account.count += 1;
        account.names.push(name.clone());
        if account.names.len() > 2 * account.count + 64 {
            let instances = &self.cache.instances;
            let is_here = |known: &Instance| known.charge.is_of(host);
            let is_new = |other: &Name| other == name;
            account
                .names
                .retain(|name| is_new(name) || instances.get(name).is_some_and(is_here));
        }
        Some(Charge {
            bytes: BASE,
            since: now,
            host: Some(host),
        })
    }

    /// Forgets an instance of the host that has brought the most, if that is more than this one
    /// has.
    fn evict(&mut self, by: u32) -> bool {
        let accounts = self.quota.hosts.iter();
        let Some((&host, greediest)) = accounts.max_by_key(|(_, account)| account.count) else {
            return false;
        };
        if host == by || greediest.count <= self.quota.count(by) + 1 {
            return false;
        }
        while let Some(name) = self
            .quota
            .hosts
            .get_mut(&host)
            .and_then(|all| all.names.pop())
        {
            let known = self.cache.instances.get(&name);
            if known.is_some_and(|known| known.charge.is_of(host)) {
                self.forget_instance(&name, Ending::Lost);
                self.counters.refused += 1;
                return true;
            }
        }
        false
    }

    /// Charges an instance for what it says now, and sees whether it has proven itself. Gives
    /// whether it may stay.
    pub(super) fn recharge(&mut self, now: Instant, name: &Name, origin: &Origin) -> bool {
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return false;
        };
        let charge = &mut instance.charge;
        let bytes = instance.txt.as_ref().map_or(BASE, |txt| {
            BASE + txt.bytes.len() + txt.facts.as_deref().map_or(0, weight)
        });
        self.quota.total = self.quota.total - charge.bytes + bytes;
        charge.bytes = bytes;
        if now >= charge.since + PROBATION
            && let Some(host) = charge.host.take()
        {
            self.quota.leave(host);
        }
        while self.quota.total > self.config.max_memory {
            if !self.evict(origin.by.host) {
                self.counters.refused += 1;
                self.forget_instance(name, Ending::Lost);
                return false;
            }
        }
        true
    }
}

/// What was decoded and is not shared.
fn weight(facts: &Facts) -> usize {
    let pairs = facts
        .service_metadata
        .iter()
        .chain(facts.node_metadata.iter());
    pairs
        .map(|(key, value)| PAIR + key.len() + value.len())
        .sum()
}
