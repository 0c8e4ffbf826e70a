use std::{convert::Infallible, sync::Arc};

use futures_util::StreamExt;
use tower::{Service, balance::p2c::Balance, discover::Change, load::Constant, service_fn};
use vine_discovery::{Cache, Selector, clients::tower::Discover};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service as Model};

const NAME: &str = "go.vine.test";

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
