use std::{sync::Arc, time::Duration};

use crate::{Guard, NoNode, Selector};

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call got no answer. What caused it is its [`source`](std::error::Error::source), and is not
/// told by `Display`.
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
    /// No connection came about, to whichever node the call was tried on.
    #[error("no node of {service} that was tried can be connected to")]
    #[non_exhaustive]
    Unreachable {
        /// The service.
        service: Arc<str>,
        /// Why one of them can't; the last one by the clients for HTTP.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// It failed at a node, which may have seen it.
    #[error("the call to node {node} of {service} at {address} failed")]
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
    /// The time that the call may take was over.
    #[error("no answer of {service} within {timeout:?}{}", place(node.as_deref()))]
    #[non_exhaustive]
    TimedOut {
        /// The service.
        service: Arc<str>,
        /// The id of the node that the call was at; none if it waited for a connection.
        node: Option<Arc<str>>,
        /// The time.
        timeout: Duration,
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
#[error("node {node} at {address}")]
struct AtNode {
    node: Arc<str>,
    address: Arc<str>,
    source: BoxError,
}

fn place(node: Option<&str>) -> String {
    match node {
        Some(node) => format!("; the call was at node {node}"),
        None => "; no node was connected".to_owned(),
    }
}

/// An error with what caused it.
#[cfg(feature = "tonic")]
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
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
