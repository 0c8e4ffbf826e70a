//! What calls want of keys: that a value stands there, or that it is gone.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use vine_registry::{Error, NodeRef, Result, Service};

use super::{
    Call, Farewell, State, Written,
    entry::{Entry, Group, Want, clash, replaced},
};
use crate::{
    TELEMETRY,
    own::{batch::Batch, lease::Lease},
    value,
};

impl State {
    /// Answers a call that says nothing new without asking the cluster; none if it has to be asked.
    pub(in crate::own) fn repeat(
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
        if lease.is_abandoned(now) {
            return None;
        }
        match lease.trouble(now) {
            Some(error) => Some(Err(error)),
            None => (group.unsettled == 0).then_some(Ok(())),
        }
    }

    /// Wants what a call says, all of it at once. Gives what to wait for.
    pub(in crate::own) fn register(&mut self, call: Call, now: Instant) -> Result<Arc<Batch>> {
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
        for Written { node, key, value } in nodes {
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
            let at = self.want(reference, key, want, epoch, now)?;
            self.wait(at, &batch);
        }
        batch.seal();
        self.forget_stale_deadlines();
        Ok(batch)
    }

    fn check(&self, call: &Call) -> Result<()> {
        if self.closed {
            return Err(Error::Closed);
        }
        let name = &call.source.name;
        for Written { node, key, .. } in &call.nodes {
            if let Some(entry) = self
                .find(&call.namespace, name, &node.id)
                .and_then(|at| self.entries.get(at))
                && entry.lost
            {
                return Err(replaced(&entry.node));
            }
            if let Some(entry) = self.by_key(key).and_then(|at| self.entries.get(at))
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
    fn want(
        &mut self,
        node: NodeRef,
        key: Bytes,
        mut want: Want,
        epoch: u64,
        now: Instant,
    ) -> Result<usize> {
        let group = want.group;
        let Some(at) = self.find(&node.namespace, &node.service, &node.id) else {
            let at = self.add(node, key, epoch, now);
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

    fn add(&mut self, node: NodeRef, key: Bytes, epoch: u64, now: Instant) -> usize {
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
    pub(super) fn unwant(&mut self, at: usize, now: Instant) -> Option<Want> {
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
    pub(in crate::own) fn held(
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
    pub(in crate::own) fn deregister(&mut self, held: &[usize], now: Instant) -> Arc<Batch> {
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
                    // In an outage the same is asked again and again.
                    entry.waiters.retain(|batch| batch.strong_count() > 0);
                    entry.waiters.push(Arc::downgrade(batch));
                }
            }
        }
    }

    /// Ends what was not renewed in time; gives the time to look again.
    pub(in crate::own) fn expire(&mut self, now: Instant) -> Option<Instant> {
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

    /// Keeps calls that are made again and again from piling up deadlines until those come.
    fn forget_stale_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.groups.len() + 64 {
            let groups = &self.groups;
            self.deadlines.retain(|&Reverse((_, group, number))| {
                groups
                    .get(group)
                    .is_some_and(|known| known.number == number)
            });
        }
    }

    fn end_group(&mut self, group: usize, now: Instant) {
        let Some(known) = self.groups.get(group) else {
            return;
        };
        let (service, namespace) = (Arc::clone(&known.service), Arc::clone(&known.namespace));
        let mut ended = 0;
        for node in &service.nodes {
            let Some(at) = self.find(&namespace, &service.name, &node.id) else {
                continue;
            };
            let entry = self.entries.get(at);
            let want = entry.and_then(|entry| entry.want.as_ref());
            if want.is_some_and(|want| want.group == group) {
                self.unwant(at, now);
                ended += 1;
            }
        }
        TELEMETRY.expired(ended);
    }

    /// Since when a call's nodes are not as wanted although they were before.
    pub(in crate::own) fn is_restoring(&self, namespace: &str, service: &Service) -> bool {
        let ids = service
            .nodes
            .iter()
            .filter_map(|node| self.find(namespace, &service.name, &node.id));
        ids.filter_map(|at| self.entries.get(at))
            .any(|entry| entry.established && !entry.settled && entry.want.is_some())
    }

    /// Fails whoever waits. Gives what to say at the keys before they are gone.
    pub(in crate::own) fn close(&mut self) -> Vec<Farewell> {
        let farewells = match self.closed {
            true => Vec::new(),
            false => self.farewells(),
        };
        self.closed = true;
        for (_, entry) in &mut self.entries {
            self.ended.extend(entry.fail(&Error::Closed));
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
    pub(super) fn leave(&mut self, group: usize, settled: bool) {
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
}
