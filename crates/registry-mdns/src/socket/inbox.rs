//! Packets that were read from the sockets and wait to be taken in.
//!
//! A burst of answers comes faster than they are understood, and the system keeps little: 208 KiB a
//! socket where nobody has set more, which is less than a hundred packets.

use std::collections::VecDeque;

use super::Arrival;

/// How much may wait, and what each packet counts beside its payload.
const CAPACITY: usize = 4 << 20;
const OVERHEAD: usize = 128;

/// How many packets are taken in before the sockets are looked at again.
const TURN: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    packets: VecDeque<(Arrival, Box<[u8]>)>,
    size: usize,
    /// How many may be taken in before the sockets are to be looked at.
    turn: usize,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.size >= CAPACITY
    }

    /// Whether to look at the sockets before the next packet is taken.
    pub(super) fn is_due(&self) -> bool {
        self.turn == 0 || self.packets.is_empty()
    }

    /// The sockets were looked at.
    pub(super) fn begin_turn(&mut self) {
        self.turn = TURN;
    }

    pub(super) fn push(&mut self, arrival: Arrival, payload: &[u8]) {
        self.size += payload.len() + OVERHEAD;
        self.packets.push_back((arrival, payload.into()));
    }

    /// Takes the packet that has waited longest.
    pub(super) fn pop(&mut self, buffer: &mut [u8]) -> Option<Arrival> {
        let (arrival, payload) = self.packets.pop_front()?;
        self.size -= payload.len() + OVERHEAD;
        self.turn = self.turn.saturating_sub(1);
        buffer.get_mut(..payload.len())?.copy_from_slice(&payload);
        Some(arrival)
    }
}
