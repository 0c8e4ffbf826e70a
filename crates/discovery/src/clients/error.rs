use std::sync::Arc;

use crate::NoNode;

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no node that could be called.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The URL can't be called.
    #[error("{url:?} can't be called: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL.
        url: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// None of the nodes can be connected to.
    #[error("no node of {service} can be connected to; the last one tried: {source}")]
    #[non_exhaustive]
    Unreachable {
        /// The service.
        service: Arc<str>,
        /// Why one of them can't.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The call was sent to a node, and that failed.
    #[error("node {node} of {service} at {address}: {source}")]
    #[non_exhaustive]
    Failed {
        /// The service.
        service: Arc<str>,
        /// The id of the node.
        node: Arc<str>,
        /// Its address.
        address: Arc<str>,
        /// How it failed.
        source: BoxError,
    },
}
