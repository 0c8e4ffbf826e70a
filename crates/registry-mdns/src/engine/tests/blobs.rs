//! What does not fit into a TXT record.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use vine_registry::{Endpoint, Metadata, Node, Service, Wait};

use super::net::{Faults, Net, PORT, ms, of, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, Record, Srv, kind},
    engine::{Destination, EngineEvent, LinkKind, Outcome, Port},
    mapping::{Blob, chunk_name, parse_chunk_name},
};

fn noise(seed: u64, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(len)
        .collect()
}

/// A service whose endpoints take about so many bytes.
fn large(id: &str, bytes: usize) -> Service {
    service("web", id).with_endpoint(Endpoint::new(noise(1, bytes)))
}

/// Whether a packet asks for chunks; of how many.
fn asked_chunks(message: &Message) -> usize {
    let is_chunk = |ask: &&Ask| !message.response && parse_chunk_name(&ask.name).is_some();
    message.questions.iter().filter(is_chunk).count()
}

fn has_chunk(message: &Message) -> bool {
    let mut records = message.answers.iter();
    records.any(|record| parse_chunk_name(&record.name).is_some())
}

/// How often chunks were sent, by chunk.
fn chunks_sent(net: &Net) -> BTreeMap<u16, usize> {
    let mut sent = BTreeMap::new();
    for packet in &net.sent {
        for record in &packet.message.answers {
            if let Some((index, ..)) = parse_chunk_name(&record.name) {
                *sent.entry(index).or_default() += 1;
            }
        }
    }
    sent
}

fn lookup(net: &mut Net, host: usize) -> (Outcome, Duration) {
    net.browse(host, of("web"));
    let id = net.lookup(host, of("web"), Wait::Settled);
    net.run_lookup(host, id)
}

#[track_caller]
fn assert_knows(net: &Net, host: usize, expected: &Service) {
    for node in &expected.nodes {
        let key = format!("vine/{}/{}", expected.name, node.id);
        let known = &net.hosts[host].nodes[&key];
        assert_eq!(*known.node, **node);
        assert_eq!(known.service.metadata, expected.metadata);
        assert_eq!(known.service.endpoints, expected.endpoints);
        assert_eq!(known.service.apis, expected.apis);
    }
}

#[test]
fn what_is_large_arrives_unchanged_and_in_small_packets() {
    let documents = [serde_json::json!({ "openapi": "3.1.0", "x": noise(3, 40_000) })];
    let compressible = "all work and no play ".repeat(3_000);
    let services = [
        large("a", 2_000),
        large("a", 64_000),
        service("web", "a").with_apis(documents),
        service("web", "a").with_metadata([("k", compressible.as_str())]),
        service("web", "x")
            .with_metadata([("s", noise(4, 20_000))])
            .with_nodes([Node::new("a", "10.0.0.1:80").with_metadata([("m", noise(5, 30_000))])]),
    ];
    for large in services {
        let mut net = Net::with_hosts(1, 2);
        net.register(0, large.clone());
        net.run(secs(10));
        net.sent.clear();
        let (outcome, after) = lookup(&mut net, 1);
        assert_eq!(outcome, Outcome::Settled);
        assert!(after < ms(30), "{after:?}");
        assert_knows(&net, 1, &large);
        assert!(net.sent.iter().all(|sent| sent.size <= 1_452));
        assert!(net.sent.iter().all(|sent| asked_chunks(&sent.message) <= 4));
        assert!(chunks_sent(&net).values().all(|sent| *sent == 1));
    }
}

