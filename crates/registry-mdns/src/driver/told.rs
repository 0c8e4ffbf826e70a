use vine_registry::telemetry::{CACHED_NODES, Level, REGISTRATIONS};

use crate::{engine::Counters, registry::TELEMETRY};

/// What was told of the engine as metrics.
#[derive(Debug)]
pub(super) struct Told {
    counters: Counters,
    registrations: Level,
    cached: Level,
}

impl Told {
    pub(super) fn new() -> Self {
        Self {
            counters: Counters::default(),
            registrations: TELEMETRY.level(REGISTRATIONS),
            cached: TELEMETRY.level(CACHED_NODES),
        }
    }

    /// Tells what has changed: what was counted, and how many nodes there are, own ones and all.
    pub(super) fn tell(&mut self, now: Counters, own: usize, nodes: usize) {
        self.registrations.set(own);
        self.cached.set(nodes.saturating_sub(own));
        if now == self.counters {
            return;
        }
        let before = std::mem::replace(&mut self.counters, now);
        let dropped = [
            ("malformed", before.malformed, now.malformed),
            ("ignored", before.ignored, now.ignored),
            ("unreadable", before.unreadable, now.unreadable),
            ("refused", before.refused, now.refused),
            ("unsigned", before.unsigned, now.unsigned),
            ("forged", before.forged, now.forged),
            ("replayed", before.replayed, now.replayed),
            ("damaged", before.damaged, now.damaged),
        ];
        for (reason, before, now) in dropped {
            if now > before {
                TELEMETRY.dropped(reason, now - before);
            }
        }
        if now.asked > before.asked {
            TELEMETRY.requests("question", true, now.asked - before.asked);
        }
        if now.asked_again > before.asked_again {
            TELEMETRY.retries("question", now.asked_again - before.asked_again);
        }
    }
}
