//! Times that may not come.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// As good as for ever, and no clock runs over when it is added.
pub(crate) const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// Waits until then, if at all.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
