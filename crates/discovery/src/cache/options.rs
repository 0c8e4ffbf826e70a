use std::{path::PathBuf, time::Duration};

use super::LossGuard;

/// Options of a [`Cache`](crate::Cache).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheOptions {
    /// Whether look-ups that do not ask for it may get an answer from before an outage. True by
    /// default: that is what a cache is for. If false, each look-up's own
    /// [`allow_stale`](vine_registry::GetOptions::allow_stale) says.
    pub allow_stale: bool,
    /// A name that nobody looked up so long, and nobody subscribes to, is let go. Five minutes by
    /// default.
    pub idle: Duration,
    /// How many names are kept for look-ups; for one more, one that was not used lately is let go.
    /// Subscriptions count, but are never refused. 10,000 by default.
    pub max_names: usize,
    /// When nodes that vanish are kept as suspects.
    pub loss_guard: LossGuard,
    /// A directory in which to save what is known, so that a program which starts while the registry
    /// is down has something to begin with. None by default. What was saved is used only until the
    /// registry answers, and counts as stale.
    ///
    /// It has a file for each service with nodes, for its user alone to read; programs of one user may
    /// share it, whatever their registries. What nobody asked for in thirty days is removed.
    pub snapshots: Option<PathBuf>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            allow_stale: true,
            idle: Duration::from_secs(300),
            max_names: 10_000,
            loss_guard: LossGuard::default(),
            snapshots: None,
        }
    }
}

impl CacheOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether look-ups that do not ask for it may get an answer from before an outage.
    #[must_use]
    pub fn with_allow_stale(mut self, allow_stale: bool) -> Self {
        self.allow_stale = allow_stale;
        self
    }

    /// Sets how long a name is kept that nobody uses.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how many names are kept for look-ups.
    #[must_use]
    pub fn with_max_names(mut self, max_names: usize) -> Self {
        self.max_names = max_names;
        self
    }

    /// Sets when nodes that vanish are kept as suspects.
    #[must_use]
    pub fn with_loss_guard(mut self, loss_guard: LossGuard) -> Self {
        self.loss_guard = loss_guard;
        self
    }

    /// Sets the directory in which to save what is known.
    #[must_use]
    pub fn with_snapshots(mut self, directory: impl Into<PathBuf>) -> Self {
        self.snapshots = Some(directory.into());
        self
    }
}
