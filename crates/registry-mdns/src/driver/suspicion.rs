use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Counters;

/// So often at most what was not believed is told of.
const INTERVAL: Duration = Duration::from_secs(60);

/// Tells the log of records that were not believed: whoever has the wrong key, or none, is not seen,
/// and somebody should know.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    told: u64,
    next: Option<Instant>,
}

impl Suspicion {
    /// Gives whether it told of anything.
    pub(super) fn look_at(&mut self, now: Instant, counters: Counters) -> bool {
        let Counters {
            unsigned,
            forged,
            replayed,
            ..
        } = counters;
        let all = unsigned + forged + replayed;
        if all == self.told || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.told = all;
        self.next = Some(now + INTERVAL);
        tracing::warn!(
            unsigned,
            forged,
            replayed,
            "records on the network were not believed: who said them has none of the keys of registry.mdns.key"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_once_a_minute_and_only_of_what_is_new() {
        let mut suspicion = Suspicion::default();
        let (now, mut counters) = (Instant::now(), Counters::default());
        assert!(!suspicion.look_at(now, counters));
        counters.unsigned = 5;
        assert!(suspicion.look_at(now, counters));
        counters.forged = 1;
        assert!(!suspicion.look_at(now + INTERVAL / 2, counters));
        assert!(suspicion.look_at(now + INTERVAL, counters));
        assert!(!suspicion.look_at(now + INTERVAL * 3, counters));
    }
}
