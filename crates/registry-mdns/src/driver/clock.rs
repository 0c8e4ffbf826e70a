use std::time::Duration;

/// Less than this is no sleep worth mentioning.
const NAP: Duration = Duration::from_secs(1);

/// Tells how long the machine slept: the clock that deadlines are measured by stands still then.
#[derive(Debug)]
pub(super) struct Clock {
    /// How far the clock that goes on was ahead when it was last looked at.
    ahead: Option<Duration>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            ahead: platform::ahead(),
        }
    }

    /// How long the machine slept since the last call, if it did.
    pub(super) fn slept(&mut self) -> Option<Duration> {
        self.compare(platform::ahead())
    }

    fn compare(&mut self, ahead: Option<Duration>) -> Option<Duration> {
        let before = std::mem::replace(&mut self.ahead, ahead)?;
        let slept = ahead?.checked_sub(before)?;
        (slept >= NAP).then_some(slept)
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Duration;

    use nix::time::{ClockId, clock_gettime};

    /// CLOCK_BOOTTIME counts the time of sleep, CLOCK_MONOTONIC does not.
    pub(super) fn ahead() -> Option<Duration> {
        let read = |clock| Some(Duration::from(clock_gettime(clock).ok()?));
        let monotonic = read(ClockId::CLOCK_MONOTONIC)?;
        read(ClockId::CLOCK_BOOTTIME)?.checked_sub(monotonic)
    }
}

/// Elsewhere the wall clock has to tell. Who sets it forward has everything asked for again, which
/// does no harm.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::{
        sync::OnceLock,
        time::{Duration, SystemTime},
    };

    use tokio::time::Instant;

    pub(super) fn ahead() -> Option<Duration> {
        static START: OnceLock<Instant> = OnceLock::new();
        let counted = START.get_or_init(Instant::now).elapsed();
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        wall.checked_sub(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleep_brings_the_clocks_apart() {
        let seconds = |s| Some(Duration::from_secs(s));
        let mut clock = Clock { ahead: seconds(5) };
        for (ahead, slept) in [
            (seconds(5), None),
            (seconds(605), seconds(600)),
            (seconds(605), None),
            (None, None),
            (seconds(9_000), None),
            (seconds(8_000), None),
            (Some(Duration::from_millis(8_000_900)), None),
        ] {
            assert_eq!(clock.compare(ahead), slept);
        }
    }

    #[test]
    fn a_machine_that_is_awake_has_not_slept() {
        assert!(Clock::new().ahead.is_some());
        // Between the readings of two clocks a busy machine may do something else.
        let mut tries = (0..100).map(|_| Clock::new().slept());
        assert!(tries.any(|slept| slept.is_none()));
    }
}
