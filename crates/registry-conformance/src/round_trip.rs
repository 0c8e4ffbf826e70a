//! What is registered comes out as it went in.

use std::sync::Arc;

use serde_json::json;
use vine_registry::{Endpoint, Metadata, Node, Registry, RegistryExt, Service, Value};

use crate::{
    Handle,
    expect::{found, holds, register, sees},
    samples::{NAME, branded, can_name, can_reach, long_ttl, marked, node, noise, service},
};

/// Registers, and expects the very same at both handles.
async fn round_trip(a: Handle<'_>, b: Handle<'_>, service: Service) {
    register(a, service.clone()).await;
    for registry in [a, b] {
        holds(registry, &service).await;
    }
}

pub(crate) async fn every_field(a: Handle<'_>, b: Handle<'_>) {
    let request = Value::new("HelloRequest", "struct").with_values([
        Value::new("name", "string"),
        Value::new("address", "struct").with_values([
            Value::new("street", "string"),
            Value::new("lines", "list").with_values([Value::new("", "string")]),
        ]),
    ]);
    let endpoint = Endpoint::new("Greeter.Hello")
        .with_request(request)
        .with_response(Value::new("HelloResponse", "struct"))
        .with_metadata([("stream", "true"), ("method", "POST")]);
    let openapi = json!({
        "openapi": "3.1.0",
        "info": { "title": "Greeter", "version": "1" },
        "paths": { "/hello": { "get": { "deprecated": false, "x-rate": 1.5, "x-none": null } } },
    });
    let full = Service::new(NAME, "v1.2.3-rc.1+build.5")
        .with_metadata([("Content-Type", "application/json"), ("owner", "team-a")])
        .with_endpoints([endpoint, Endpoint::new("Greeter.Bye")])
        .with_apis([openapi, json!({ "openapi": "3.0.0" })])
        .with_ttl(long_ttl(a))
        .with_node(node("n1").with_metadata([(Node::ZONE, "z1"), (Node::WEIGHT, "2.5")]))
        .with_node(Node::new("n2", "127.0.0.1:65535"));
    round_trip(a, b, full).await;
}

pub(crate) async fn every_kind_of_address(a: Handle<'_>, b: Handle<'_>) {
    let addresses = [
        "127.0.0.1:1",
        "10.0.0.7:8080",
        "[::1]:8080",
        "[fd00::7]:65535",
        "[fe80::1%eth0]:80",
        "[2001:DB8:0:0::1]:80",
        "localhost:8080",
        "host.example.org:443",
        "Host-1.example.ORG:443",
    ];
    let addresses = addresses.iter().filter(|address| can_reach(a, address));
    let nodes = addresses.enumerate();
    let nodes = nodes.map(|(i, address)| Node::new(format!("n{i}"), *address));
    round_trip(a, b, service("v1", "").with_nodes(nodes)).await;
}

pub(crate) async fn unicode(a: Handle<'_>, b: Handle<'_>) {
    let text = "Grüße, 世界 🌱 \u{202e}e\u{301}";
    let mut names = ["go.vine.größe.世界", "名字空间", "узел-🌱"];
    if !names.iter().all(|name| can_name(a, name)) {
        names = [NAME, "namespace", "n1"];
    }
    let [name, namespace, id] = names;
    let all = Service::new(name, "版本 1")
        .with_namespace(namespace)
        .with_metadata([("schlüssel", text), ("ключ", "значение")])
        .with_endpoint(Endpoint::new("Größe.世界").with_metadata([("ß", text)]))
        .with_apis([json!({ "标题": text })])
        .with_node(Node::new(id, "127.0.0.1:8080").with_metadata([("描述", text)]));
    round_trip(a, b, all).await;
}

pub(crate) async fn what_is_empty(a: Handle<'_>, b: Handle<'_>) {
    round_trip(a, b, service("", "n1")).await;
    let empty_text = service("v1", "")
        .with_metadata([("empty", "")])
        .with_endpoint(Endpoint::new("").with_request(Value::new("", "")))
        .with_apis([json!({}), json!(null), json!([])])
        .with_node(node("n2").with_metadata([("empty", ""), ("", "no key")]));
    round_trip(a, b, empty_text).await;
}

