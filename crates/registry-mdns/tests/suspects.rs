//! A goodbye is no loss to who keeps what is lost in bulk. On loopback alone, on a port of its own.

use std::time::Duration;

use tokio::time::timeout;
use vine_discovery::{Cache, Subscription};
use vine_registry::{Node, Options, RegistryExt, Service};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

const NAME: &str = "go.vine.test";

fn handle() -> MdnsRegistry {
    let mdns = MdnsOptions::new()
        .with_port(18_953)
        .with_interfaces(["127.0.0.1"]);
    MdnsRegistry::new(Options::new(), mdns).expect("the options are fine")
}

fn service(ids: &[&str]) -> Service {
    let nodes = ids.iter().map(|id| Node::new(*id, "127.0.0.1:8080"));
    Service::new(NAME, "v1").with_nodes(nodes)
}

async fn until_live(subscription: &mut Subscription, count: usize) {
    let wait = async {
        let live = |subscription: &Subscription| {
            let known = subscription.known();
            let nodes = known.services.iter().map(|service| service.nodes.len());
            nodes.sum::<usize>()
        };
        while live(subscription) != count {
            subscription.changed().await.expect("the cache lives");
        }
    };
    let done = timeout(Duration::from_secs(120), wait).await;
    assert!(done.is_ok(), "{:?}", subscription.known());
}

#[tokio::test]
async fn what_another_process_deregisters_in_bulk_is_not_suspected_of_being_lost() {
    let (owner, reader) = (handle(), handle());
    owner
        .register(service(&["a", "b", "c", "d"]))
        .await
        .unwrap();
    let cache = Cache::new(reader);
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    until_live(&mut subscription, 4).await;
    owner.deregister(&service(&["a", "b", "c"])).await.unwrap();
    until_live(&mut subscription, 1).await;
    let known = subscription.known();
    assert!(known.suspects.is_empty(), "{:?}", known.suspects);
}
