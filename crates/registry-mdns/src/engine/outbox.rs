//! Packets on their way out, at a pace that receivers can follow.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{Destination, Transmit, links::LinkId, packing::COMFORTABLE, timers::Alarm};

/// So many packets go to one destination in one [`WINDOW`]: receive buffers hold less than a hundred,
/// and who reads them may be kept from it for some milliseconds.
const BURST: u32 = 48;
const WINDOW: Duration = Duration::from_millis(2);
/// To one host in the long run, 64 KiB a second (a spoofed source must not make a weapon of this).
const TIME_FOR_A_BYTE: Duration = Duration::from_nanos(1_000_000_000 / (64 * 1024));
/// Bytes at once: so many, and for each registered node, so that all of them can be told.
const BYTES_AT_ONCE: u32 = 256 * 1024;
const BYTES_FOR_A_NODE: u32 = 2 * 1024;
/// Of these, what is kept for tokens, by which an account can be settled.
const BYTES_FOR_TOKENS: u32 = 8 * 1024;
/// Hosts to keep accounts of at a time.
const MAX_ACCOUNTS: usize = 1_024;
/// Bytes that may wait to be sent to single hosts, in all.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// Packets to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Transmit>,
    delayed: BTreeMap<(Instant, u64), Transmit>,
    flows: HashMap<(LinkId, Destination), Flow>,
    /// When each host will have been sent no more than it is entitled to.
    accounts: HashMap<IpAddr, Instant>,
    /// How far ahead that may be.
    credit: Duration,
    /// Bytes in packets to single hosts that have not been popped yet.
    pub(super) waiting: usize,
    order: u64,
    pub(super) alarm: Alarm,
    pub(super) sent: u64,
    pub(super) throttled: u64,
}

/// The packets to one destination, in order.
#[derive(Debug)]
struct Flow {
    waiting: VecDeque<Transmit>,
    window: Instant,
    in_window: u32,
    /// Whether some of this window have only just been let go.
    is_fresh: bool,
}

