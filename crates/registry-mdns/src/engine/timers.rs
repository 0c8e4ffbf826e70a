//! Deadlines.

use std::{cmp::Ordering, collections::BinaryHeap, net::SocketAddr, time::Instant};

use super::{LookupId, NodeKey, links::LinkId};
use crate::{codec::Name, mapping::Digest};

/// What is to be looked after when its time has come.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// A registration: probes, announcements, its end.
    Own(NodeKey),
    /// Goodbyes that are said again.
    Goodbyes,
    /// What is known of an instance: refresh and expiry.
    Instance(Name),
    /// The addresses of a host.
    Host(Name),
    /// A standing question.
    Topic(Name),
    /// A look-up.
    Lookup(LookupId),
    /// Answers that wait to be multicast on a link.
    Answers(LinkId),
    /// A question that came in several packets.
    Deferred(SocketAddr),
    /// A blob that is fetched.
    Blob(Digest),
    /// Packets that wait for their turn.
    Outbox,
}

/// The deadlines of an engine, the earliest first.
#[derive(Debug)]
pub(super) struct Timers<T = Timer> {
    heap: BinaryHeap<Entry<T>>,
    order: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            order: 0,
        }
    }
}

/// The one deadline of something: whoever holds it decides again when it rings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarm(Option<Instant>);

impl Alarm {
    /// Whether it is to ring at `at`.
    pub(super) fn is_set(self, at: Instant) -> bool {
        self.0 == Some(at)
    }

    /// Whether a deadline that has come is this one. Those that were brought forward still come.
    pub(super) fn rings(&mut self, at: Instant) -> bool {
        let rings = self.0 == Some(at);
        if rings {
            self.0 = None;
        }
        rings
    }
}

impl<T> Timers<T> {
    /// Sees to it that `alarm` rings by `at`; it may ring before.
    pub(super) fn set(&mut self, alarm: &mut Alarm, at: Instant, timer: impl FnOnce() -> T) {
        if alarm.0.is_none_or(|armed| at < armed) {
            alarm.0 = Some(at);
            self.order += 1;
            self.heap.push(Entry {
                at,
                order: self.order,
                timer: timer(),
            });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops the deadlines of what is no more.
    pub(super) fn retain(&mut self, is_set: impl Fn(Instant, &T) -> bool) {
        self.heap.retain(|entry| is_set(entry.at, &entry.timer));
    }

    /// The earliest deadline; it may turn out that nothing is to be done.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the earliest deadline that has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.timer))
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    /// Deadlines of the same time come in the order in which they were set.
    order: u64,
    timer: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Entry<T> {}
