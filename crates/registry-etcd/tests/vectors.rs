//! What Vine for Go writes is read, and what is written here is what it reads.

mod support;

use serde_json::{Value, json};
use support::{Turn, registry};
use vine_registry::{
    Action, Endpoint, Error, ListOptions, Metadata, Namespaces, Node, RegisterOptions, Registry,
    RegistryExt, Service, Update, WatchOptions,
};
use vine_registry_etcd::{EtcdOptions, Layout};

/// Keys and values as Vine for Go wrote them, a line each in turn.
fn written_by_go() -> Vec<(&'static str, &'static str)> {
    let mut lines = include_str!("vectors/kv.txt").lines();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        pairs.push((key, value));
    }
    assert_eq!(pairs.len(), 4);
    pairs
}

/// What a change recorded from Vine for Go says of its key.
fn recorded() -> Vec<(bool, String, Option<String>)> {
    let lines = include_str!("vectors/watch.jsonl").lines();
    let answers = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let events = answers.flat_map(|answer| answer["Events"].as_array().expect("events").clone());
    events
        .map(|event| {
            let text = |field: &str| {
                let base64 = event["kv"][field].as_str()?;
                Some(String::from_utf8(decode_base64(base64)).expect("UTF-8"))
            };
            let is_delete = event["type"] == 1;
            (is_delete, text("key").expect("a key"), text("value"))
        })
        .collect()
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |c: u8| DIGITS.iter().position(|digit| *digit == c);
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_usize, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | digit;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).expect("a byte"));
        }
    }
    bytes
}

#[tokio::test]
async fn everything_that_go_wrote_is_found() {
    let turn = Turn::at(1).await;
    for (key, value) in written_by_go() {
        turn.client().put(key, value, 0).await;
    }
    let registry = registry(&turn, "vine", EtcdOptions::new());
    let foo = registry.get_service("foo").await.expect("foo");
    let expected = Service::new("foo", "1.0.0")
        .with_namespace("vine")
        .with_metadata([("team", "a&b<c>")])
        .with_endpoints(
            serde_json::from_value::<Vec<Endpoint>>(json!([{
                "name": "Foo.Call",
                "request": { "name": "Req", "type": "Req", "values": [{ "name": "name", "type": "string" }] },
                "response": { "name": "Rsp", "type": "Rsp" },
                "metadata": { "stream": "false" },
            }]))
            .expect("endpoints"),
        )
        .with_node(Node::new("a/b.c", "10.77.0.1:8080").with_metadata([("k", "v"), ("z", "1")]));
    assert_eq!(*foo[0], expected);

    let slashed = registry
        .get_service("go/vine/api")
        .await
        .expect("a name with slashes");
    assert_eq!(
        &*slashed[0].nodes.nth(0).expect("a node").address,
        "[fd00::1]:80"
    );
    // Its key begins like that of another name, which nobody registered.
    let other = registry.get_service("go-vine-api").await;
    assert!(matches!(other, Err(Error::NotFound { .. })), "{other:?}");

    let all = ListOptions::new().with_namespace(Namespaces::All);
    let names = registry.list_services_with(&all).await.expect("a listing");
    let names: Vec<_> = names
        .iter()
        .map(|service| format!("{}/{}", service.namespace, service.name))
        .collect();
    assert_eq!(
        names,
        ["prod/foo", "vine/foo", "vine/foobar", "vine/go/vine/api"]
    );
}

#[tokio::test]
async fn what_go_does_is_seen_by_watches() {
    let turn = Turn::at(1).await;
    let registry = registry(&turn, "vine", EtcdOptions::new());
    let options = WatchOptions::new().with_namespace(Namespaces::All);
    let mut watch = registry.watch(options).await.expect("a watch");
    for (is_delete, key, value) in recorded() {
        match value {
            Some(value) => turn.client().put(key.clone(), value, 0).await,
            None => drop(turn.client().delete(&key).await),
        }
        let event = loop {
            match watch.next().await.expect("an event") {
                Update::Event(event) => break event,
                Update::Stale(error) => panic!("{error}"),
                _ => {}
            }
        };
        let expected = if is_delete {
            Action::Delete
        } else {
            Action::Create
        };
        assert_eq!(event.action, expected, "{key}");
        let id = &event.service.nodes.nth(0).expect("a node").id;
        assert!(key.ends_with(&id.replace('/', "-")), "{key} {id}");
    }
}

