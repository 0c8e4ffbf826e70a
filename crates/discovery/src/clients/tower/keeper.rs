//! The task that makes the connections to the nodes of a selector, and remakes them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tower_service::Service;
use tracing::debug;
use vine_registry::Node;

use super::links::{Broken, Fault, LONGEST_PAUSE, Link, Links, State, Table};
use crate::{
    Peer, Selector, Updates,
    clients::{BoxError, local::is_local},
};

/// Keeps a connection to each node that calls may go to.
pub(super) struct Keeper<M: Service<Arc<Node>>> {
    links: Arc<Links<M::Response>>,
    broken: mpsc::UnboundedReceiver<Broken<M::Response>>,
    selector: Selector,
    updates: Updates,
    make: M,
    timeout: Duration,
    attempts: JoinSet<Attempt<M::Response>>,
    /// The links as they are to be published.
    table: Table<M::Response>,
    is_published: bool,
    /// The nodes that are to be connected to, and how that goes.
    wanted: HashMap<Arc<str>, Wanted>,
}

/// How an attempt to connect ended.
type Attempt<S> = (Arc<Node>, Result<S, BoxError>);

struct Wanted {
    node: Arc<Node>,
    /// Attempts in a row that failed, or whose connection was of no use.
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
        broken: mpsc::UnboundedReceiver<Broken<M::Response>>,
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
            table: Table::default(),
            is_published: true,
            wanted: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                peers = self.updates.next() => self.follow(&peers),
                Some(attempt) = self.attempts.join_next() => self.joined(attempt),
                Some(broken) = self.broken.recv() => self.mend(&broken),
            }
            // What else has happened by now is published with it, since each table is a copy.
            while let Some(attempt) = self.attempts.try_join_next() {
                self.joined(attempt);
            }
            while let Ok(broken) = self.broken.try_recv() {
                self.mend(&broken);
            }
            self.publish();
        }
    }

    /// Connects to nodes that are new, and lets go those that are no more: calls under way there go
    /// on, as they hold the connection.
    fn follow(&mut self, peers: &[Peer]) {
        let mut old = std::mem::take(&mut self.wanted);
        for peer in peers {
            let node = peer.node();
            let mut wanted = match old.remove(&node.id) {
                Some(wanted) if wanted.node.address == node.address => wanted,
                _ => {
                    let link = Link::new(&node.address, State::Connecting, 0);
                    self.table.insert(Arc::clone(&node.id), link);
                    Wanted {
                        node: Arc::clone(node),
                        failures: 0,
                        attempt: Some(self.attempt(node, Duration::ZERO)),
                    }
                }
            };
            // Its metadata may be other ones.
            wanted.node = Arc::clone(node);
            self.wanted.insert(Arc::clone(&node.id), wanted);
        }
        self.table.retain(|id, _| self.wanted.contains_key(id));
        self.is_published = false;
    }

    /// Begins to connect after a pause.
    fn attempt(&mut self, node: &Arc<Node>, pause: Duration) -> AbortHandle {
        let (node, limit) = (Arc::clone(node), self.timeout);
        let mut make = self.make.clone();
        self.attempts.spawn(async move {
            // Even the shortest sleep lasts until the timer's next tick.
            if !pause.is_zero() {
                sleep(pause).await;
            }
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

    fn joined(&mut self, attempt: Result<Attempt<M::Response>, JoinError>) {
        match attempt {
            Ok((node, result)) => self.ended(&node, result),
            Err(error) => self.broke_off(error),
        }
    }

    /// An attempt ended.
    fn ended(&mut self, node: &Arc<Node>, result: Result<M::Response, BoxError>) {
        let wanted = self.wanted.get_mut(&node.id);
        let Some(wanted) = wanted.filter(|wanted| wanted.node.address == node.address) else {
            return;
        };
        match result {
            Ok(service) => {
                wanted.attempt = None;
                debug!(id = %node.id, address = %node.address, "connected");
                self.put(node, State::Connected(service));
            }
            Err(error) => {
                let node = Arc::clone(&wanted.node);
                if !is_local(&*error) {
                    self.report(&node);
                }
                self.failed(&node, error.into());
            }
        }
    }

    /// An attempt ended without a result: by a panic, or it was given up as its node is gone.
    fn broke_off(&mut self, error: JoinError) {
        let is_its = |wanted: &&Wanted| {
            let attempt = wanted.attempt.as_ref();
            attempt.is_some_and(|attempt| attempt.id() == error.id())
        };
        if let Some(wanted) = self.wanted.values().find(is_its) {
            let node = Arc::clone(&wanted.node);
            self.failed(&node, Arc::new(error));
        }
    }

    /// Replaces a link that broke, unless that is done.
    fn mend(&mut self, broken: &Broken<M::Response>) {
        let Broken { id, link, fault } = broken;
        let is_current = |now: &Arc<Link<M::Response>>| Arc::ptr_eq(now, link);
        let is_current = self.table.get(id).is_some_and(is_current);
        let Some(wanted) = self.wanted.get_mut(id).filter(|_| is_current) else {
            return;
        };
        let node = Arc::clone(&wanted.node);
        if link.may_break() {
            wanted.failures = u32::from(!link.was_of_use());
            self.attempt_again(&node, Duration::ZERO);
            self.put(&node, State::Connecting);
        } else {
            self.failed(&node, Arc::clone(fault));
        }
    }

    /// Connects to a node anew after a pause, which grows each time.
    fn failed(&mut self, node: &Arc<Node>, fault: Fault) {
        let Some(wanted) = self.wanted.get_mut(&node.id) else {
            return;
        };
        wanted.failures = wanted.failures.saturating_add(1);
        let pause = pause(wanted.failures);
        debug!(id = %node.id, address = %node.address, error = &*fault, ?pause, "no connection");
        self.attempt_again(node, pause);
        self.put(node, State::Failing(fault));
    }

    /// [`attempt`](Self::attempt), for a node that is wanted already.
    fn attempt_again(&mut self, node: &Arc<Node>, pause: Duration) {
        let attempt = self.attempt(node, pause);
        if let Some(wanted) = self.wanted.get_mut(&node.id) {
            wanted.attempt = Some(attempt);
        }
    }

    fn put(&mut self, node: &Arc<Node>, state: State<M::Response>) {
        let wanted = self.wanted.get(&node.id);
        let failures = wanted.map_or(0, |wanted| wanted.failures);
        let link = Link::new(&node.address, state, failures);
        self.table.insert(Arc::clone(&node.id), link);
        self.is_published = false;
    }

    fn publish(&mut self) {
        if !std::mem::replace(&mut self.is_published, true) {
            self.links.table.store(Arc::new(self.table.clone()));
            self.links.published.send_modify(|count| *count += 1);
        }
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

/// From 50 ms, twice as long each time, up to the longest, of which a random half is left out.
fn pause(failures: u32) -> Duration {
    let full = Duration::from_millis(50 << failures.saturating_sub(1).min(7)).min(LONGEST_PAUSE);
    full / 2 + full.mul_f64(fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use tower::service_fn;
    use vine_registry::{MemoryRegistry, RegistryExt, Service as Model};

    use super::*;
    use crate::Cache;

    #[tokio::test(start_paused = true)]
    async fn what_happens_at_once_takes_one_table() {
        let cache = Cache::new(MemoryRegistry::new());
        let nodes = (0..1_000).map(|number| Node::new(number.to_string(), "h:1"));
        let service = Model::new("s", "v1").with_nodes(nodes);
        cache.register(service).await.unwrap();
        let selector = Selector::builder(cache.subscribe("s")).build();
        let (links, broken) = Links::new();
        let links = Arc::new(links);
        let connect = service_fn(|_: Arc<Node>| ready(Ok::<_, Infallible>(())));
        let timeout = Duration::from_secs(1);
        let keeper = Keeper::new(Arc::clone(&links), broken, selector, connect, timeout);
        let keeper = tokio::spawn(keeper.run());
        let mut published = links.published.subscribe();
        let is_up = |link: &Arc<Link<()>>| matches!(link.state, State::Connected(()));
        while links
            .table
            .load()
            .values()
            .filter(|link| is_up(link))
            .count()
            < 1_000
        {
            published.changed().await.unwrap();
        }
        let tables = *published.borrow();
        assert!(tables < 10, "{tables}");
        keeper.abort();
    }
}
