use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Entry, Inner};
use crate::time::FOREVER;

/// How often within the idle time is looked whether anybody uses the name.
const LOOKS: u32 = 4;

/// Counts how long nobody used a name.
#[derive(Debug)]
pub(super) struct Idle {
    interval: Interval,
    unused: u32,
}

impl Idle {
    pub(super) fn new(idle: Duration) -> Self {
        let look = (idle / LOOKS).clamp(Duration::from_millis(1), FOREVER);
        let mut interval = interval_at(Instant::now() + look, look);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            unused: 0,
        }
    }

    /// Waits until nobody used the name so long and it is let go. Cancel safe.
    pub(super) async fn over(&mut self, entry: &Arc<Entry>, cache: &Weak<Inner>) {
        loop {
            tokio::select! {
                _ = self.interval.tick() => {
                    let used = entry.was_used_since(Entry::IDLE) || entry.is_awaited();
                    self.unused = if used { 0 } else { self.unused + 1 };
                }
                () = entry.dismissed() => self.unused = LOOKS,
            }
            if self.unused >= LOOKS {
                match cache.upgrade() {
                    Some(cache) if !cache.names.let_go(entry) => self.unused = 0,
                    _ => return,
                }
            }
        }
    }
}
