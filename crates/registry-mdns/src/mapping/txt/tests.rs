use proptest::prelude::*;
use vine_registry::{Error, Node, Result, Service, Value};

use super::{
    super::{
        blob::Blob,
        extra::MAX_INFLATED,
        write::{Encoded, Writer},
    },
    *,
};

const ROOM: usize = 1_300;

const STAMP: Stamp = Stamp {
    epoch: 1_700_000_000_123,
    changed: 1_700_000_000_456,
};

fn service() -> Service {
    Service::new("go.vine.test", "v1.0.0").with_namespace("vine")
}

fn txt(strings: &[&[u8]]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|string| std::iter::once(string.len() as u8).chain(string.iter().copied()))
        .collect()
}

fn read(txt: &[u8]) -> Option<Facts> {
    decode(txt, &mut Extras::default()).ok()
}

fn encode(service: &Service, node: &Node, address: Option<&str>) -> Result<Encoded> {
    Writer::default().encode(service, node, address, STAMP, ROOM)
}

fn noise(seed: u64, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(len)
        .collect()
}

/// Reads a record whose blob comes later.
fn read_with_blob(encoded: &Encoded, extras: &mut Extras) -> Facts {
    let facts = decode(&encoded.txt, extras).unwrap();
    let Some(blob) = &encoded.blob else {
        assert_eq!(facts.missing, None);
        return facts;
    };
    if facts.missing.is_some() {
        assert_eq!(facts.missing, Some(blob.reference()));
        extras.inflate(blob.digest, &blob.bytes).unwrap();
    }
    decode(&encoded.txt, extras).unwrap()
}

fn assert_round_trip(service: &Service, node: &Node) -> Encoded {
    let encoded = encode(service, node, Some(&node.address)).unwrap();
    assert!(encoded.txt.len() <= ROOM, "{}", encoded.txt.len());
    let facts = read_with_blob(&encoded, &mut Extras::default());
    let expected = Facts {
        namespace: Arc::clone(&service.namespace),
        name: Arc::clone(&service.name),
        version: Arc::clone(&service.version),
        id: Some(Arc::clone(&node.id)),
        address: Some(Arc::clone(&node.address)),
        addresses: None,
        ttl: service.ttl,
        stamp: STAMP,
        service_metadata: service.metadata.clone(),
        node_metadata: node.metadata.clone(),
        endpoints: Arc::clone(&service.endpoints),
        apis: Arc::clone(&service.apis),
        missing: None,
        parts: facts.parts.clone(),
        weight: facts.weight,
    };
    assert_eq!(facts, expected);
    encoded
}

#[test]
fn keys_stand_in_order() {
    let service = service()
        .with_metadata([("lang", "rust")])
        .with_ttl(Duration::from_millis(1_500));
    let node = Node::new("test-1", "10.0.0.7:80").with_metadata([("zone", "a")]);
    let encoded = encode(&service, &node, Some("10.0.0.7:80")).unwrap();
    let strings: Vec<_> = strings(&encoded.txt)
        .map(|string| String::from_utf8(string.unwrap().into()).unwrap())
        .collect();
    assert_eq!(
        strings,
        [
            "txtvers=1",
            "ns=vine",
            "n=go.vine.test",
            "v=v1.0.0",
            "id=test-1",
            "a=10.0.0.7:80",
            "t=1.500000000",
            "e=1700000000123",
            "ts=1700000000456",
            "s.lang=rust",
            "m.zone=a",
        ]
    );
}

#[test]
fn what_a_key_cannot_hold_is_deflated() {
    let long = "x".repeat(300);
    let metadata = [
        ("plain", "1"),
        ("a=b", "2"),
        ("Case", "3"),
        ("case", "4"),
        ("schlüssel", "5"),
        ("long", long.as_str()),
        ("", "6"),
    ];
    let value = Value::new("Request", "struct").with_values([Value::new("id", "int64")]);
    let service = service()
        .with_metadata(metadata)
        .with_endpoint(Endpoint::new("Test.Call").with_request(value))
        .with_apis([serde_json::json!({"openapi": "3.0.0", "paths": {}})]);
    let node = Node::new("knoten-ä", "höst.example:8080").with_metadata(metadata);
    let encoded = assert_round_trip(&service, &node);
    let keys = String::from_utf8_lossy(&encoded.txt).into_owned();
    assert!(keys.contains("s.plain=1") && keys.contains("z0="));
    assert!(!keys.contains("ase="));
}

#[test]
fn what_is_large_is_deflated_and_if_need_be_a_blob() {
    let many: Metadata = (0..100)
        .map(|i| (format!("key-{i}"), "value ".repeat(20)))
        .collect();
    let node = Node::new("1", "h:1");
    let deflated = assert_round_trip(&service().with_metadata(many), &node);
    assert_eq!(deflated.blob, None);

    let endpoint = Endpoint::new(noise(1, 20_000));
    let marked = node.clone().with_metadata([("zone", "a")]);
    let split = assert_round_trip(&service().with_endpoint(endpoint.clone()), &marked);
    let text = String::from_utf8_lossy(&split.txt).into_owned();
    assert!(text.contains("m.zone=a") && text.contains("x=") && !text.contains("z0="));

    // Node metadata that is long, but not too long for a record.
    let long: String = "a long way ".repeat(300);
    let marked = node.clone().with_metadata([("k", long)]);
    let split = assert_round_trip(&service().with_endpoint(endpoint.clone()), &marked);
    assert!(String::from_utf8_lossy(&split.txt).contains("z0="));

    let marked = node.with_metadata([("k", noise(2, 30_000))]);
    let whole = assert_round_trip(&service().with_endpoint(endpoint), &marked);
    assert!(whole.blob.unwrap().reference().chunks > 30);
}

