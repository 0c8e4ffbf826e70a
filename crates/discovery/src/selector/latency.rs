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

/// What the first call to a node counts as that got no answer, if it did not take longer: little
/// would draw calls to a node that may answer none.
const UNANSWERED: Duration = Duration::from_millis(100);

/// Ticks of 2^14 ns, about 16 us: 32 bits of them last for 19 hours.
const TICK: u32 = 14;

/// After 2^18 ticks without calls, 4.3 s, an average is half of what it was.
const HALVING: u32 = 18;

/// So many ticks, a second, one thread may be behind another.
const BEHIND: u32 = 1 << 16;

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
        let bits = self.0.load(Ordering::Relaxed);
        let average = Average::from_bits(bits);
        let nanos = match average {
            Some(average) if took > average.faded(at) => took,
            Some(average) if succeeded => {
                let kept = average.fading(at);
                average.nanos * kept + took * (1.0 - kept)
            }
            Some(_) => return,
            None if succeeded => took,
            None => took.max(UNANSWERED.as_nanos() as f32),
        };
        let new = Average { nanos, at }.to_bits();
        // Nothing to do is fine, and spares the other cores a write. Of two in the same nanoseconds one
        // may be lost, which an average bears better than each call a locked step.
        if new != bits {
            self.0.store(new, Ordering::Relaxed);
        }
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
        // Of two threads, one may be a little behind.
        let age = now.wrapping_sub(self.at);
        let age = if age > u32::MAX - BEHIND { 0 } else { age };
        // 2^-x, as near as straight lines between the powers of two come: in the bits of a float, a
        // halving is one less in the exponent.
        let halvings = u64::from(age) << (f32::MANTISSA_DIGITS - 1 - HALVING);
        let bits = u64::from(1_f32.to_bits()).saturating_sub(halvings);
        f32::from_bits(bits as u32)
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
        let halving = 1 << (TICK + HALVING);
        let mut before = 100e6;
        for halvings in 1..4 {
            let middle = latency.at(MS + halvings * halving - halving / 2).unwrap();
            assert!((0.74 * before..0.76 * before).contains(&middle), "{middle}");
            let later = latency.at(MS + halvings * halving).unwrap();
            assert!((0.49 * before..0.51 * before).contains(&later), "{later}");
            before = later;
        }
        assert_eq!(latency.at(200 * halving), Some(0.0));
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
        let just_before = latency.at(end - MS).unwrap();
        assert!((9.9e6..=10e6).contains(&just_before), "{just_before}");
        for hours in 1..19 {
            assert_eq!(
                latency.at(end + hours * 3_600_000 * MS),
                Some(0.0),
                "{hours}"
            );
        }
    }
}
