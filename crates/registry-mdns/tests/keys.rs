//! Shared keys over real sockets, on loopback: each test has a port of its own.

use std::time::Duration;

use tokio::time::timeout;
use vine_registry::{Action, Error, Node, Options, Registry, RegistryExt, Service};
use vine_registry_mdns::{Dialect, Key, MdnsOptions, MdnsRegistry, Statistics};

const NAME: &str = "go.vine.test";

/// On a machine that has other things to do; for longer than what is lost is believed.
const PATIENCE: Duration = Duration::from_secs(200);

fn options(port: u16, keys: &[&str]) -> MdnsOptions {
    let keys = keys.iter().map(|key| key.parse::<Key>().expect("a key"));
    MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"])
        .with_keys(keys)
}

fn handle(port: u16, keys: &[&str]) -> MdnsRegistry {
    MdnsRegistry::new(Options::new(), options(port, keys)).expect("the options are fine")
}

fn service(id: &str) -> Service {
    Service::new(NAME, "v1").with_node(Node::new(id, "127.0.0.1:8080"))
}

async fn ids(registry: &MdnsRegistry) -> Vec<String> {
    let found = registry.get_service(NAME).await.expect("an answer");
    let nodes = found.iter().flat_map(|service| service.nodes.iter());
    let mut ids: Vec<_> = nodes.map(|node| node.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn only_who_has_a_key_is_believed_and_the_others_are_counted() {
    let key = &["k2:new", "k1:old"];
    let (one, other) = (handle(18_201, key), handle(18_201, key));
    let (without, false_one) = (handle(18_201, &[]), handle(18_201, &["k2:other"]));
    one.register(service("signed")).await.unwrap();
    without.register(service("unsigned")).await.unwrap();
    false_one.register(service("forged")).await.unwrap();

    assert_eq!(ids(&other).await, ["signed"]);
    let counted = async {
        loop {
            match other.statistics().await.unwrap() {
                Statistics {
                    unsigned: 1..,
                    forged: 1..,
                    ..
                } => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, counted).await.expect("both are counted");
    let mut all = without.watch_service(NAME).await.unwrap();
    let mut known = all.take_snapshot().node_count();
    while known < 3 {
        let event = timeout(PATIENCE, all.next_event()).await;
        let event = event.expect("an event").expect("the watch goes on");
        assert_eq!(event.action, Action::Create);
        known += event.service.nodes.len();
    }
    assert_eq!(ids(&without).await, ["forged", "signed", "unsigned"]);
    assert_eq!(without.statistics().await.unwrap().unsigned, 0);

    let mut watch = other.watch_service(NAME).await.unwrap();
    one.close().await.unwrap();
    let event = timeout(PATIENCE, watch.next_event()).await;
    let event = event.expect("an event").expect("the watch goes on");
    assert_eq!(event.action, Action::Delete);
    let gone = other.get_service(NAME).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    other.close().await.unwrap();
    let closed = other.statistics().await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

#[test]
fn what_cannot_be_signed_is_not_spoken() {
    for dialect in [Dialect::Vine, Dialect::Both] {
        let options = options(18_202, &["k:secret"]).with_dialect(dialect);
        let refused = MdnsRegistry::new(Options::new(), options).unwrap_err();
        assert!(refused.to_string().contains("dialect"), "{refused}");
    }
}
