use std::sync::Arc;

use vine_registry::Error;

/// Why no node could be picked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoNode {
    /// It is not known yet which nodes there are.
    #[error("the nodes of {service} are not known{}", because(error.as_ref()))]
    #[non_exhaustive]
    Unknown {
        /// The service.
        service: Arc<str>,
        /// Why the registry can't tell, if it was asked in vain.
        error: Option<Error>,
    },
    /// The registry has no node of the service.
    #[error("{service} has no node; is it started, and in this namespace?")]
    #[non_exhaustive]
    NotFound {
        /// The service.
        service: Arc<str>,
    },
    /// There are nodes, but none that calls may go to.
    #[error(
        "no node of {service} may get this call: all that are known ({considered}) fail the selector's filters, or are draining or down"
    )]
    #[non_exhaustive]
    Excluded {
        /// The service.
        service: Arc<str>,
        /// How many nodes there are.
        considered: usize,
    },
    /// Every node that calls may go to was to be avoided: it was tried already, or not wanted.
    #[error("no node of {service} is left to be tried")]
    #[non_exhaustive]
    Tried {
        /// The service.
        service: Arc<str>,
    },
}

fn because(error: Option<&Error>) -> String {
    error.map_or_else(|| " yet".to_owned(), |error| format!(": {error}"))
}
