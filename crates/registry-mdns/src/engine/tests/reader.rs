//! A host that reads slower than it is told things, and has little room for what waits.

use std::time::{Duration, Instant};

use crate::engine::Port;

/// How a host reads: one packet at a time.
#[derive(Debug)]
pub(super) struct Reader {
    each: Duration,
    /// Packets that a socket has room for.
    room: usize,
    waiting: [usize; 2],
    free_at: Option<Instant>,
    /// Packets that found no room, in all, and since the last one that was read.
    pub(super) lost: usize,
    unsaid: usize,
}

impl Reader {
    pub(super) fn new(each: Duration, room: usize) -> Self {
        Self {
            each,
            room,
            waiting: [0; 2],
            free_at: None,
            lost: 0,
            unsaid: 0,
        }
    }

    fn waiting(&mut self, port: Port) -> &mut usize {
        &mut self.waiting[usize::from(port == Port::Query)]
    }

    /// When a packet that comes now will be read; never if there is no room for it.
    pub(super) fn come(&mut self, now: Instant, port: Port) -> Option<Instant> {
        if *self.waiting(port) >= self.room {
            self.lost += 1;
            self.unsaid += 1;
            return None;
        }
        *self.waiting(port) += 1;
        let at = self.free_at.map_or(now, |free| free.max(now)) + self.each;
        self.free_at = Some(at);
        Some(at)
    }

    /// Reads a packet; gives whether the system says that others before it were lost.
    pub(super) fn read(&mut self, port: Port) -> bool {
        *self.waiting(port) -= 1;
        std::mem::take(&mut self.unsaid) > 0
    }
}
