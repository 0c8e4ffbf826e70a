use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::timeout;
use tower::{Service, balance::p2c::Balance, discover::Change, load::Constant, service_fn};
use vine_discovery::{Cache, Selector, clients::tower::Discover};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service as Model};

use crate::{
    faulty::Faulty,
    world::{NAME, model},
};

fn service(id: &str, address: &str) -> Model {
    Model::new(NAME, "v1").with_node(Node::new(id, address))
}

fn selector(cache: &Cache) -> Selector {
    Selector::builder(cache.subscribe(NAME)).build()
}

#[tokio::test]
async fn nodes_come_move_and_go() {
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(service("a", "h:1")).await.unwrap();
    let selector = selector(&cache);
    selector.ready().await.unwrap();
    let mut discover = Discover::new(selector, |peer| peer.node().address.clone());
    let Some(Ok(Change::Insert(id, address))) = discover.next().await else {
        panic!("a comes");
    };
    assert_eq!((&*id, &*address), ("a", "h:1"));

    cache.register(service("a", "h:2")).await.unwrap();
    let Some(Ok(Change::Insert(id, address))) = discover.next().await else {
        panic!("a moves");
    };
    assert_eq!((&*id, &*address), ("a", "h:2"));

    cache.register(service("b", "h:3")).await.unwrap();
    let Some(Ok(Change::Insert(id, _))) = discover.next().await else {
        panic!("b comes, a is the same");
    };
    assert_eq!(&*id, "b");

    cache.deregister(&service("a", "h:2")).await.unwrap();
    let Some(Ok(Change::Remove(id))) = discover.next().await else {
        panic!("a goes");
    };
    assert_eq!(&*id, "a");
}

#[tokio::test]
async fn towers_own_balancer_takes_it() {
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(service("a", "h:1")).await.unwrap();
    let discover = Discover::new(selector(&cache), |peer| {
        let id = Arc::clone(&peer.node().id);
        let call = move |()| {
            let id = Arc::clone(&id);
            async move { Ok::<_, Infallible>(id) }
        };
        Constant::new(service_fn(call), 1)
    });
    let mut balance = Balance::new(discover);
    std::future::poll_fn(|cx| Service::<()>::poll_ready(&mut balance, cx))
        .await
        .unwrap();
    assert_eq!(&*balance.call(()).await.unwrap(), "a");
}

/// The ids of the nodes once they are `wanted`, as the changes tell them.
async fn follow(
    discover: &mut Discover<()>,
    nodes: &mut BTreeSet<String>,
    wanted: impl IntoIterator<Item = &str>,
) {
    let wanted: BTreeSet<_> = wanted.into_iter().map(str::to_owned).collect();
    let wait = async {
        while *nodes != wanted {
            match discover.next().await {
                Some(Ok(Change::Insert(id, ()))) => nodes.insert(id.to_string()),
                Some(Ok(Change::Remove(id))) => nodes.remove(&*id),
                None => panic!("no more changes"),
            };
        }
    };
    let done = timeout(Duration::from_secs(300), wait).await;
    assert!(done.is_ok(), "{nodes:?} instead of {wanted:?}");
}

/// No change follows by itself.
async fn settled(discover: &mut Discover<()>) {
    let later = timeout(Duration::from_secs(1), discover.next()).await;
    assert!(later.is_err(), "that was not the last change");
}

#[tokio::test(start_paused = true)]
async fn another_zone_is_told_of_only_while_there_is_none_in_the_preferred_one() {
    let node = |id: &str, zone| Node::new(id, "h:1").with_metadata([(Node::ZONE, zone)]);
    let near = Model::new(NAME, "v1").with_nodes([node("a", "east"), node("b", "east")]);
    let far = Model::new(NAME, "v1").with_node(node("c", "west"));
    let cache = Cache::new(MemoryRegistry::new());
    cache.register(near.clone()).await.unwrap();
    cache.register(far).await.unwrap();
    let selector = Selector::builder(cache.subscribe(NAME))
        .zone("east", 0.5)
        .build();
    selector.ready().await.unwrap();
    let (mut discover, mut nodes) = (Discover::new(selector, |_| ()), BTreeSet::new());
    follow(&mut discover, &mut nodes, ["a", "b"]).await;
    settled(&mut discover).await;
    cache.deregister(&near).await.unwrap();
    follow(&mut discover, &mut nodes, ["c"]).await;
    settled(&mut discover).await;
    cache.register(near).await.unwrap();
    follow(&mut discover, &mut nodes, ["a", "b"]).await;
    settled(&mut discover).await;
}

#[tokio::test(start_paused = true)]
async fn suspects_are_told_of_only_while_there_is_no_other_node() {
    let registry = Faulty::with([model("a b c d")]);
    let cache = Cache::new(registry.clone());
    let mut subscription = cache.subscribe(NAME);
    let selector = selector(&cache);
    let (mut discover, mut nodes) = (Discover::new(selector, |_| ()), BTreeSet::new());
    follow(&mut discover, &mut nodes, ["a", "b", "c", "d"]).await;
    registry.set([model("d")]);
    follow(&mut discover, &mut nodes, ["d"]).await;
    settled(&mut discover).await;
    subscription.ready().await.unwrap();
    assert_eq!(subscription.known().suspects[0].nodes.len(), 3);
    registry.set([]);
    follow(&mut discover, &mut nodes, ["a", "b", "c", "d"]).await;
    settled(&mut discover).await;
}
