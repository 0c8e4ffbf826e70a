//! Services that a Vine for Go and we hold together. The Go side is what its etcd plugin writes and
//! reads, written and read without the engine.
#![allow(clippy::unwrap_used, reason = "a test")]

use vine_etcd_harness::{Client, Cluster};
use vine_registry::{
    Action, DeregisterOptions, Error, Fold, Node, Options, Registry, RegistryExt, Service, Services,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry, Layout};

const NAME: &str = "go/vine/shared";

/// Keys as the Go plugin makes them, for each layout.
const LAYOUTS: [(Layout, &str); 3] = [
    (Layout::Vine, "/vine/registry/vine/go-vine-shared/"),
    (Layout::Vine15, "/vine/registry/go-vine-shared/"),
    (Layout::GoMicro, "/micro/registry/go-vine-shared/"),
];

fn open(cluster: &Cluster, layout: Layout) -> EtcdRegistry {
    let options = Options::new().with_addrs(cluster.addrs());
    EtcdRegistry::new(options, EtcdOptions::new().with_layout(layout)).unwrap()
}

/// Registers as the Go plugin does: no epoch, a lease of its own, empty fields left out.
async fn go_registers(client: &Client, prefix: &str, id: &str, address: &str) -> i64 {
    let lease = client.grant(60).await;
    let value = format!(
        r#"{{"name":"{NAME}","version":"v1","namespace":"vine","metadata":{{"by":"go"}},"nodes":[{{"id":"{id}","address":"{address}"}}]}}"#
    );
    let key = format!("{prefix}{}", id.replace('/', "-"));
    client.put(key, value, lease).await;
    lease
}

/// What the Go plugin would read of a key: every field it knows, of the type it expects.
fn go_reads(value: &[u8]) -> (String, String, String, String) {
    #[derive(serde::Deserialize)]
    struct GoNode {
        id: String,
        address: String,
    }
    #[derive(serde::Deserialize)]
    struct GoService {
        name: String,
        version: String,
        nodes: Vec<GoNode>,
    }
    let service: GoService = serde_json::from_slice(value).unwrap();
    let [node] = &service.nodes[..] else {
        panic!("a key holds one node");
    };
    (
        service.name,
        service.version,
        node.id.clone(),
        node.address.clone(),
    )
}

fn ids(services: &Services) -> Vec<String> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn both_kinds_hold_nodes_of_one_service() {
    for (layout, prefix) in LAYOUTS {
        let cluster = Cluster::single().await;
        let (client, registry) = (cluster.client(), open(&cluster, layout));
        let mut watcher = registry.watch_service(NAME).await.unwrap();
        let mut fold = Fold::new(&watcher.take_snapshot());
        let mut hears = async |action: Action, id: &str| {
            let event = watcher.next_event().await.unwrap();
            assert_eq!(event.action, action, "{event:?}");
            assert!(event.service.nodes.get(id).is_some(), "{event:?}");
            fold.apply(&event);
            ids(&fold.services())
        };
        let theirs = go_registers(client, prefix, "go/1", "10.0.0.1:1").await;
        assert_eq!(hears(Action::Create, "go/1").await, ["go/1"]);
        let ours = Service::new(NAME, "v1").with_node(Node::new("rust/1", "10.0.0.2:2"));
        registry.register(ours.clone()).await.unwrap();
        assert_eq!(hears(Action::Create, "rust/1").await, ["go/1", "rust/1"]);
        assert_eq!(
            ids(&registry.get_service(NAME).await.unwrap()),
            ["go/1", "rust/1"]
        );

        let kvs = client.range(&format!("{prefix}rust-1")).await;
        let read = go_reads(&kvs[0].value);
        let expected = [NAME, "v1", "rust/1", "10.0.0.2:2"].map(str::to_owned);
        assert_eq!(<[String; 4]>::from(read), expected);

        let again = go_registers(client, prefix, "go/1", "10.0.0.1:9").await;
        hears(Action::Update, "go/1").await;
        client.revoke(theirs).await;
        client.revoke(again).await;
        assert_eq!(hears(Action::Delete, "go/1").await, ["rust/1"]);
        registry.deregister(&ours).await.unwrap();
        assert!(hears(Action::Delete, "rust/1").await.is_empty());
        assert!(client.range("/").await.is_empty());
        registry.close().await.unwrap();
    }
}