#[tokio::test]
async fn what_is_written_is_what_go_reads() {
    let turn = Turn::at(1).await;
    let registry = registry(&turn, "prod", EtcdOptions::new());
    let service = Service::new("go/vine.test", "v1")
        .with_metadata([("team", "a&b<c>")])
        .with_endpoint(Endpoint::new("Test.Call"))
        .with_apis([json!({ "openapi": "3.1.0" })])
        .with_node(Node::new("a/1", "[fd00::1]:80"));
    let options = RegisterOptions::new().with_ttl(std::time::Duration::from_secs(30));
    registry
        .register_with(service.into(), &options)
        .await
        .expect("registers");
    let kvs = turn.client().range("/").await;
    assert_eq!(kvs.len(), 1);
    assert_eq!(kvs[0].key, "/vine/registry/prod/go-vine.test/a-1");
    let mut value: Value = serde_json::from_slice(&kvs[0].value).expect("JSON");
    for stamp in ["epoch", "changed"] {
        let stamp = value.as_object_mut().expect("an object").remove(stamp);
        assert!(stamp.expect("a stamp").is_u64());
    }
    let expected = json!({
        "name": "go/vine.test",
        "version": "v1",
        "namespace": "prod",
        "metadata": { "team": "a&b<c>" },
        "endpoints": [{ "name": "Test.Call" }],
        "nodes": [{ "id": "a/1", "address": "[fd00::1]:80", "port": 80 }],
        "ttl": 30,
        "apis": [{ "openapi": "3.1.0" }],
    });
    assert_eq!(value, expected);
}

#[tokio::test]
async fn two_writers_share_a_service() {
    let turn = Turn::at(1).await;
    let registry = registry(&turn, "vine", EtcdOptions::new());
    let (key, value) = written_by_go()[1];
    turn.client().put(key, value, 0).await;
    registry
        .register(Service::new("foo", "1.0.0").with_node(Node::new("ours", "10.0.0.1:1")))
        .await
        .expect("registers");
    let foo = registry.get_service("foo").await.expect("foo");
    assert_eq!((foo.len(), foo[0].nodes.len()), (1, 2));
    // Whoever says when it was changed goes before whoever does not.
    assert_eq!(foo[0].metadata, Metadata::default());
    registry.close().await.expect("closes");
    let kvs = turn.client().range("/").await;
    assert_eq!(kvs.len(), 1, "what the other one wrote stays");
    assert_eq!(kvs[0].key, key);
}

#[tokio::test]
async fn two_ids_that_meet_in_one_key_are_refused() {
    let turn = Turn::at(1).await;
    let [first, second] = [0, 1].map(|_| registry(&turn, "vine", EtcdOptions::new()));
    let service = |id: &str| Service::new("s", "v1").with_node(Node::new(id, "10.0.0.1:1"));
    first.register(service("a/b")).await.expect("registers");
    for registry in [&first, &second] {
        let error = registry
            .register(service("a-b"))
            .await
            .expect_err("an error");
        assert!(matches!(error, Error::InvalidService { .. }), "{error:?}");
        assert!(error.to_string().contains("a/b"), "{error}");
    }
    let found = first.get_service("s").await.expect("found");
    assert!(found[0].nodes.get("a/b").is_some() && found.node_count() == 1);
}

#[tokio::test]
async fn each_layout_keeps_services_apart() {
    let turn = Turn::at(1).await;
    turn.client().delete("/micro/").await;
    let layouts = [
        (Layout::Vine, "/vine/registry/blue/s/n"),
        (Layout::Vine15, "/vine/registry/s/n"),
        (Layout::GoMicro, "/micro/registry/s/n"),
    ];
    for (at, (layout, key)) in layouts.into_iter().enumerate() {
        let options = EtcdOptions::new().with_layout(layout);
        let registry = registry(&turn, "blue", options);
        let service = Service::new("s", format!("v{at}")).with_node(Node::new("n", "10.0.0.1:1"));
        let mut watch = registry.watch_service("s").await.expect("a watch");
        registry.register(service.clone()).await.expect("registers");
        assert_eq!(
            watch.next_event().await.expect("an event").action,
            Action::Create
        );
        let found = registry.get_service("s").await.expect("found");
        assert_eq!(
            (found.len(), &*found[0].version),
            (1, &*service.version),
            "{layout}"
        );
        let keys: Vec<_> = turn
            .client()
            .range(key)
            .await
            .into_iter()
            .map(|kv| kv.key)
            .collect();
        assert_eq!(keys, [key]);
        assert_eq!(
            registry.list_services().await.expect("a listing").len(),
            1,
            "{layout}"
        );
        // What was written without a namespace is of whoever reads it.
        if layout != Layout::Vine {
            let bare =
                r#"{"name":"bare","version":"1","nodes":[{"id":"b","address":"10.0.0.2:2"}]}"#;
            turn.client()
                .put(key.replace("/s/n", "/bare/b"), bare, 0)
                .await;
            let bare = registry.get_service("bare").await.expect("found");
            assert_eq!(&*bare[0].namespace, "blue");
        }
        registry.close().await.expect("closes");
    }
}