pub(crate) async fn odd_keys_and_values(a: Handle<'_>, b: Handle<'_>) {
    let odd: Metadata = [
        ("a=b", "c=d"),
        ("=", "="),
        ("Case", "1"),
        ("case", "2"),
        ("CASE", "3"),
        ("with space", " spaces "),
        ("new\nline", "a\r\nb\0c\t"),
        ("quote\"", "\\back'slash\""),
        ("m.key", "dotted"),
        ("id", "not the id"),
        ("ns", "not the namespace"),
    ]
    .into_iter()
    .collect();
    let id = if can_name(a, "n 1/2:3") {
        "n 1/2:3"
    } else {
        "n1/2:3"
    };
    let all = service("v1", "")
        .with_metadata(odd.clone())
        .with_endpoint(Endpoint::new("a/b?c=d&e").with_metadata(odd.clone()))
        .with_node(node(id).with_metadata(odd));
    round_trip(a, b, all).await;
}

pub(crate) async fn what_is_long(a: Handle<'_>, b: Handle<'_>) {
    let limit = a.capabilities().max_service_size.unwrap_or(64 * 1024);
    // A string of DNS has 255 bytes at most, a packet some 1,400.
    for len in [254, 255, 256, 600]
        .into_iter()
        .filter(|len| *len <= limit / 2)
    {
        let long = service("v1", "").with_node(marked("n1", noise(len)));
        round_trip(a, b, long).await;
    }
    let long = service("v1", "").with_node(marked("n1", noise(limit / 4)));
    round_trip(a, b, long.with_metadata([("long", noise(limit / 4))])).await;
    let many = (0..limit / 100).map(|i| (format!("key-{i:05}"), "value"));
    round_trip(
        a,
        b,
        service("v1", "").with_node(node("n1").with_metadata(many.collect::<Metadata>())),
    )
    .await;
}

pub(crate) async fn replacing_takes_away(a: Handle<'_>, b: Handle<'_>) {
    let full = branded("v1", "", "brand")
        .with_endpoint(Endpoint::new("Test.Call"))
        .with_apis([json!({ "openapi": "3.1.0" })])
        .with_ttl(long_ttl(a))
        .with_node(marked("n1", "mark"));
    round_trip(a, b, full).await;
    crate::expect::tick().await;
    round_trip(a, b, service("v1", "n1")).await;
}

pub(crate) async fn the_callers_copy_is_its_own(a: Handle<'_>, b: Handle<'_>) {
    let original = branded("v1", "n1", "original").with_ttl(long_ttl(a));
    let mut mine = Arc::new(original.clone());
    register(a, Arc::clone(&mine)).await;
    {
        let mine = Arc::make_mut(&mut mine);
        mine.metadata = mine.metadata.with("mark", "changed");
        mine.nodes = service("v1", "n1 n2").nodes;
        mine.ttl = None;
    }
    drop(mine);
    for registry in [a, b] {
        holds(registry, &original).await;
    }
    let mut copy = found(b, NAME).await[0].clone();
    Arc::make_mut(&mut copy).metadata = Metadata::new();
    Arc::make_mut(&mut copy).version = "v2".into();
    for registry in [a, b] {
        holds(registry, &original).await;
    }
}

pub(crate) async fn an_answer_does_not_change_afterwards(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "before")).await;
    let before = sees(b, NAME, "v1: n1").await;
    let json = serde_json::to_value(&before).expect("services are JSON");
    crate::expect::tick().await;
    register(a, branded("v1", "n1 n2", "after")).await;
    let after = sees(b, NAME, "v1: n1 n2").await;
    assert_ne!(before, after, "two answers around a change differ");
    let again = serde_json::to_value(&before).expect("services are JSON");
    assert_eq!(json, again, "an answer stays as it was given");
    let summaries = b.list_services().await.expect("list_services answers");
    Registry::deregister_with(a, &service("v1", ""), &Default::default())
        .await
        .expect("deregister succeeds");
    sees(b, NAME, "").await;
    assert_eq!(summaries.len(), 1, "a listing stays as it was given");
    assert_eq!(before.node_count(), 1, "an answer stays as it was given");
}
