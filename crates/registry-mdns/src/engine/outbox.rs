//! Packets on their way out, at a pace that receivers can follow.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::{Duration, Instant},
};

use super::{Destination, Transmit, links::LinkId, timers::Alarm};

/// So many packets go to one destination in one [`WINDOW`]: receive buffers are small.
const BURST: u32 = 64;
const WINDOW: Duration = Duration::from_millis(2);
/// Bytes a second to one asker in the long run, and how many at once (a spoofed source must not
/// make a weapon of this).
const BYTES_PER_SECOND: u64 = 64 * 1024;
const BYTES_AT_ONCE: u64 = 1024 * 1024;
/// Askers to keep accounts of at a time.
const MAX_FLOWS: usize = 1_024;

type Flows = HashMap<(LinkId, Destination), Flow>;

/// Packets to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Transmit>,
    delayed: Vec<(Instant, Transmit)>,
    flows: Flows,
    pub(super) alarm: Alarm,
    pub(super) sent: u64,
    pub(super) throttled: u64,
}

#[derive(Debug)]
struct Flow {
    waiting: VecDeque<Transmit>,
    window: Instant,
    in_window: u32,
    spent: u64,
    since: Instant,
}

impl Outbox {
    /// Sends a packet as soon as its destination can take it.
    pub(super) fn push(&mut self, now: Instant, transmit: Transmit) {
        let key = ((transmit.interface, transmit.family), transmit.to);
        let full = self.flows.len() >= MAX_FLOWS;
        let flow = match self.flows.entry(key) {
            Entry::Occupied(flow) => flow.into_mut(),
            Entry::Vacant(_) if full => {
                self.throttled += 1;
                return;
            }
            Entry::Vacant(vacant) => vacant.insert(Flow::new(now)),
        };
        if matches!(transmit.to, Destination::Unicast(_))
            && !flow.afford(now, transmit.payload.len())
        {
            self.throttled += 1;
        } else if flow.waiting.is_empty() && flow.has_room(now) {
            flow.in_window += 1;
            self.sent += 1;
            self.ready.push_back(transmit);
        } else {
            flow.waiting.push_back(transmit);
        }
    }

    /// Sends a packet at a time to come.
    pub(super) fn push_later(&mut self, at: Instant, transmit: Transmit) {
        self.delayed.push((at, transmit));
    }

    /// Lets go what may go now.
    pub(super) fn advance(&mut self, now: Instant) {
        let due = |delayed: &mut (Instant, Transmit)| delayed.0 <= now;
        let due: Vec<_> = self.delayed.extract_if(.., due).collect();
        for (_, transmit) in due {
            self.push(now, transmit);
        }
        self.flows.retain(|_, flow| {
            while !flow.waiting.is_empty()
                && flow.has_room(now)
                && let Some(transmit) = flow.waiting.pop_front()
            {
                flow.in_window += 1;
                self.sent += 1;
                self.ready.push_back(transmit);
            }
            !flow.is_idle(now)
        });
    }

    pub(super) fn pop(&mut self) -> Option<Transmit> {
        self.ready.pop_front()
    }

    /// When to call [`advance`](Self::advance).
    pub(super) fn next(&self) -> Option<Instant> {
        let delayed = self.delayed.iter().map(|(at, _)| *at).min();
        let waiting = |flow: &Flow| match flow.waiting.is_empty() {
            true => flow.idle_at(),
            false => flow.window + WINDOW,
        };
        delayed
            .into_iter()
            .chain(self.flows.values().map(waiting))
            .min()
    }
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            window: now,
            in_window: 0,
            spent: 0,
            since: now,
        }
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if now >= self.window + WINDOW {
            self.window = now;
            self.in_window = 0;
        }
        self.in_window < BURST
    }

    fn afford(&mut self, now: Instant, bytes: usize) -> bool {
        let earned = (now - self.since).as_micros() as u64 * BYTES_PER_SECOND / 1_000_000;
        self.spent = self.spent.saturating_sub(earned);
        self.since = now;
        let spent = self.spent + bytes as u64;
        let affordable = spent <= BYTES_AT_ONCE;
        if affordable {
            self.spent = spent;
        }
        affordable
    }

    fn idle_at(&self) -> Instant {
        let earned = Duration::from_micros(self.spent * 1_000_000 / BYTES_PER_SECOND);
        (self.window + WINDOW).max(self.since + earned)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty() && now >= self.idle_at()
    }
}
