use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::tower::discover::Change;
use futures_core::Stream;
use futures_util::stream::{self, StreamExt};

use crate::{Peer, Selector};

/// The nodes of a selector for tower's own balancers, keyed by the id of the node: a
/// [`tower::discover::Discover`](::tower::discover::Discover).
///
/// These are the nodes that the selector prefers: those of another zone, ejected ones and suspects are
/// inserted when there is nothing better, and removed when there is. The balancer takes all that it knows
/// for equal.
///
/// A node whose address or version changed is inserted anew. Nothing is reported to the selector, so
/// nodes that fail are the balancer's affair.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::StreamExt;
/// use tower::discover::Change;
/// use vine_discovery::{Cache, Selector, clients::tower::Discover};
/// use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};
///
/// let cache = Cache::new(MemoryRegistry::new());
/// cache.register(Service::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80"))).await?;
///
/// let selector = Selector::builder(cache.subscribe("go.vine.test")).build();
/// let mut discover = Discover::new(selector, |peer| peer.node().address.clone());
/// let Some(Ok(Change::Insert(id, address))) = discover.next().await else { panic!() };
/// assert_eq!((&*id, &*address), ("a", "10.0.0.7:80"));
/// # Ok(())
/// # }
/// ```
pub struct Discover<S>(Pin<Box<dyn Stream<Item = Item<S>> + Send>>);

type Item<S> = Result<Change<Arc<str>, S>, Infallible>;

impl<S: Send + 'static> Discover<S> {
    /// Tells of the nodes that the selector prefers, each as the service that `make` makes for it.
    #[must_use]
    pub fn new(selector: Selector, make: impl FnMut(&Peer) -> S + Send + 'static) -> Self {
        let state = (selector.updates(), make, HashMap::new());
        let changes = stream::unfold(state, |(mut updates, mut make, known)| async move {
            let peers = updates.next_preferred().await;
            let (changes, known) = changes(&known, peers, &mut make);
            Some((stream::iter(changes), (updates, make, known)))
        });
        Self(Box::pin(changes.flatten()))
    }
}

type Roster = HashMap<Arc<str>, Peer>;

fn changes<S>(
    known: &Roster,
    peers: Vec<Peer>,
    make: &mut impl FnMut(&Peer) -> S,
) -> (Vec<Item<S>>, Roster) {
    let now: Roster = peers
        .into_iter()
        .map(|peer| (Arc::clone(&peer.node().id), peer))
        .collect();
    let is_other = |(id, peer): &(&Arc<str>, &Peer)| {
        !known.get(*id).is_some_and(|old| {
            old.node().address == peer.node().address && old.version() == peer.version()
        })
    };
    let others = now.iter().filter(is_other);
    let come = others.map(|(id, peer)| Change::Insert(Arc::clone(id), make(peer)));
    let gone = known.keys().filter(|id| !now.contains_key(*id));
    // Who comes is told first, so that there is always one where there was one.
    let changes = come.chain(gone.map(|id| Change::Remove(Arc::clone(id))));
    let changes = changes.map(Ok).collect();
    (changes, now)
}

impl<S> Stream for Discover<S> {
    type Item = Item<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<S> fmt::Debug for Discover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discover").finish_non_exhaustive()
    }
}