#[test]
fn what_a_thousand_nodes_share_is_fetched_once() {
    let nodes = (0..1_000).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    let shared = large("x", 10_000).with_nodes(nodes);
    let mut net = Net::with_hosts(1, 2);
    net.register_all(0, shared.clone());
    net.run(secs(10));
    net.sent.clear();
    assert_eq!(lookup(&mut net, 1).0, Outcome::Settled);
    assert_knows(&net, 1, &shared);
    let sent = chunks_sent(&net);
    assert!((6..9).contains(&sent.len()) && sent.values().all(|sent| *sent == 1));
    let first = &net.hosts[1].nodes["vine/web/n1"].service.endpoints;
    let mut nodes = net.hosts[1].nodes.values();
    assert!(nodes.all(|remote| Arc::ptr_eq(first, &remote.service.endpoints)));
}

#[test]
fn many_blobs_are_fetched_at_once() {
    let mut net = Net::with_hosts(1, 2);
    for number in 0..100 {
        let node = Node::new(format!("n{number}"), "10.0.0.1:80")
            .with_metadata([("k", noise(number, 4_000))]);
        net.register_all(
            0,
            Service::new("web", "v1")
                .with_namespace("vine")
                .with_node(node),
        );
    }
    net.run(secs(10));
    let (outcome, after) = lookup(&mut net, 1);
    assert_eq!((outcome, net.hosts[1].nodes.len()), (Outcome::Settled, 100));
    assert!(after < ms(100), "{after:?}");
}

