use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, yield_now},
    time::Instant,
};
use tower_service::Service;
use vine_registry::Node;

use super::{
    BalancedBuilder,
    links::{Fault, Link, Links, State},
    policy::{Once, Policy},
};
use crate::{
    Guard, NoNode, Outcome, Peer, Pick, Selector,
    clients::{
        Attempts, BoxError, Budget, CallError, Ending, Retries,
        limit::{Limit, Over},
        local::is_local,
    },
};

/// A tower service that calls the nodes of a selector: it keeps a connection to each, made in the
/// background, and hands each call to the node that the selector picks among those connected.
///
/// `S` is a connection to one node. It is cloned for each call, as with connections that carry many
/// calls at a time; put others into `tower::buffer::Buffer`. When its `poll_ready` fails, it
/// is replaced, and the call goes elsewhere. Where that happens again and again, to connections less than
/// five seconds old that carried no answer, the node has failed, the call is tried again as [`Retries`]
/// allow, and replacements come after growing pauses.
///
/// It is always ready: a call waits while the first connections are being made. Clones share the
/// connections.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{convert::Infallible, sync::Arc};
/// use tower::{Service, service_fn};
/// use vine_discovery::{Cache, Selector, clients::tower::Balanced};
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service as Model};
///
/// let cache = Cache::new(MemoryRegistry::new());
/// cache.register(Model::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80"))).await?;
/// let selector = Selector::builder(cache.subscribe("go.vine.test")).build();
///
/// // Connects to a node: here without a network.
/// let connect = service_fn(|node: Arc<Node>| async move {
///     let call = move |name: &'static str| {
///         let answer = format!("Hello {name}, this is {}", node.id);
///         async move { Ok::<_, Infallible>(answer) }
///     };
///     Ok::<_, Infallible>(service_fn(call))
/// });
/// let mut hello = Balanced::builder(selector).build(connect);
/// assert_eq!(hello.call("Ada").await?, "Hello Ada, this is a");
/// # Ok(())
/// # }
/// ```
pub struct Balanced<S, Request, P = Once> {
    inner: Arc<Inner<S, P>>,
    request: PhantomData<fn(Request)>,
}

/// A call of a [`Balanced`].
pub type CallFuture<T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send>>;

struct Inner<S, P> {
    selector: Selector,
    links: Arc<Links<S>>,
    policy: P,
    budget: Budget,
    keeper: JoinHandle<()>,
}

impl Balanced<(), ()> {
    /// Begins to make one for the nodes of a selector.
    pub fn builder(selector: Selector) -> BalancedBuilder {
        BalancedBuilder::new(selector)
    }
}

impl<S, Request, P> Balanced<S, Request, P> {
    pub(super) fn new(
        selector: Selector,
        links: Arc<Links<S>>,
        policy: P,
        retries: Retries,
        keeper: JoinHandle<()>,
    ) -> Self {
        let inner = Inner {
            selector,
            links,
            policy,
            budget: Budget::new(retries, Instant::now()),
            keeper,
        };
        Self {
            inner: Arc::new(inner),
            request: PhantomData,
        }
    }

    /// The selector that picks its nodes.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.inner.selector
    }
}

impl<S, Request, P> Service<Request> for Balanced<S, Request, P>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    P: Policy<Request, S::Response, S::Error>,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = CallError;
    type Future = CallFuture<S::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.call(request).await })
    }
}

/// A node that was picked, and the connection to it.
type Linked<S> = (Guard, Arc<Link<S>>, S);

impl<S: Send + Sync, P: Sync> Inner<S, P> {
    async fn call<Request>(&self, mut request: Request) -> Result<S::Response, CallError>
    where
        S: Service<Request> + Clone + Send + Sync,
        S::Error: Into<BoxError> + Send,
        S::Response: Send,
        S::Future: Send,
        P: Policy<Request, S::Response, S::Error>,
        Request: Send,
    {
        let key = self.policy.key(&request);
        let limit = Limit::new(self.policy.timeout(&request));
        let mut attempts = Attempts::new(&self.budget);
        let mut failure = None;
        loop {
            let linked = limit.of(self.link(&mut attempts, key)).await;
            let linked = linked.map_err(|over| self.timed_out(&over, None))?;
            // What a node may have seen is not said to have reached none.
            let linked = linked.map_err(|error| failure.take().unwrap_or(error));
            let (mut guard, link, mut service) = linked?;
            let ready = limit.of(poll_fn(|cx| service.poll_ready(cx))).await;
            let ready = ready.map_err(|over| self.timed_out(&over, Some(&mut guard)))?;
            if let Err(error) = ready {
                self.lost(&mut guard, &link, error.into(), &mut attempts)?;
                continue;
            }
            let copy = || self.policy.copy(&request);
            let spare = attempts.is_another_left().then(copy).flatten();
            let result = limit.of(service.call(request)).await;
            let result = result.map_err(|over| self.timed_out(&over, Some(&mut guard)))?;
            if result.is_ok() {
                link.answered();
            }
            let ending = self.policy.ending(result.as_ref());
            ending.report(&mut guard);
            if let Some(next) = spare
                && self.policy.is_whole(&next)
                && attempts.again(&guard, ending, || self.policy.is_idempotent(&next))
            {
                request = next;
                if let Err(error) = result {
                    let error = CallError::failed(&self.selector, &guard, error.into());
                    failure = Some(error);
                }
                // Where one connection broke, others may have, and who drives them has to notice.
                yield_now().await;
                continue;
            }
            return match result {
                Ok(mut response) => {
                    self.policy.hold(&mut response, guard);
                    Ok(response)
                }
                Err(error) => Err(CallError::failed(&self.selector, &guard, error.into())),
            };
        }
    }

