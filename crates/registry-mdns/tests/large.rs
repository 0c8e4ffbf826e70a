//! Large services and odd names over real sockets, on loopback: each test has a port of its own.

use std::sync::Arc;

use vine_registry::{
    Endpoint, Error, ListOptions, Node, Options, Registry, RegistryExt, Service, Value,
};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

const NAME: &str = "go.vine.test";

fn handle(port: u16) -> MdnsRegistry {
    let mdns = MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"]);
    MdnsRegistry::new(Options::new(), mdns).expect("the options are fine")
}

fn noise(seed: u64, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(len)
        .collect()
}

/// Each part of it is about a fifth of 64 KB that can't be deflated away.
fn large() -> Service {
    let value = |seed| Value::new("Message", noise(seed, 6_000));
    Service::new(NAME, "v1")
        .with_namespace("vine")
        .with_metadata([("service", noise(1, 12_000))])
        .with_endpoint(
            Endpoint::new("Greeter.Hello")
                .with_request(value(2))
                .with_response(value(3)),
        )
        .with_apis([serde_json::json!({ "openapi": "3.1.0", "info": noise(4, 25_000) })])
        .with_node(Node::new("a", "127.0.0.1:8080").with_metadata([("node", noise(5, 12_000))]))
}

#[tokio::test]
async fn what_is_large_arrives_unchanged() {
    let (one, other) = (handle(18_101), handle(18_101));
    let large = Arc::new(large());
    one.register(Arc::clone(&large)).await.unwrap();
    let found = other.get_service(NAME).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0], *large);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit_and_leaves_what_was() {
    let (one, other) = (handle(18_102), handle(18_102));
    let before = Service::new(NAME, "v1")
        .with_namespace("vine")
        .with_node(Node::new("a", "127.0.0.1:8080"));
    one.register(before.clone()).await.unwrap();
    let nodes = ["a", "b"].map(|id| Node::new(id, "127.0.0.1:9090"));
    let larger = large()
        .with_metadata([("service", noise(1, 40_000))])
        .with_nodes(nodes);
    let error = one.register(larger).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 65_537..,
                limit: 65_536,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("metadata"), "{error}");
    for registry in [&one, &other] {
        let found = registry.get_service(NAME).await.unwrap();
        assert_eq!(*found[0], before);
    }
    assert_eq!(one.capabilities().max_service_size, Some(65_536));
}

#[tokio::test]
async fn names_and_ids_may_be_odd() {
    let (one, other) = (handle(18_103), handle(18_103));
    let long = "x".repeat(200);
    let odd = [
        "a",
        "a.b.c",
        "with space",
        "a/b\\c",
        "größe",
        "世界.🌱",
        "UPPER",
        "upper",
        "_sub._tcp.local",
        "-",
        &long,
    ];
    for name in odd {
        let nodes = odd.map(|id| Node::new(id, "127.0.0.1:8080"));
        let service = Service::new(name, "v1")
            .with_namespace("vine")
            .with_nodes(nodes);
        one.register(service).await.unwrap();
    }
    for name in odd {
        let found = other.get_service(name).await.unwrap();
        assert_eq!((found.len(), &*found[0].name), (1, name));
        let mut ids: Vec<_> = found[0].nodes.iter().map(|node| &*node.id).collect();
        let mut expected = odd.to_vec();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected, "{name}");
    }
    let listed = other.list_services_with(&ListOptions::new()).await.unwrap();
    assert_eq!(listed.len(), odd.len());
}