#[test]
fn a_node_is_never_shown_half_and_what_it_was_counts_until_all_is_here() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.run(secs(5));
    net.register(0, large("a", 30_000));
    net.run(secs(5));
    assert_knows(&net, 1, &large("a", 30_000));
    net.register(0, large("a", 40_000));
    net.run(secs(5));
    assert_knows(&net, 1, &large("a", 40_000));
    net.register(0, service("web", "a"));
    net.run(secs(5));
    let told: Vec<_> = net.hosts[1]
        .events
        .iter()
        .map(|event| match event {
            EngineEvent::Found(remote) => ("found", remote.service.endpoints.len()),
            EngineEvent::Changed(remote) => ("changed", remote.service.endpoints.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [("found", 1), ("changed", 1), ("changed", 0)]);
}

#[test]
fn lost_chunks_are_asked_for_again() {
    for (seed, loss) in [(1, 10), (2, 10), (3, 30), (4, 30)] {
        let mut net = Net::with_hosts(seed, 2);
        net.register(0, large("a", 50_000));
        net.run(secs(10));
        net.faults = Faults {
            loss,
            doubling: 10,
            delay: ms(2),
        };
        net.browse(1, of("web"));
        net.run(secs(20));
        assert_knows(&net, 1, &large("a", 50_000));
    }
}

#[test]
fn ten_percent_loss_gives_complete_answers() {
    for seed in 0..10 {
        let mut net = Net::with_hosts(seed, 2);
        net.register(0, large("a", 10_000));
        net.run(secs(10));
        net.faults.loss = 10;
        let (outcome, _) = lookup(&mut net, 1);
        assert_eq!(outcome, Outcome::Settled, "seed {seed}");
        assert_knows(&net, 1, &large("a", 10_000));
    }
}

/// Two hosts that hold the same blob, and a third one that looks it up.
fn two_holders(seed: u64) -> Net {
    let mut net = Net::with_hosts(seed, 3);
    net.register(0, large("a", 20_000));
    net.register(1, large("b", 20_000));
    net.run(secs(10));
    net
}

#[test]
fn when_one_holder_is_silent_another_is_asked() {
    for seed in 0..4 {
        let mut net = two_holders(seed);
        net.tamper =
            Some(|from, _, message| (from != 0 || !has_chunk(message)).then(|| message.clone()));
        assert_eq!(lookup(&mut net, 2).0, Outcome::Settled);
        assert_knows(&net, 2, &large("a", 20_000));
        assert_knows(&net, 2, &large("b", 20_000));
    }
}

#[test]
fn damaged_chunks_are_noticed_and_had_from_elsewhere() {
    let mut damaged = 0;
    for seed in 0..6 {
        let mut net = two_holders(seed);
        net.tamper = Some(|from, _, message| {
            let mut message = message.clone();
            if from == 0 && has_chunk(&message) {
                message.answers[0].data = Data::Txt(b"\x03bad".as_slice().into());
            }
            Some(message)
        });
        assert_eq!(lookup(&mut net, 2).0, Outcome::Settled);
        assert_knows(&net, 2, &large("a", 20_000));
        damaged += net.hosts[2].engine.counters().damaged;
    }
    assert!(damaged > 0);
}

#[test]
fn what_cannot_be_had_is_not_shown_but_counted_and_tried_again() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.register(0, service("web", "b"));
    net.register(0, service("web", "a"));
    net.run(secs(10));
    net.tamper = Some(|_, _, message| (!has_chunk(message)).then(|| message.clone()));
    net.register(0, large("a", 20_000));
    net.run(secs(1));
    assert_eq!(net.known(1), ["web/a v1", "web/b v1"], "as it was");
    net.run(secs(20));
    assert_eq!(net.known(1), ["web/b v1"]);
    assert_eq!(net.hosts[1].engine.counters().missed, 1);
    // Who looks it up does not wait for it for ever.
    let id = net.lookup(1, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(1, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after < ms(400), "{after:?}");
    net.tamper = None;
    net.run(secs(61));
    assert_knows(&net, 1, &large("a", 20_000));
}

/// A node that names a blob, announced by a stranger, and the chunks of the blob.
fn stranger(blob: &Blob) -> (Message, Vec<Message>) {
    let name = |labels: &[&str]| Name::from_labels(labels.iter().map(|l| l.as_bytes())).unwrap();
    let instance = name(&["evil", "_vine", "_tcp", "local"]);
    let subtype = name(&["_web", "_sub", "_vine", "_tcp", "local"]);
    let target = name(&["vine-0bad0bad", "local"]);
    let record = |name: &Name, data| Record {
        name: name.clone(),
        flush: false,
        ttl: 120,
        data,
    };
    let mut txt = Vec::new();
    for string in [
        "n=web",
        "id=evil",
        "a=10.0.0.66:80",
        &format!("x={}", blob.reference()),
    ] {
        txt.push(string.len() as u8);
        txt.extend(string.as_bytes());
    }
    let mut announcement = Message::answer();
    announcement.answers = vec![
        record(&subtype, Data::Ptr(instance.clone())),
        record(
            &instance,
            Data::Srv(Srv {
                port: 80,
                target: target.clone(),
            }),
        ),
        record(&instance, Data::Txt(txt.into())),
    ];
    let chunks = (0..blob.reference().chunks).map(|index| {
        let mut message = Message::answer();
        let name = chunk_name(index, blob.digest, &target).unwrap();
        message.answers = vec![record(&name, Data::Txt(blob.chunk(index).unwrap()))];
        message
    });
    (announcement, chunks.collect())
}

#[test]
fn bombs_and_nonsense_are_no_nodes() {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 50_000_000]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 60_000);
    for bytes in [bomb, b"no deflate".repeat(500)] {
        let mut net = Net::with_hosts(1, 1);
        net.browse(0, of("web"));
        net.run(secs(2));
        let (announcement, chunks) = stranger(&Blob::new(bytes));
        let source = ([10, 0, 0, 66], PORT).into();
        for chunk in &chunks {
            net.inject(0, source, Port::Standing, chunk);
        }
        assert_eq!(net.hosts[0].engine.blobs.len(), 0, "nobody has asked");
        net.inject(0, source, Port::Standing, &announcement);
        assert_eq!(net.hosts[0].engine.blobs.len(), 1);
        for chunk in &chunks {
            net.inject(0, source, Port::Standing, chunk);
        }
        assert_eq!(net.hosts[0].engine.blobs.len(), 0);
        assert!(net.hosts[0].nodes.is_empty());
        assert_eq!(net.hosts[0].engine.counters().unreadable, 1);
        net.inject(0, source, Port::Standing, &announcement);
        assert_eq!(net.hosts[0].engine.blobs.len(), 0, "it is known to be bad");
        net.run(secs(30));
    }
}

