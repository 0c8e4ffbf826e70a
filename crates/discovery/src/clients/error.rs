use std::sync::Arc;

use crate::{Guard, NoNode, Selector};

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
    #[error("node {node} of {service} at {address}: {}", causes(&**source))]
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
    /// The request was no service's, or no proper one.
    #[error(transparent)]
    Elsewhere(BoxError),
}

impl CallError {
    pub(crate) fn failed(selector: &Selector, guard: &Guard, source: BoxError) -> Self {
        let node = guard.node();
        Self::Failed {
            service: Arc::clone(selector.subscription().name()),
            node: Arc::clone(&node.id),
            address: Arc::clone(&node.address),
            source,
        }
    }

    /// No connection came about, last to this node.
    #[cfg(feature = "hyper")]
    pub(crate) fn unreachable(selector: &Selector, guard: &Guard, source: BoxError) -> Self {
        let node = guard.node();
        let at_node = AtNode {
            node: Arc::clone(&node.id),
            address: Arc::clone(&node.address),
            source,
        };
        Self::Unreachable {
            service: Arc::clone(selector.subscription().name()),
            source: Arc::new(at_node),
        }
    }
}

/// Where a connection did not come about.
#[cfg(feature = "hyper")]
#[derive(Debug, thiserror::Error)]
#[error("node {node} at {address}: {}", causes(&**source))]
struct AtNode {
    node: Arc<str>,
    address: Arc<str>,
    source: BoxError,
}

/// An error with what caused it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