    /// A node that was not tried and is connected; waits while one may soon be.
    async fn link(
        &self,
        attempts: &mut Attempts<'_>,
        key: Option<u64>,
    ) -> Result<Linked<S>, CallError>
    where
        S: Clone,
    {
        let mut published: Option<watch::Receiver<u64>> = None;
        loop {
            match self.try_link(attempts.tried(), key) {
                Ok(linked) => return Ok(linked),
                Err(NoNode::Unknown { .. }) => {
                    self.selector.ready().await?;
                    continue;
                }
                Err(NoNode::Tried { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(published) = &mut published else {
                // Then look again, so that nothing is missed.
                published = Some(self.links.published.subscribe());
                continue;
            };
            match self.prospect(attempts.tried()) {
                // The task that tells ends with this.
                Prospect::Soon => _ = published.changed().await,
                _ if !attempts.tried().is_empty() => attempts.forget(),
                Prospect::Failing(error) => return Err(self.unreachable(error)),
                Prospect::Gone => {}
            }
        }
    }

    fn try_link(&self, tried: &[Arc<str>], key: Option<u64>) -> Result<Linked<S>, NoNode>
    where
        S: Clone,
    {
        let table = self.links.table.load();
        let link = |node: &Node| table.get(&node.id).filter(|link| link.is_up(node));
        let is_up = |peer: &Peer| link(peer.node()).is_some();
        let mut pick = Pick::new().avoiding(tried).only(&is_up);
        pick.key = key;
        let guard = self.selector.pick_by(&pick)?;
        if let Some(link) = link(guard.node())
            && let State::Connected(service) = &link.state
        {
            let (link, service) = (Arc::clone(link), service.clone());
            return Ok((guard, link, service));
        }
        // It broke just now.
        let service = Arc::clone(self.selector.subscription().name());
        Err(NoNode::Tried { service })
    }

    /// What may become of the nodes that were not tried.
    fn prospect(&self, tried: &[Arc<str>]) -> Prospect {
        let table = self.links.table.load();
        let mut prospect = Prospect::Gone;
        for peer in self.selector.peers() {
            let node = peer.node();
            if tried.contains(&node.id) {
                continue;
            }
            match table.get(&node.id).map(|link| (link, &link.state)) {
                Some((link, State::Failing(error))) if link.is_to(node) => {
                    prospect = Prospect::Failing(Arc::clone(error));
                }
                _ => return Prospect::Soon,
            }
        }
        prospect
    }

    /// A connection takes no more calls, and is replaced. The call may go elsewhere: at no cost if the
    /// connection may break, else as after an attempt that the node has not seen.
    fn lost(
        &self,
        guard: &mut Guard,
        link: &Arc<Link<S>>,
        error: BoxError,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), CallError> {
        let may_break = link.may_break();
        let fault = Fault::from(error);
        let is_news = self.links.broke(&guard.node().id, link, &fault);
        if may_break {
            return Ok(());
        }
        if is_news && !is_local(&*fault) {
            guard.report(Outcome::Failure);
        }
        if attempts.again(guard, Ending::Unsent, || true) {
            return Ok(());
        }
        Err(CallError::failed(&self.selector, guard, fault.into()))
    }

    /// The call ends here; a node that has it has failed.
    fn timed_out(&self, over: &Over, guard: Option<&mut Guard>) -> CallError {
        CallError::TimedOut {
            service: Arc::clone(self.selector.subscription().name()),
            timeout: over.timeout,
            node: guard.map(|guard| {
                guard.report(Outcome::Failure);
                Arc::clone(&guard.node().id)
            }),
        }
    }

    fn unreachable(&self, source: Fault) -> CallError {
        let service = Arc::clone(self.selector.subscription().name());
        CallError::Unreachable { service, source }
    }
}

enum Prospect {
    /// One is being connected to.
    Soon,
    /// They can't be connected to.
    Failing(Fault),
    /// There are none.
    Gone,
}

impl<S, P> Drop for Inner<S, P> {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl<S, Request, P> Clone for Balanced<S, Request, P> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            request: PhantomData,
        }
    }
}

impl<S, Request, P: fmt::Debug> fmt::Debug for Balanced<S, Request, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balanced")
            .field("selector", &self.inner.selector)
            .field("policy", &self.inner.policy)
            .field("budget", &self.inner.budget)
            .finish_non_exhaustive()
    }
}