#[test]
fn whoever_names_blobs_that_nobody_has_does_not_keep_others_waiting() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.run(secs(2));
    for number in 0..2_000_u64 {
        let (mut announcement, _) = stranger(&Blob::new(number.to_be_bytes()));
        let label = format!("evil-{number}");
        let instance = [label.as_bytes(), b"_vine", b"_tcp", b"local"];
        let instance = Name::from_labels(instance).unwrap();
        announcement.answers[0].data = Data::Ptr(instance.clone());
        announcement.answers[1].name = instance.clone();
        announcement.answers[2].name = instance;
        net.inject(
            1,
            ([10, 0, 0, 66], PORT).into(),
            Port::Standing,
            &announcement,
        );
    }
    assert_eq!(net.hosts[1].engine.blobs.len(), 2_000);
    net.sent.clear();
    net.register(0, large("a", 10_000));
    net.run(secs(3));
    assert_eq!(net.known(1), ["web/a v1"]);
    net.run(secs(7));
    let asked = net.sent_by(1, Duration::ZERO).len();
    // Sixteen at a time, each asked for twice in 0.6 s.
    assert!(asked < 600, "{asked} packets in ten seconds");
}

#[test]
fn who_fetches_what_was_replaced_meanwhile_gets_it_all_the_same() {
    let mut net = Net::with_hosts(1, 2);
    net.register(0, large("a", 30_000));
    net.run(secs(10));
    net.browse(1, of("web"));
    // He has heard of the first, but of nothing more.
    net.tamper = Some(|_, _, message| (asked_chunks(message) == 0).then(|| message.clone()));
    net.run(ms(200));
    net.tamper = Some(|_, _, message| {
        let is_chunk = has_chunk(message) || asked_chunks(message) > 0;
        is_chunk.then(|| message.clone())
    });
    net.register(0, large("a", 31_000));
    net.run(secs(10));
    assert_knows(&net, 1, &large("a", 30_000));
}

#[test]
fn blobs_that_nobody_names_any_more_are_forgotten() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    for number in 0..40 {
        net.register(0, large("a", 2_000 + number));
        net.run(secs(7));
    }
    let engine = &net.hosts[0].engine;
    let kept = engine.own.blobs.len();
    assert!((2..=9).contains(&kept), "{kept}");
    let chunks = kept * 3;
    let mut links = engine.links.iter();
    assert!(links.all(|link| link.sent.len() <= chunks + 8));
    assert_knows(&net, 1, &large("a", 2_039));
}

/// What a crowd that wants one blob of 42 chunks at the same moment puts on the link.
#[derive(Debug)]
struct Storm {
    questions: usize,
    most_sent: usize,
    unicast: usize,
    took: Duration,
}

fn storm(net: &Net, since: Duration) -> Storm {
    let by_unicast = |to: &Destination| matches!(to, Destination::Unicast(_));
    let has_chunk = |message: &Message| has_chunk(message);
    Storm {
        questions: net
            .sent
            .iter()
            .filter(|sent| asked_chunks(&sent.message) > 0)
            .count(),
        most_sent: chunks_sent(net).into_values().max().unwrap_or_default(),
        unicast: net
            .sent
            .iter()
            .filter(|sent| by_unicast(&sent.to) && has_chunk(&sent.message))
            .count(),
        took: net.elapsed() - since,
    }
}

const CROWD: usize = 1_000;
const CHUNKS: usize = 42;

