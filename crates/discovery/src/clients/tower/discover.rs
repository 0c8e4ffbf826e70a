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
    /// Tells of the nodes that calls may go to, each as the service that `make` makes for it.
    #[must_use]
    pub fn new(selector: Selector, make: impl FnMut(&Peer) -> S + Send + 'static) -> Self {
        let state = (selector.updates(), make, HashMap::new());
        let changes = stream::unfold(state, |(mut updates, mut make, known)| async move {
            let peers = updates.next().await;
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
    let gone = known.keys().filter(|id| !now.contains_key(*id));
    let mut changes: Vec<_> = gone.map(|id| Ok(Change::Remove(Arc::clone(id)))).collect();
    for (id, peer) in &now {
        let is_same = |old: &Peer| {
            old.node().address == peer.node().address && old.version() == peer.version()
        };
        if !known.get(id).is_some_and(is_same) {
            changes.push(Ok(Change::Insert(Arc::clone(id), make(peer))));
        }
    }
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