/// What a killed Go process left, under a lease that holds for long.
#[tokio::test]
async fn an_orphan_is_removed_by_force_alone() {
    let cluster = Cluster::single().await;
    let (client, registry) = (cluster.client(), open(&cluster, Layout::Vine));
    go_registers(client, LAYOUTS[0].1, "go/1", "10.0.0.1:1").await;
    let orphan = Service::new(NAME, "v1").with_node(Node::new("go/1", "10.0.0.1:1"));
    let refused = registry.deregister(&orphan).await;
    assert!(
        matches!(refused, Err(Error::NotOwner { .. })),
        "{refused:?}"
    );
    assert_eq!(client.range("/vine/").await.len(), 1);
    let force = DeregisterOptions::new().with_force(true);
    registry.deregister_with(&orphan, &force).await.unwrap();
    assert!(client.range("/vine/").await.is_empty());
    registry.close().await.unwrap();
}

/// Ids that differ and meet in one key: an error, and nothing is overwritten.
#[tokio::test]
async fn ids_that_meet_in_one_key() {
    let cluster = Cluster::single().await;
    let (client, registry) = (cluster.client(), open(&cluster, Layout::Vine));
    go_registers(client, LAYOUTS[0].1, "a/b", "10.0.0.1:1").await;
    let ours = Service::new(NAME, "v1").with_node(Node::new("a-b", "10.0.0.2:2"));
    let error = registry.register(ours).await.unwrap_err();
    assert!(matches!(error, Error::InvalidService { .. }), "{error:?}");
    let kvs = client.range("/vine/").await;
    assert_eq!(go_reads(&kvs[0].value).2, "a/b");
    registry.close().await.unwrap();
}

/// "foo" must not find "foobar".
#[tokio::test]
async fn names_that_begin_alike_are_not_mixed_up() {
    let cluster = Cluster::single().await;
    let (client, registry) = (cluster.client(), open(&cluster, Layout::Vine));
    go_registers(
        client,
        "/vine/registry/vine/go-vine-shared/",
        "1",
        "10.0.0.1:1",
    )
    .await;
    let value = r#"{"name":"go/vine/sharedmore","version":"v1","namespace":"vine","nodes":[{"id":"2","address":"10.0.0.1:2"}]}"#;
    client
        .put("/vine/registry/vine/go-vine-sharedmore/2", value, 0)
        .await;
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    assert_eq!(ids(&watcher.take_snapshot()), ["1"]);
    assert_eq!(ids(&registry.get_service(NAME).await.unwrap()), ["1"]);
    assert_eq!(registry.list_services().await.unwrap().len(), 2);
    registry.close().await.unwrap();
}

/// Values that are none, beside one that is: they are passed over, not the end of everything.
#[tokio::test]
async fn what_is_no_service_is_passed_over() {
    let cluster = Cluster::single().await;
    let (client, registry) = (cluster.client(), open(&cluster, Layout::Vine));
    let prefix = LAYOUTS[0].1;
    for (id, value) in [
        ("x1", ""),
        ("x2", "{"),
        ("x3", "null"),
        (
            "x4",
            r#"{"name":"go/vine/shared","version":"v1","nodes":null}"#,
        ),
        (
            "x5",
            r#"{"name":"another","version":"v1","nodes":[{"id":"x5","address":"10.0.0.1:1"}]}"#,
        ),
        ("x6", "\u{0}\u{1}"),
    ] {
        client.put(format!("{prefix}{id}"), value, 0).await;
    }
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    assert_eq!(watcher.take_snapshot().node_count(), 0);
    go_registers(client, prefix, "go/1", "10.0.0.1:1").await;
    let event = watcher.next_event().await.unwrap();
    assert_eq!(event.action, Action::Create);
    assert_eq!(ids(&registry.get_service(NAME).await.unwrap()), ["go/1"]);
    registry.close().await.unwrap();
}