impl Outbox {
    /// Takes into account how many nodes there are to tell of.
    pub(super) fn allow_for(&mut self, nodes: usize) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let bytes = BYTES_AT_ONCE.saturating_add(BYTES_FOR_A_NODE.saturating_mul(nodes));
        self.credit = TIME_FOR_A_BYTE * bytes;
    }

    /// Sends a packet as soon as its destination can take it, but not before `at`. What goes to
    /// single hosts is limited, unless it goes to this very one (`is_near`); false if that is why it
    /// does not go.
    pub(super) fn push(
        &mut self,
        now: Instant,
        at: Instant,
        is_near: bool,
        transmit: Transmit,
    ) -> bool {
        self.put(now, at, is_near, BYTES_FOR_TOKENS, transmit)
    }

    /// Sends a token to who can't be told more at present.
    pub(super) fn push_token(
        &mut self,
        now: Instant,
        at: Instant,
        is_near: bool,
        transmit: Transmit,
    ) -> bool {
        self.put(now, at, is_near, 0, transmit)
    }

    /// Sends a packet if as many bytes as are `kept` could be sent after it.
    fn put(
        &mut self,
        now: Instant,
        at: Instant,
        is_near: bool,
        kept: u32,
        transmit: Transmit,
    ) -> bool {
        if let Destination::Unicast(to) = transmit.to {
            let bytes = transmit.payload.len();
            let has_room = self.waiting + bytes <= MAX_WAITING;
            if !has_room || !is_near && !self.afford(now, to.ip(), bytes, kept) {
                self.throttled += 1;
                return false;
            }
            self.waiting += bytes;
        }
        if at > now {
            self.order += 1;
            self.delayed.insert((at, self.order), transmit);
        } else {
            self.line_up(now, transmit);
        }
        true
    }

    /// When a host will have been sent no more than it is entitled to if it is sent so many bytes; none
    /// if as many as are `kept` could not be sent after them.
    fn after(&mut self, now: Instant, to: IpAddr, bytes: usize, kept: u32) -> Option<Instant> {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&to) {
            self.accounts.retain(|_, settled| *settled > now);
            if self.accounts.len() >= MAX_ACCOUNTS {
                return None;
            }
        }
        let settled = self.accounts.get(&to).copied().unwrap_or(now);
        let after = now.max(settled) + TIME_FOR_A_BYTE * bytes as u32;
        (after + TIME_FOR_A_BYTE * kept <= now + self.credit).then_some(after)
    }

    fn afford(&mut self, now: Instant, to: IpAddr, bytes: usize, kept: u32) -> bool {
        let after = self.after(now, to, bytes, kept);
        self.accounts.extend(after.map(|after| (to, after)));
        after.is_some()
    }

    /// Whether a host can't be sent another packet at present.
    pub(super) fn is_spent(&mut self, now: Instant, host: IpAddr) -> bool {
        let after = self.after(now, host, COMFORTABLE, BYTES_FOR_TOKENS);
        after.is_none()
    }

    /// A host has proven that it asked for what it was sent: that counts no longer.
    pub(super) fn settle(&mut self, host: IpAddr) {
        self.accounts.remove(&host);
    }

    /// Whether packets to a single asker wait for their turn.
    pub(super) fn is_answering(&self, link: LinkId, asker: SocketAddr) -> bool {
        let to = Destination::Unicast(asker);
        let flow = self.flows.get(&(link, to));
        flow.is_some_and(|flow| !flow.waiting.is_empty())
            || self.delayed.values().any(|transmit| transmit.to == to)
    }

    fn line_up(&mut self, now: Instant, transmit: Transmit) {
        let key = ((transmit.interface, transmit.family), transmit.to);
        let flow = self.flows.entry(key).or_insert(Flow {
            waiting: VecDeque::new(),
            window: now,
            in_window: 0,
            is_fresh: false,
        });
        if flow.waiting.is_empty() && flow.has_room(now) {
            flow.count();
            self.sent += 1;
            self.ready.push_back(transmit);
        } else {
            flow.waiting.push_back(transmit);
        }
    }

    /// Lets go what may go now.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(first) = self
            .delayed
            .first_entry()
            .filter(|first| first.key().0 <= now)
        {
            let transmit = first.remove();
            self.line_up(now, transmit);
        }
        self.flows.retain(|_, flow| {
            while !flow.waiting.is_empty()
                && flow.has_room(now)
                && let Some(transmit) = flow.waiting.pop_front()
            {
                flow.count();
                self.sent += 1;
                self.ready.push_back(transmit);
            }
            !flow.waiting.is_empty() || now < flow.window + WINDOW
        });
    }

    /// What was popped went out now, which may be later than it was let go: a long answer takes a while
    /// to write, and what comes next must not follow at its heels.
    pub(super) fn went_out(&mut self, now: Instant) {
        for flow in self.flows.values_mut() {
            if std::mem::take(&mut flow.is_fresh) {
                flow.window = flow.window.max(now);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Transmit> {
        let transmit = self.ready.pop_front()?;
        if matches!(transmit.to, Destination::Unicast(_)) {
            self.waiting -= transmit.payload.len();
        }
        Some(transmit)
    }

    /// Whether packets wait for their turn.
    pub(super) fn has_waiting(&self) -> bool {
        self.flows.values().any(|flow| !flow.waiting.is_empty())
    }

    /// When to call [`advance`](Self::advance).
    pub(super) fn next(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(at, _)| *at);
        let flows = self.flows.values().map(|flow| flow.window + WINDOW);
        delayed.into_iter().chain(flows).min()
    }
}

impl Flow {
    fn has_room(&mut self, now: Instant) -> bool {
        if now >= self.window + WINDOW {
            self.window = now;
            self.in_window = 0;
        }
        self.in_window < BURST
    }

    fn count(&mut self) {
        self.in_window += 1;
        self.is_fresh = true;
    }
}
