use proptest::prelude::*;
use vine_registry::Value;

use super::*;

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
    decode(txt, &mut Extras::default())
}

fn assert_round_trip(service: &Service, node: &Node) {
    let bytes = encode(service, node, Some(&node.address), STAMP).unwrap();
    let facts = read(&bytes).unwrap();
    let expected = Facts {
        namespace: Arc::clone(&service.namespace),
        name: Arc::clone(&service.name),
        version: Arc::clone(&service.version),
        id: Some(Arc::clone(&node.id)),
        address: Some(Arc::clone(&node.address)),
        ttl: service.ttl,
        stamp: STAMP,
        service_metadata: service.metadata.clone(),
        node_metadata: node.metadata.clone(),
        endpoints: Arc::clone(&service.endpoints),
        apis: Arc::clone(&service.apis),
    };
    assert_eq!(facts, expected);
}

#[test]
fn keys_stand_in_order() {
    let service = service()
        .with_metadata([("lang", "rust")])
        .with_ttl(Duration::from_millis(1_500));
    let node = Node::new("test-1", "10.0.0.7:80").with_metadata([("zone", "a")]);
    let bytes = encode(&service, &node, Some("10.0.0.7:80"), STAMP).unwrap();
    let strings: Vec<_> = strings(&bytes)
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
    assert_round_trip(&service, &node);
    let bytes = encode(&service, &node, None, STAMP).unwrap();
    let keys = String::from_utf8_lossy(&bytes).into_owned();
    assert!(keys.contains("s.plain=1") && keys.contains("z0="));
    assert!(!keys.contains("ase="));
}

#[test]
fn large_metadata_is_deflated_and_too_large_is_an_error() {
    let many = |n: usize| -> Metadata {
        (0..n)
            .map(|i| (format!("key-{i}"), "value ".repeat(20)))
            .collect()
    };
    let node = Node::new("1", "h:1");
    let large = service().with_metadata(many(100));
    assert_round_trip(&large, &node);
    assert!(encode(&large, &node, None, STAMP).unwrap().len() < COMFORTABLE);

    let noise: Metadata = (0..400_u64)
        .map(|i| {
            (
                format!("{i}"),
                format!("{:x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            )
        })
        .collect();
    let error = encode(&service().with_metadata(noise), &node, None, STAMP);
    assert!(error.is_ok(), "moderate noise fits");
    let mut random = fastrand::Rng::with_seed(1);
    let noise: String = std::iter::repeat_with(|| random.alphanumeric())
        .take(20_000)
        .collect();
    let error = encode(&service().with_metadata([("k", noise)]), &node, None, STAMP);
    assert!(
        matches!(error, Err(Error::TooLarge { limit: MAX_TXT, .. })),
        "{error:?}"
    );
    let long = "x".repeat(300);
    let error = encode(&Service::new(long, "1"), &node, None, STAMP);
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
        name in "[a-zA-Z0-9._ äß-]{3,40}",
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
