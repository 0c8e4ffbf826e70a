use std::{io, time::Duration};

use vine_registry::Error;

/// Whatever a server or a hook may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an app ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting is wrong, or the registry can't be opened.
    #[error("can't start")]
    Start(#[source] Error),
    /// The address can't be listened on.
    #[error("can't listen on {address}; choose another server.address")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Signals can't be waited for.
    #[error("can't wait for signals")]
    Signals(#[source] io::Error),
    /// The registry does not take the service as it is.
    #[error("can't register")]
    Register(#[source] Error),
    /// The server ended with an error.
    #[error("the server failed")]
    Serve(#[source] BoxError),
    /// A hook gave an error.
    #[error("a hook failed {when}")]
    Hook {
        /// When it ran: `before start`, `after start`, `before stop` or `after stop`.
        when: &'static str,
        /// What it said.
        #[source]
        source: BoxError,
    },
    /// The server did not stop in time, and was cut off.
    #[error("the server did not stop within {after:?}, and was cut off")]
    Deadline {
        /// How long it had.
        after: Duration,
    },
    /// A second signal ended the app before it had stopped gracefully.
    #[error("ended at once by a second signal")]
    Aborted,
}
