//! What became of what was asked for.

use std::{cmp::Reverse, time::Duration};

use tokio::time::Instant;
use vine_registry::Error;

use super::{
    Occupant, Put, State,
    entry::{clash, replaced},
};
use crate::{AFTER_DENIAL, TELEMETRY, client::Failure, own::lease::Lease, value};

/// How long a put may still take effect whose fate is not known.
const UNSURE: Duration = Duration::from_secs(10);

/// After a lease was lost, each key has a turn of its own. With more keys than these they start
/// together: putting them takes a while anyway.
const MANY: usize = 1000;

impl State {
    /// Takes in that some put may take effect still.
    pub(in crate::own) fn doubt(&mut self, at: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.unsure = Some(now + UNSURE);
            self.later.push(Reverse((now + UNSURE, at)));
        }
    }

    /// Takes in what became of a put.
    pub(in crate::own) fn put(&mut self, at: usize, wish: u64, put: Put, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.busy = false;
        let first = std::mem::replace(&mut entry.untried, false) && entry.unsure.is_none();
        match put {
            Put::Done(revision) => {
                self.note_write(at, revision, now);
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
            // Of two that can't be later, the leases decide, as both see it.
            entry.epoch = occupant.epoch.saturating_add(1);
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
    pub(in crate::own) fn deleted(
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
        self.note_write(at, revision, now);
        if is_done {
            self.settle(at, now);
        } else {
            self.enqueue(at);
        }
    }

    /// Takes in that a request was not answered, or was refused.
    pub(in crate::own) fn failed(&mut self, at: usize, failure: &Failure, now: Instant) {
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
        self.ended.extend(entry.fail(&error));
        if denied {
            self.deny(at, error, now);
        } else {
            self.enqueue(at);
        }
    }

    /// Only somebody who manages the cluster can help: it is left alone for a while.
    fn deny(&mut self, at: usize, error: Error, now: Instant) {
        let again = now + self.after_denial();
        if let Some(entry) = self.entries.get_mut(at) {
            entry.refusal = Some(error);
            self.later.push(Reverse((again, at)));
        }
    }

    /// How long to leave a cluster alone that denies permission: so long that it does not notice,
    /// and so short that everything is back within a ttl once the permission is.
    pub(in crate::own) fn after_denial(&self) -> Duration {
        let ttl = self.leases.values().map(Lease::ttl).min();
        let longest = ttl.map_or(AFTER_DENIAL, |ttl| (ttl / 3).min(AFTER_DENIAL));
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Takes in that the lease of a put was gone.
    pub(in crate::own) fn lease_gone(&mut self, at: usize, lease: i64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.busy = false;
            self.enqueue(at);
        }
        self.lose_lease(lease, now);
    }

    /// Takes in that the cluster lets nobody look at these keys.
    pub(in crate::own) fn refused(&mut self, keys: &[usize], failure: &Failure, now: Instant) {
        for &at in keys {
            self.distrust(at, now);
            if let Some(entry) = self.entries.get_mut(at) {
                entry.refusal = Some(failure.clone().into());
            }
        }
    }

    /// Takes in that somebody changed a key, in this revision.
    pub(in crate::own) fn changed(&mut self, at: usize, revision: i64, now: Instant) {
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
    pub(in crate::own) fn distrust(&mut self, at: usize, now: Instant) {
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

    /// Takes in that whoever did all this is gone, in the middle of it, and somebody else goes on.
    pub(in crate::own) fn adopted(&mut self, now: Instant) {
        for lease in self.leases.values_mut() {
            lease.adopted(now);
        }
        let all: Vec<_> = self.entries.iter().map(|(at, _)| at).collect();
        for at in all {
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            let is_wanted = entry.want.is_some();
            if std::mem::take(&mut entry.busy) {
                entry.untried = false;
                self.doubt(at, now);
                self.enqueue(at);
            }
            if is_wanted {
                self.distrust(at, now);
            }
        }
    }

    /// Puts everything again that a lease held. Other processes may do so at the same time.
    pub(in crate::own) fn lose_lease(&mut self, id: i64, now: Instant) {
        let Some(lease) = self.leases.values_mut().find(|lease| lease.id == id) else {
            return;
        };
        let (ttl, spread) = (lease.seconds, lease.spread());
        TELEMETRY.lease_lost();
        let held = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.want.as_ref().is_some_and(|want| want.ttl == ttl));
        let held: Vec<_> = held.map(|(at, _)| at).collect();
        let by_chance = || now + spread.mul_f64(fastrand::f64());
        let is_many = held.len() > MANY;
        if let Some(lease) = self.leases.get_mut(&ttl) {
            lease.renew(if is_many { by_chance() } else { now });
        }
        for at in held {
            self.distrust(at, now);
            // What never stood there somebody waits for.
            let entry = self.entries.get_mut(at);
            if let Some(entry) = entry.filter(|entry| !is_many && entry.established) {
                let turn = by_chance();
                entry.turn = Some(turn);
                self.later.push(Reverse((turn, at)));
            }
        }
    }

    /// Takes in that the cluster is back at an earlier revision. Its leases may hold keys that were
    /// ended since: others take their place, and they run out.
    pub(in crate::own) fn rolled_back(&mut self, revision: i64, now: Instant) {
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
    pub(in crate::own) fn granted(&mut self, ttl: u64, id: i64, now: Instant) {
        let Some(lease) = self.leases.get_mut(&ttl).filter(|lease| lease.id == id) else {
            return;
        };
        lease.granted(now);
        for at in std::mem::take(&mut lease.waiting) {
            self.enqueue(at);
        }
    }

    /// Tells those who wait for a lease that it can't be had.
    pub(in crate::own) fn not_granted(&mut self, ttl: u64, failure: &Failure, now: Instant) {
        let Some(lease) = self.leases.get_mut(&ttl) else {
            return;
        };
        lease.granting = false;
        let error = Error::from(failure.clone());
        for at in std::mem::take(&mut lease.waiting) {
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            if error.is_retryable() {
                self.ended.extend(entry.fail(&error));
                self.enqueue(at);
            } else if entry.established {
                self.ended.extend(entry.fail(&error));
                self.deny(at, error.clone(), now);
            } else {
                self.give_up(at, &error, now);
            }
        }
    }

    pub(super) fn settle(&mut self, at: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        self.ended
            .extend(entry.waited_for().filter(|batch| batch.done()));
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
    pub(in crate::own) fn lose(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let error = replaced(&entry.node);
        entry.lost = true;
        self.ended.extend(entry.fail(&error));
        let settled = std::mem::replace(&mut entry.settled, false);
        if let Some(want) = entry.want.take() {
            self.leave(want.group, settled);
        }
    }

    /// It can't be registered: as if it had never been asked.
    pub(in crate::own) fn give_up(&mut self, at: usize, error: &Error, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        self.ended.extend(entry.fail(error));
        let untouched = entry.untried || entry.unsure.is_none() && !entry.established;
        if entry.want.is_none() {
            return;
        }
        self.unwant(at, now);
        if untouched {
            self.settle(at, now);
        }
    }
}
