use std::time::Duration;

use tokio::time::Instant;
use vine_registry::{Error, Services};

/// What is known of one service at a moment. It never changes; a later moment has another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Known {
    /// What the registry says, or said last.
    pub services: Services,
    /// Nodes that vanished with many others at a time, by version: perhaps it is not they that
    /// failed. The registry does not have them any more.
    pub suspects: Services,
    /// How far this can be trusted.
    pub standing: Standing,
    /// The registry is being asked for the first time: it has neither answered nor failed.
    pub(crate) is_awaited: bool,
}

/// How far a [`Known`] can be trusted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Standing {
    /// Nothing was heard from the registry yet; if it was asked in vain, why.
    Unknown(Option<Error>),
    /// The registry tells of each change.
    Live,
    /// The registry can't be reached.
    #[non_exhaustive]
    Stale {
        /// Until when the registry told of each change.
        since: Instant,
        /// What was known already at `since` was so old: more than nothing if it comes from disk.
        age: Duration,
        /// Why it can't be reached.
        error: Error,
    },
}

impl Known {
    pub(crate) fn unknown() -> Self {
        Self {
            services: Services::new(),
            suspects: Services::new(),
            standing: Standing::Unknown(None),
            is_awaited: true,
        }
    }

    /// Whether the registry was heard at all, perhaps by an earlier process.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self.standing, Standing::Unknown(_))
    }

    /// Whether this is from before an outage.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self.standing, Standing::Stale { .. })
    }

    /// How long ago this was true for certain: nothing while the registry tells of each change;
    /// none if the registry was never heard.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        match &self.standing {
            Standing::Unknown(_) => None,
            Standing::Live => Some(Duration::ZERO),
            Standing::Stale { since, age, .. } => Some(*age + since.elapsed()),
        }
    }

    /// Whether it says that there is no node. That there was none before an outage does not.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.standing, Standing::Live) && self.services.is_empty()
    }

    /// Why nothing will change any more, if so.
    pub(crate) fn end(&self) -> Option<&Error> {
        self.error().filter(|error| ends(error))
    }

    /// Why the registry can't be reached, if so.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        match &self.standing {
            Standing::Unknown(error) => error.as_ref(),
            Standing::Live => None,
            Standing::Stale { error, .. } => Some(error),
        }
    }
}

/// Whether the registry will never say anything else.
pub(crate) const fn ends(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed | Error::InvalidOption { .. } | Error::InvalidService { .. }
    )
}
