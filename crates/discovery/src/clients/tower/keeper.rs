//! The task that makes the connections to the nodes of a selector, and remakes them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tower_service::Service;
use tracing::debug;
use vine_registry::Node;

use super::links::{Broken, Link, Links, State, Table};
use crate::{Peer, Selector, Updates, clients::BoxError};

/// Keeps a connection to each node that calls may go to.
pub(super) struct Keeper<M: Service<Arc<Node>>> {
    links: Arc<Links<M::Response>>,
    broken: Broken<M::Response>,
    selector: Selector,
    updates: Updates,
    make: M,
    timeout: Duration,
    attempts: JoinSet<Attempt<M::Response>>,
    /// The nodes that are to be connected to, and how that goes.
    wanted: HashMap<Arc<str>, Wanted>,
}

/// How an attempt to connect ended.
type Attempt<S> = (Arc<Node>, Result<S, BoxError>);

struct Wanted {
    node: Arc<Node>,
    /// Attempts in a row that failed.
    failures: u32,
    attempt: Option<AbortHandle>,
}

impl<M> Keeper<M>
where
    M: Service<Arc<Node>> + Clone + Send + 'static,
    M::Response: Send + Sync + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
{
    pub(super) fn new(
        links: Arc<Links<M::Response>>,
        broken: Broken<M::Response>,
        selector: Selector,
        make: M,
        timeout: Duration,
    ) -> Self {
        Self {
            links,
            broken,
            updates: selector.updates(),
            selector,
            make,
            timeout,
            attempts: JoinSet::new(),
            wanted: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                peers = self.updates.next() => self.follow(&peers),
                Some(attempt) = self.attempts.join_next() => {
                    // Else it was given up: the node is gone.
                    if let Ok((node, result)) = attempt {
                        self.ended(&node, result);
                    }
                }
                Some((id, link)) = self.broken.recv() => self.mend(&id, &link),
            }
        }
    }

    /// Connects to nodes that are new, and lets go those that are no more: calls under way there go
    /// on, as they hold the connection.
    fn follow(&mut self, peers: &[Peer]) {
        let mut old = std::mem::take(&mut self.wanted);
        let mut table = Table::clone(&self.links.table.load());
        for peer in peers {
            let node = peer.node();
            let mut wanted = match old.remove(&node.id) {
                Some(wanted) if wanted.node.address == node.address => wanted,
                gone => {
                    drop(gone);
                    table.insert(
                        Arc::clone(&node.id),
                        Link::new(&node.address, State::Connecting),
                    );
                    let attempt = self.attempt(node, Duration::ZERO);
                    Wanted {
                        node: Arc::clone(node),
                        failures: 0,
                        attempt: Some(attempt),
                    }
                }
            };
            wanted.node = Arc::clone(node);
            self.wanted.insert(Arc::clone(&node.id), wanted);
        }
        table.retain(|id, _| self.wanted.contains_key(id));
        self.publish(table);
    }

    fn attempt(&mut self, node: &Arc<Node>, pause: Duration) -> AbortHandle {
        let (node, limit) = (Arc::clone(node), self.timeout);
        let mut make = self.make.clone();
        self.attempts.spawn(async move {
            sleep(pause).await;
            let connect = async {
                std::future::poll_fn(|cx| make.poll_ready(cx))
                    .await
                    .map_err(Into::into)?;
                make.call(Arc::clone(&node)).await.map_err(Into::into)
            };
            let result = timeout(limit, connect).await.unwrap_or_else(|_| {
                Err(format!("{} did not connect within {limit:?}", node.address).into())
            });
            (node, result)
        })
    }

    fn ended(&mut self, node: &Arc<Node>, result: Result<M::Response, BoxError>) {
        let Some(wanted) = self.wanted.get_mut(&node.id) else {
            return;
        };
        if wanted.node.address != node.address {
            return;
        }
        let state = match result {
            Ok(service) => {
                (wanted.failures, wanted.attempt) = (0, None);
                debug!(id = %node.id, address = %node.address, "connected");
                State::Connected(service)
            }
            Err(error) => {
                wanted.failures += 1;
                let (node, pause) = (Arc::clone(&wanted.node), pause(wanted.failures));
                debug!(id = %node.id, address = %node.address, error, "can't connect");
                let attempt = self.attempt(&node, pause);
                if let Some(wanted) = self.wanted.get_mut(&node.id) {
                    wanted.attempt = Some(attempt);
                }
                self.report(&node);
                State::Failing(error.into())
            }
        };
        self.put(node, state);
    }

    /// Replaces a link that broke, unless that is done.
    fn mend(&mut self, id: &Arc<str>, broken: &Arc<Link<M::Response>>) {
        let is_current = |link: &Arc<Link<M::Response>>| Arc::ptr_eq(link, broken);
        let is_current = self.links.table.load().get(id).is_some_and(is_current);
        let node = match self.wanted.get(id) {
            Some(wanted) if is_current => Arc::clone(&wanted.node),
            _ => return,
        };
        let attempt = self.attempt(&node, Duration::ZERO);
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.attempt = Some(attempt);
        }
        self.put(&node, State::Connecting);
    }

    fn put(&self, node: &Arc<Node>, state: State<M::Response>) {
        let mut table = Table::clone(&self.links.table.load());
        table.insert(Arc::clone(&node.id), Link::new(&node.address, state));
        self.publish(table);
    }

    fn publish(&self, table: Table<M::Response>) {
        self.links.table.store(Arc::new(table));
        self.links.published.send_modify(|count| *count += 1);
    }

    /// Tells the registry, which may take its time.
    fn report(&self, node: &Arc<Node>) {
        let (subscription, id) = (self.selector.subscription().clone(), Arc::clone(&node.id));
        tokio::spawn(async move {
            if let Err(error) = subscription.report_unreachable(&id).await {
                debug!(node = %id, %error, "can't report a node that can't be connected to");
            }
        });
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt {
            attempt.abort();
        }
    }
}

/// From 50 ms, twice as long each time, to 5 s, of which a random half is left out.
fn pause(failures: u32) -> Duration {
    let full = Duration::from_millis(50 << (failures - 1).min(7)).min(Duration::from_secs(5));
    full / 2 + full.mul_f64(fastrand::f64() / 2.0)
}
