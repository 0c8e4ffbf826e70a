use std::time::Duration;

/// Pauses between attempts: twice as long each time, from 50 ms to 5 s, of which a random part of
/// the half is left out, so that many clients do not come at once.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let full = Duration::from_millis(50 << self.0.min(7)).min(Duration::from_secs(5));
        self.0 += 1;
        full / 2 + full.mul_f64(fastrand::f64() / 2.0)
    }
}
