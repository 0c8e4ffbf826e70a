use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long a node takes: a moving average that follows a rise at once and a fall slowly (peak
/// EWMA), and fades while nothing is heard, so that a node which was slow is tried again.
///
/// The average and when it was made are one number, changed in one step.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

/// After so long without calls, an average has faded to 37 %.
const FADE: Duration = Duration::from_secs(10);

/// What the first call to a node counts as that got no answer, if it did not take longer: little
/// would draw calls to a node that may answer none.
const UNANSWERED: Duration = Duration::from_millis(100);

/// Ticks of 2^14 ns, about 16 us: 32 bits of them last for 19 hours.
const TICK: u32 = 14;

/// What of that time a tick is.
const PER_TICK: f32 = (1 << TICK) as f32 / FADE.as_nanos() as f32;

/// What a [`Latency`] holds.
#[derive(Clone, Copy)]
struct Average {
    nanos: f32,
    /// In ticks since the selector was made.
    at: u32,
}

impl Latency {
    /// Takes a call in that took so many nanoseconds and ended so many after the selector was made. If
    /// it did not succeed, it took at least so long.
    #[inline]
    pub(super) fn record(&self, now: u64, took: u64, succeeded: bool) {
        let took = took as f32;
        let at = ticks(now);
        let update = |bits: u64| {
            let average = Average::from_bits(bits);
            let nanos = match average {
                Some(average) if took > average.faded(at) => took,
                Some(average) if succeeded => {
                    let kept = average.fading(at);
                    average.nanos * kept + took * (1.0 - kept)
                }
                Some(_) => return None,
                None if succeeded => took,
                None => took.max(UNANSWERED.as_nanos() as f32),
            };
            let new = Average { nanos, at }.to_bits();
            (new != bits).then_some(new)
        };
        // Nothing to do is fine, and spares the other cores a write.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// The average in nanoseconds, so many after the selector was made; none before the first call.
    #[inline]
    pub(super) fn at(&self, now: u64) -> Option<f32> {
        let average = Average::from_bits(self.0.load(Ordering::Relaxed))?;
        Some(average.faded(ticks(now)))
    }
}

impl Average {
    fn from_bits(bits: u64) -> Option<Self> {
        let average = Self {
            nanos: f32::from_bits((bits >> 32) as u32),
            at: bits as u32,
        };
        (bits != 0).then_some(average)
    }

    fn to_bits(self) -> u64 {
        u64::from(self.nanos.to_bits()) << 32 | u64::from(self.at)
    }

    fn faded(self, now: u32) -> f32 {
        self.nanos * self.fading(now)
    }

    /// How much of the average counts after this time.
    fn fading(self, now: u32) -> f32 {
        // Of two threads, one may be a tick behind.
        let age = now.wrapping_sub(self.at).cast_signed().max(0) as f32;
        let faded = age * PER_TICK;
        // As good for what is recent, and several times as quick.
        if faded < 1e-3 {
            1.0 - faded
        } else {
            (-faded).exp()
        }
    }
}

const fn ticks(nanos: u64) -> u32 {
    (nanos >> TICK) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_rise_counts_at_once_and_a_fall_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.at(MS), None);
        latency.record(MS, MS, true);
        latency.record(2 * MS, 50 * MS, true);
        assert_eq!(latency.at(2 * MS), Some(50e6));
        latency.record(1_002 * MS, MS, true);
        let now = latency.at(1_002 * MS).unwrap();
        assert!(
            (44e6..47e6).contains(&now),
            "a tenth of the time constant: {now}"
        );
    }

    #[test]
    fn it_fades_in_silence() {
        let latency = Latency::default();
        latency.record(MS, 100 * MS, true);
        let later = latency.at(MS + FADE.as_nanos() as u64).unwrap();
        assert!((36e6..38e6).contains(&later), "{later}");
    }

    #[test]
    fn what_did_not_succeed_makes_nothing_quicker() {
        let latency = Latency::default();
        latency.record(MS, MS, false);
        assert_eq!(latency.at(MS), Some(100e6));
        let latency = Latency::default();
        latency.record(MS, 10 * MS, true);
        latency.record(MS, MS, false);
        assert_eq!(latency.at(MS), Some(10e6));
        latency.record(MS, 30 * MS, false);
        assert_eq!(latency.at(MS), Some(30e6));
    }

    #[test]
    fn a_clock_that_wraps_does_no_harm() {
        let latency = Latency::default();
        let end = u64::from(u32::MAX) << TICK;
        latency.record(end, 10 * MS, true);
        let just_after = latency.at(end + MS).unwrap();
        assert!((9.9e6..=10e6).contains(&just_after), "{just_after}");
    }
}
