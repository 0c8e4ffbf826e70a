use std::{borrow::Cow, sync::Arc, time::Duration};

/// What a registry's calls give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What lies behind an [`Error`].
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong, by meaning; the same for every engine.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No live node of this service is known.
    #[error("service {name:?} not found in namespace {namespace:?}")]
    NotFound {
        /// The namespace that was searched.
        namespace: Arc<str>,
        /// The name that was asked for.
        name: Arc<str>,
    },
    /// The service can't be registered as it is.
    #[error("invalid service: {field} {reason}")]
    InvalidService {
        /// The field, for instance `nodes[2].address`.
        field: Cow<'static, str>,
        /// What is wrong with it and what would be right.
        reason: Cow<'static, str>,
    },
    /// An option can't be taken as it is.
    #[error("invalid option {option}: {reason}")]
    InvalidOption {
        /// The option.
        option: Cow<'static, str>,
        /// What is wrong with it and what would be right.
        reason: Cow<'static, str>,
    },
    /// The registry can't be reached for now.
    #[error("the {registry} registry is unavailable: {reason}")]
    Unavailable {
        /// The engine.
        registry: Cow<'static, str>,
        /// Why, as far as known.
        reason: Cow<'static, str>,
    },
    /// No answer in time; see [`Options::timeout`](crate::Options::timeout).
    #[error("{operation} got no answer within {after:?}")]
    Timeout {
        /// What was being done.
        operation: Cow<'static, str>,
        /// How long it was tried.
        after: Duration,
    },
    /// The registry refuses this user.
    #[error("the {registry} registry denies permission: {reason}")]
    PermissionDenied {
        /// The engine.
        registry: Cow<'static, str>,
        /// What it said.
        reason: Cow<'static, str>,
    },
    /// Somebody else holds the registration.
    #[error(
        "node {id:?} of service {name:?} was registered by somebody else; remove it there, or use force if its owner is gone"
    )]
    NotOwner {
        /// The service.
        name: Arc<str>,
        /// The node.
        id: Arc<str>,
    },
    /// A later registration with the same id has taken the place of this one.
    #[error(
        "node {id:?} of service {name:?} was registered again by somebody else, and the later registration wins; give each process an id of its own"
    )]
    Replaced {
        /// The service.
        name: Arc<str>,
        /// The node.
        id: Arc<str>,
    },
    /// Something is larger than the engine can hold.
    #[error("{what} is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// What it is.
        what: Cow<'static, str>,
        /// Its size in bytes.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// What the registry holds can't be understood.
    #[error("can't decode {what}")]
    Decode {
        /// What it is.
        what: Cow<'static, str>,
        /// Why not.
        #[source]
        source: Source,
    },
    /// This engine can't do that.
    #[error("the {registry} registry can't {operation}: {remedy}")]
    Unsupported {
        /// The engine.
        registry: Cow<'static, str>,
        /// What was asked of it.
        operation: Cow<'static, str>,
        /// What to do instead.
        remedy: Cow<'static, str>,
    },
    /// The handle was closed.
    #[error("this registry handle is closed; make a new one")]
    Closed,
    /// Anything else that is peculiar to an engine.
    #[error("the {registry} registry failed")]
    Engine {
        /// The engine.
        registry: Cow<'static, str>,
        /// Whether trying again may help.
        retryable: bool,
        /// What it said.
        #[source]
        source: Source,
    },
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout { .. } => true,
            Self::Engine { retryable, .. } => *retryable,
            _ => false,
        }
    }

    /// An [`Error::NotFound`].
    #[must_use]
    pub fn not_found(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self::NotFound {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// An [`Error::InvalidService`].
    #[must_use]
    pub fn invalid_service(
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::InvalidService {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// An [`Error::InvalidOption`].
    #[must_use]
    pub fn invalid_option(
        option: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::InvalidOption {
            option: option.into(),
            reason: reason.into(),
        }
    }

    /// An [`Error::Unavailable`].
    #[must_use]
    pub fn unavailable(
        registry: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Unavailable {
            registry: registry.into(),
            reason: reason.into(),
        }
    }
}
