use std::{sync::Arc, time::Duration};

use tower_service::Service;
use vine_registry::Node;

use super::{Balanced, Once, keeper::Keeper, links::Links};
use crate::{
    Selector,
    clients::{BoxError, CONNECT_TIMEOUT, Retries},
};

/// Makes a [`Balanced`].
#[derive(Debug)]
#[must_use]
pub struct BalancedBuilder<P = Once> {
    selector: Selector,
    policy: P,
    retries: Retries,
    connect_timeout: Duration,
}

impl BalancedBuilder {
    pub(super) fn new(selector: Selector) -> Self {
        Self {
            selector,
            policy: Once,
            retries: Retries::new(),
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl<P> BalancedBuilder<P> {
    /// Sets what may be tried again, and what answers say of nodes.
    pub fn policy<Q>(self, policy: Q) -> BalancedBuilder<Q> {
        BalancedBuilder {
            policy,
            selector: self.selector,
            retries: self.retries,
            connect_timeout: self.connect_timeout,
        }
    }

    /// Sets how often calls are tried again.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Sets how long connecting to a node may take; two seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Makes it. `connect` makes a connection to a node.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn build<M, Request>(self, connect: M) -> Balanced<M::Response, Request, P>
    where
        M: Service<Arc<Node>> + Clone + Send + 'static,
        M::Response: Service<Request> + Send + Sync + 'static,
        M::Error: Into<BoxError>,
        M::Future: Send,
    {
        let (links, broken) = Links::new();
        let links = Arc::new(links);
        let keeper = Keeper::new(
            Arc::clone(&links),
            broken,
            self.selector.clone(),
            connect,
            self.connect_timeout,
        );
        let keeper = tokio::spawn(keeper.run());
        Balanced::new(self.selector, links, self.policy, self.retries, keeper)
    }
}