/// A holder, and a crowd that does not hear what others look up, and of what they ask for chunks
/// only an eighth, so that this takes seconds: hearing all of it, they would ask less.
fn crowd() -> Net {
    let mut net = Net::with_hosts(1, 1);
    for number in 0..CROWD {
        let [high, low] = (number as u16 + 256).to_be_bytes();
        net.add_engine([10, 0, high, low].into(), LinkKind::Wired);
    }
    for host in 0..=CROWD {
        let address = net.hosts[host].address.into();
        let mut interface = super::net::interface(net.hosts[host].address, LinkKind::Wired);
        interface.addresses = vec![(address, 16)];
        net.set_interfaces(host, vec![interface]);
    }
    net.tamper = Some(|from, to, message| {
        let is_lookup = message.questions.iter().any(|ask| ask.kind == kind::PTR);
        let is_heard = message.response || !is_lookup && (from + to) % 8 == 0;
        (to == 0 || is_heard).then(|| message.clone())
    });
    net
}

#[test]
fn a_thousand_who_watch_fetch_a_blob_together() {
    let mut net = crowd();
    for host in 1..=CROWD {
        net.browse(host, of("web"));
    }
    net.run(secs(8));
    net.sent.clear();
    let began = net.elapsed();
    net.register(0, large("a", 65_000));
    while net
        .hosts
        .iter()
        .filter(|host| host.nodes.is_empty())
        .count()
        > 1
    {
        net.run(ms(5));
        assert!(net.elapsed() - began < secs(20));
    }
    let storm = storm(&net, began);
    assert_eq!(chunks_sent(&net).len(), CHUNKS);
    assert!(storm.questions < 4 * CHUNKS, "{storm:?}");
    assert!(storm.most_sent <= 2 && storm.unicast == 0, "{storm:?}");
    assert!(storm.took < secs(1), "{storm:?}");
}

#[test]
fn a_thousand_who_look_up_at_the_same_moment_make_no_storm() {
    let mut net = crowd();
    net.register(0, large("a", 65_000));
    net.run(secs(10));
    net.sent.clear();
    let began = net.elapsed();
    for host in 1..=CROWD {
        net.browse(host, of("web"));
        net.lookup(host, of("web"), Wait::Settled);
    }
    while net
        .hosts
        .iter()
        .filter(|host| host.nodes.is_empty())
        .count()
        > 1
    {
        net.run(ms(5));
        assert!(net.elapsed() - began < secs(20));
    }
    let storm = storm(&net, began);
    // Each asks once before it knows of the others.
    assert!(storm.questions < CROWD + 10 * CHUNKS, "{storm:?}");
    assert!(
        storm.most_sent <= 6 && storm.unicast <= 4 * CHUNKS,
        "{storm:?}"
    );
    assert!(storm.took < secs(1), "{storm:?}");
}

fn name() -> impl Strategy<Value = String> {
    let text = "[a-zA-Z0-9. /äß日🌱_-]{1,200}".prop_map(|mut text: String| {
        while text.len() > 200 {
            text.pop();
        }
        text
    });
    text.prop_filter("is no name", |text| !matches!(&**text, "" | "." | ".."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_name_and_id_is_found(name in name(), id in name(), bytes in 0..3_000_usize) {
        let metadata: Metadata = [("k", noise(7, bytes))].into_iter().collect();
        let node = Node::new(id.as_str(), "10.0.0.1:80").with_metadata(metadata);
        let service = Service::new(name.as_str(), "v1").with_namespace("vine").with_node(node);
        let mut net = Net::with_hosts(1, 2);
        net.register(0, service.clone());
        net.run(secs(10));
        net.browse(1, of(&name));
        let lookup = net.lookup(1, of(&name), Wait::Settled);
        prop_assert_eq!(net.run_lookup(1, lookup).0, Outcome::Settled);
        assert_knows(&net, 1, &service);
        prop_assert!(net.sent.iter().all(|sent| sent.size <= 1_452));
        net.register(0, service.with_metadata([("k", noise(8, bytes))]));
        net.run(secs(5));
        prop_assert_eq!(net.hosts[1].nodes.len(), 1);
    }
}
