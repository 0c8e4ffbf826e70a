//! What is decoded takes many times the room that it took in packets: it is bounded, and whoever
//! finds none is tried again.

use std::{io::Write, net::SocketAddr};

use flate2::{Compression, write::DeflateEncoder};
use vine_registry::Service;

use super::net::{Net, PORT, ms, of, secs, service};
use crate::{
    codec::{Data, Message, Name, Record, Srv, kind},
    engine::{EngineEvent, Port},
    mapping::{Blob, chunk_name},
};

const STRANGER: u8 = 66;

fn deflate(json: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(json.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn name(labels: &[&str]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap()
}

fn target() -> Name {
    name(&["vine-0bad0bad", "local"])
}

fn record(name: &Name, ttl: u32, data: Data) -> Record {
    Record {
        name: name.clone(),
        flush: false,
        ttl,
        data,
    }
}

/// The announcement of a stranger's node, with these strings in its TXT record.
fn announcement(id: &str, ttl: u32, strings: &[Vec<u8>]) -> Message {
    let instance = name(&[id, "_vine", "_tcp", "local"]);
    let subtype = name(&["_web", "_sub", "_vine", "_tcp", "local"]);
    let own =
        ["n=web", &format!("id={id}"), "a=10.0.0.66:80", "e=7"].map(|s| s.as_bytes().to_vec());
    let mut txt = Vec::new();
    for string in own.iter().chain(strings) {
        txt.push(string.len() as u8);
        txt.extend(string);
    }
    let srv = Srv {
        port: 80,
        target: target(),
    };
    let mut message = Message::answer();
    message.answers = vec![
        record(&subtype, ttl, Data::Ptr(instance.clone())),
        record(&instance, ttl, Data::Srv(srv)),
        record(&instance, ttl, Data::Txt(txt.into())),
    ];
    message
}

fn hear(net: &mut Net, message: &Message) {
    let source = SocketAddr::from(([10, 0, 0, STRANGER], PORT));
    net.inject(0, source, Port::Standing, message);
}

fn hear_chunks(net: &mut Net, blob: &Blob) {
    for index in 0..blob.reference().chunks {
        let mut message = Message::answer();
        let name = chunk_name(index, blob.digest, &target()).unwrap();
        message.answers = vec![record(&name, 120, Data::Txt(blob.chunk(index).unwrap()))];
        hear(net, &message);
    }
}

/// The JSON that takes the most memory: of 8,000 objects about 6 MB.
fn swollen(number: usize, objects: usize) -> Vec<u8> {
    let objects = vec![r#"{"":0}"#; objects].join(",");
    deflate(&format!(r#"{{"apis":[{number},{objects}]}}"#))
}

fn chunks(deflated: &[u8]) -> Vec<Vec<u8>> {
    let parts = deflated.chunks(250).enumerate();
    parts
        .map(|(i, part)| [format!("z{i}=").as_bytes(), part].concat())
        .collect()
}

/// Nodes of a stranger that leave no room for what others have deflated.
fn fill(net: &mut Net, ttl: u32) {
    for number in 0..24 {
        let objects = if number < 12 { 8_000 } else { 800 };
        let strings = chunks(&swollen(number, objects));
        hear(net, &announcement(&format!("evil{number}"), ttl, &strings));
    }
}

/// A service whose documents are as large as those.
fn large(id: &str) -> Service {
    service("web", id).with_apis(vec![serde_json::json!({ "": 1 }); 8_000])
}

fn is_known(net: &Net, id: &str) -> bool {
    let known = net.known(0);
    known
        .iter()
        .any(|node| node.starts_with(&format!("web/{id} ")))
}

/// What was told of a node.
fn told(net: &Net, id: &str) -> Vec<&'static str> {
    let told = net.hosts[0].events.iter().filter_map(|event| match event {
        EngineEvent::Found(remote) => Some(("found", remote)),
        EngineEvent::Changed(remote) => Some(("changed", remote)),
        EngineEvent::Gone(remote, _) => Some(("gone", remote)),
        _ => None,
    });
    told.filter(|(_, remote)| *remote.node.id == *id)
        .map(|(what, _)| what)
        .collect()
}

/// A blob of node metadata in so many pairs.
fn many_pairs(count: usize) -> Blob {
    let pairs: Vec<_> = (0..count).map(|i| format!(r#""k{i}":"""#)).collect();
    Blob::new(deflate(&format!(r#"{{"m":{{{}}}}}"#, pairs.join(","))))
}

#[test]
fn what_each_node_makes_of_a_blob_of_many_is_counted() {
    let blob = many_pairs(4_000);
    let names_it = format!("x={}", blob.reference()).into_bytes();
    for own_keys in [1, 10] {
        let mut net = Net::with_hosts(1, 1);
        let limit = 4 * 1024 * 1024;
        net.hosts[0].engine.config.max_memory = limit;
        net.browse(0, of("web"));
        net.run(ms(10));
        let mut other = Net::with_hosts(2, 1);
        other.register(0, service("web", "real"));
        let real = other.sent[0].message.clone();
        net.inject(0, ([10, 0, 0, 20], PORT).into(), Port::Standing, &real);
        for number in 0..60 {
            let own = (0..own_keys).map(|key| format!("m.o{key}={number}").into_bytes());
            let strings: Vec<_> = own.chain([names_it.clone()]).collect();
            hear(
                &mut net,
                &announcement(&format!("evil{number}"), 120, &strings),
            );
        }
        assert_eq!(net.hosts[0].engine.blobs.len(), 1);
        hear_chunks(&mut net, &blob);
        let known = net.hosts[0].nodes.len();
        assert!((5..30).contains(&known), "{known} nodes");
        assert!(is_known(&net, "real"));
        let engine = &net.hosts[0].engine;
        assert!(engine.quota.total <= limit, "{}", engine.quota.total);
        assert_eq!(engine.blobs.len(), 0);
        let pairs: usize = net.hosts[0]
            .nodes
            .values()
            .map(|remote| remote.node.metadata.len())
            .sum();
        assert!(pairs * 32 <= limit);
        net.run(secs(200));
        assert_eq!(
            net.hosts[0].engine.quota.total, 0,
            "everything is given back"
        );
    }
}

#[test]
fn what_nodes_share_of_a_blob_is_counted_once() {
    let blob = many_pairs(4_000);
    let names_it = format!("x={}", blob.reference()).into_bytes();
    let mut net = Net::with_hosts(1, 1);
    net.hosts[0].engine.config.max_memory = 1024 * 1024;
    net.browse(0, of("web"));
    net.run(ms(10));
    for number in 0..60 {
        let strings = [names_it.clone()];
        hear(
            &mut net,
            &announcement(&format!("n{number}"), 120, &strings),
        );
    }
    hear_chunks(&mut net, &blob);
    assert_eq!(net.hosts[0].nodes.len(), 60);
}

#[test]
fn who_finds_no_room_stays_what_he_was_and_is_tried_again() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(0, of("web"));
    net.register(1, service("web", "a"));
    net.run(secs(10));
    fill(&mut net, 400);
    assert!(is_known(&net, "evil1") && !is_known(&net, "evil11"));
    net.register(1, large("a"));
    net.register(1, large("b"));
    // There is room for what is smaller, since this host has brought little.
    net.register(
        1,
        service("web", "c").with_apis(vec![serde_json::json!({ "": 2 }); 2_000]),
    );
    net.run(secs(300));
    assert_eq!(told(&net, "c"), ["found"]);
    assert_eq!(told(&net, "a"), ["found"]);
    assert_eq!(told(&net, "b"), [""; 0]);
    assert!(net.hosts[0].engine.counters().refused > 0);
    assert_eq!(net.hosts[0].engine.counters().unreadable, 0);
    // The stranger's nodes end.
    net.run(secs(140));
    assert!(!is_known(&net, "evil1"));
    assert_eq!(told(&net, "a"), ["found", "changed"]);
    assert_eq!(told(&net, "b"), ["found"]);
    let asked = net.sent_by(0, secs(10));
    let asks = asked.iter().filter(|sent| {
        let mut questions = sent.message.questions.iter();
        questions.any(|ask| ask.kind == kind::PTR)
    });
    assert!(asks.count() < 30, "not more often than twice a minute");
}

#[test]
fn a_blob_that_finds_no_room_is_fetched_when_there_is_some() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(0, of("web"));
    net.register(1, service("web", "a"));
    net.run(secs(10));
    fill(&mut net, 200);
    let mut random = fastrand::Rng::with_seed(5);
    let objects = (0..6_000).map(|_| {
        let key = random.alphanumeric().to_string();
        serde_json::json!({ key: 1 })
    });
    let documents: Vec<_> = objects.collect();
    net.register(1, service("web", "a").with_apis(documents.clone()));
    net.register(1, service("web", "b").with_apis(documents));
    net.run(secs(100));
    assert_eq!(told(&net, "a"), ["found"]);
    assert_eq!(told(&net, "b"), [""; 0]);
    assert_eq!(net.hosts[0].engine.blobs.len(), 1);
    net.run(secs(170));
    assert_eq!(told(&net, "a"), ["found", "changed"]);
    assert_eq!(told(&net, "b"), ["found"]);
    assert_eq!(net.hosts[0].engine.blobs.len(), 0);
}

#[test]
fn a_node_that_grows_beyond_what_there_is_room_for_stays_what_it_was() {
    let mut net = Net::with_hosts(1, 2);
    net.hosts[0].engine.config.max_memory = 8 * 1024;
    net.browse(0, of("web"));
    net.register(1, service("web", "a"));
    net.run(secs(10));
    let text = "x".repeat(200);
    let metadata = (0..50).map(|i| (format!("k{i}"), text.clone()));
    let mut grown = service("web", "a");
    grown.metadata = metadata.take(5).collect();
    net.hosts[0].engine.config.max_memory = 2 * 1024;
    net.register(1, grown);
    net.run(secs(400));
    assert_eq!(told(&net, "a"), ["found"]);
    net.hosts[0].engine.config.max_memory = 1024 * 1024;
    net.register(1, service("web", "a").with_metadata([("k", "v")]));
    net.run(secs(1));
    assert_eq!(told(&net, "a"), ["found", "changed"]);
}

#[test]
fn who_names_one_blob_after_the_other_waits_for_the_last_alone() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    let name = |net: &mut Net, id: &str, number: usize| {
        let blob = Blob::new(swollen(number, 1));
        let names_it = format!("x={}", blob.reference()).into_bytes();
        hear(net, &announcement(id, 120, &[names_it]));
    };
    for number in 0..30 {
        name(&mut net, &format!("evil{number}"), number);
    }
    for number in 30..1_000 {
        name(&mut net, "fickle", number);
    }
    let blobs = &net.hosts[0].engine.blobs;
    assert_eq!((blobs.len(), blobs.queued()), (31, 15));
}
