use std::time::Duration;

/// The first look after one that failed; the next ones take twice as long each.
const SOON: Duration = Duration::from_millis(250);

/// How often to look while something fails, and where the system does not tell of changes.
const PERIOD: Duration = Duration::from_secs(5);

/// How often to look in any case: a notice may be missed, and routes have none.
const SLOW: Duration = Duration::from_secs(60);

/// How long until the interfaces are looked at again, though nothing is told of them.
#[derive(Debug)]
pub(super) struct Pace {
    /// What it is after the next failure; none if the last look went well.
    next: Option<Duration>,
    wait: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            next: None,
            wait: SLOW,
        }
    }

    /// Takes in whether everything could be listed and opened.
    pub(super) fn looked(&mut self, is_well: bool) {
        if is_well {
            *self = Self::new();
        } else {
            self.wait = self.next.unwrap_or(SOON);
            self.next = Some(PERIOD.min(self.wait * 2));
        }
    }

    pub(super) fn wait(&self, is_told: bool) -> Duration {
        if is_told {
            self.wait
        } else {
            self.wait.min(PERIOD)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_looked_at_soon_and_then_every_five_seconds() {
        let mut pace = Pace::new();
        assert_eq!((pace.wait(true), pace.wait(false)), (SLOW, PERIOD));
        let waits: Vec<_> = (0..7)
            .map(|_| {
                pace.looked(false);
                pace.wait(true).as_millis()
            })
            .collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        pace.looked(true);
        assert_eq!(pace.wait(true), SLOW);
        pace.looked(false);
        assert_eq!(pace.wait(true), SOON);
    }
}
