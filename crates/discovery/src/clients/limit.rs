use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a call may take, all its attempts together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    timeout: Duration,
    /// None if the time is never over.
    end: Option<Instant>,
}

/// The time was over first.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) timeout: Duration,
}

impl Limit {
    /// The time from now on.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            timeout: timeout.unwrap_or(Duration::MAX),
            end,
        }
    }

    /// How much is left of it; none if it is never over.
    #[cfg(feature = "reqwest")]
    pub(crate) fn left(&self) -> Option<Duration> {
        let end = self.end?;
        Some(end.saturating_duration_since(Instant::now()))
    }

    /// What the future gives within the time.
    pub(crate) async fn of<F: Future>(&self, future: F) -> Result<F::Output, Over> {
        let Some(end) = self.end else {
            return Ok(future.await);
        };
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = sleep_until(end) => Err(Over { timeout: self.timeout }),
        }
    }
}