#[test]
fn a_thousand_nodes_share_one_blob() {
    let service = service()
        .with_metadata([("lang", "rust")])
        .with_apis([serde_json::json!({ "doc": noise(1, 30_000) })]);
    // Equal, but not the same.
    let again = service.clone().with_apis(service.apis.to_vec());
    let mut writer = Writer::default();
    let blobs: Vec<Blob> = (0..1_000)
        .map(|number| {
            let service = if number % 2 == 0 { &service } else { &again };
            let node = Node::new(format!("node-{number}"), "h:1")
                .with_metadata([("number", number.to_string())]);
            let encoded = writer.encode(service, &node, None, STAMP, ROOM).unwrap();
            encoded.blob.unwrap()
        })
        .collect();
    assert!(
        blobs
            .iter()
            .all(|blob| Arc::ptr_eq(&blob.bytes, &blobs[0].bytes))
    );
    let other = encode(&again, &Node::new("other", "h:2"), None).unwrap();
    assert_eq!(other.blob.as_ref(), Some(&blobs[0]), "in another process");
}

#[test]
fn up_to_64_kb_fit_and_more_is_told_with_the_field() {
    let node = Node::new("1", "h:1");
    let room = |json: usize| MAX_INFLATED - json;
    // `{"s":{"k":""}}` around it.
    let most = service().with_metadata([("k", noise(1, room(14)))]);
    assert_round_trip(&most, &node);
    for (what, large) in [
        (
            "most of it metadata",
            service().with_metadata([("k", noise(1, 66_000))]),
        ),
        (
            "most of it endpoints",
            service().with_endpoint(Endpoint::new(noise(1, 66_000))),
        ),
        (
            "most of it apis",
            service().with_apis([noise(1, 66_000).into()]),
        ),
    ] {
        let error = encode(&large, &node, None).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    limit: MAX_INFLATED,
                    size: 66_000..,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    // Neither alone is too large.
    let half = service().with_metadata([("k", noise(1, 30_000))]);
    let node = node.with_metadata([("k", noise(2, 40_000))]);
    let error = encode(&half, &node, None).unwrap_err().to_string();
    assert!(
        error.contains("most of it node metadata with 40008 bytes"),
        "{error}"
    );

    let error = encode(
        &Service::new("x".repeat(300), "1"),
        &Node::new("1", "h:1"),
        None,
    );
    assert!(
        matches!(error, Err(Error::TooLarge { limit: 253, .. })),
        "{error:?}"
    );
}

#[test]
fn unknown_keys_are_ignored_and_a_newer_mapping_is_skipped() {
    let facts = read(&txt(&[
        b"N=x",
        b"future=1",
        b"flag",
        b"\xff=\xff",
        b"m.\xff=1",
        b"n=y",
    ]));
    let facts = facts.unwrap();
    assert_eq!(&*facts.name, "x");
    assert_eq!(&*facts.namespace, DEFAULT_NAMESPACE);
    assert_eq!((facts.id, facts.address, facts.ttl), (None, None, None));
    assert_eq!(facts.stamp, Stamp::default());
    assert_eq!(read(&txt(&[b"txtvers=2", b"n=x"])), None);
}

#[test]
fn what_makes_no_sense_is_no_node() {
    for strings in [
        &[&b"v=1"[..]][..],
        &[b"n="],
        &[b"n=.."],
        &[b"n=a\nb"],
        &[b"n=x", b"id="],
        &[b"n=x", b"a=nowhere"],
        &[b"n=x", b"a=h:0"],
        &[b"n=x", b"z0=no deflate"],
        &[b"n=x", b"z1=a", b"z2=b"],
        &[b"n=x", b"x=no digest"],
    ] {
        assert_eq!(read(&txt(strings)), None, "{strings:?}");
    }
    assert_eq!(read(b"\x09n=x"), None);
    assert_eq!(read(b""), None);
}

#[test]
fn of_a_key_that_is_there_twice_the_first_counts() {
    let facts = read(&txt(&[b"n=x", b"n=y", b"s.k=1", b"s.k=2", b"t=0", b"t=7"])).unwrap();
    assert_eq!(&*facts.name, "x");
    assert_eq!(facts.service_metadata.get("k"), Some("1"));
    assert_eq!(facts.ttl, Some(Duration::from_secs(7)));
}

fn metadata() -> impl Strategy<Value = Metadata> {
    proptest::collection::vec((".{0,12}", ".{0,40}"), 0..5)
        .prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn every_field_survives(
        name in "[a-zA-Z0-9._ /äß日-]{3,40}",
        version in "[^\\p{Cc}]{0,20}",
        (service_metadata, node_metadata) in (metadata(), metadata()),
        endpoints in proptest::collection::vec(".{0,20}", 0..4),
        ttl in proptest::option::of(1..u64::from(u32::MAX)),
    ) {
        let endpoints: Vec<_> = endpoints.into_iter().map(Endpoint::new).collect();
        let mut service = Service::new(name, version)
            .with_namespace("ns")
            .with_metadata(service_metadata)
            .with_endpoints(endpoints);
        service.ttl = ttl.map(Duration::from_micros);
        assert_round_trip(&service, &Node::new("id", "[::1]:9").with_metadata(node_metadata));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }
}
