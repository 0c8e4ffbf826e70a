use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a call may take, all its attempts together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    timeout: Duration,
    /// None if the time is never over.
    end: Option<Instant>,
}

/// The time was over first.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) timeout: Duration,
}

impl Limit {
    /// The time from now on.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            timeout: timeout.unwrap_or(Duration::MAX),
            end,
        }
    }

    /// What the future gives within the time.
    pub(super) async fn of<F: Future>(&self, future: F) -> Result<F::Output, Over> {
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
