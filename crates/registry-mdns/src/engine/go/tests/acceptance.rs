//! The reader of these tests is as strict as Go's was seen to be, and takes all that we send.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use vine_registry::{Endpoint, Node};

use super::{
    bytes, json,
    link::{Link, Process, Sent},
    reader::{Found, Reader},
    service,
};
use crate::{
    codec::{Ask, Message, kind},
    engine::{Destination, Port},
    options::Dialect,
};

/// Above it, it would go on for ever.
const STORM: usize = 20;

fn messages(case: &Json) -> Vec<Message> {
    let hex = match &case["hex"] {
        Json::String(one) => vec![one.clone()],
        several => serde_json::from_value(several.clone()).unwrap(),
    };
    hex.iter()
        .map(|hex| Message::decode(&bytes(hex)).unwrap())
        .collect()
}

/// Compares the number of follow-up questions; thousands are a storm.
fn same_followups(reader: &Reader, case: &Json, name: &str) {
    let recorded = case["followup_queries"].as_u64().unwrap();
    if recorded > 100 {
        assert!(reader.followups >= STORM, "{name}: {}", reader.followups);
    } else {
        assert_eq!(reader.followups as u64, recorded, "{name}");
    }
}

/// Feeds the reader; who recorded answered each of its follow-up questions with the same again.
fn answered<T: Ord>(
    reader: &mut Reader,
    messages: &[Message],
    mut take: impl FnMut(&mut Reader, &Message) -> Option<T>,
) -> BTreeSet<T> {
    let mut found = BTreeSet::new();
    for message in messages {
        found.extend(take(reader, message));
    }
    let mut answered = 0;
    while answered < reader.followups && found.is_empty() && answered < STORM {
        answered += 1;
        for message in messages {
            found.extend(take(reader, message));
        }
    }
    found
}

fn recorded_nodes(case: &Json) -> BTreeSet<Found> {
    let mut nodes = BTreeSet::new();
    for service in case["result"].as_array().unwrap() {
        for node in service[2].as_array().unwrap() {
            let id = node[0].as_str().unwrap().trim_end_matches('.');
            nodes.insert(Found {
                service: service[0].as_str().unwrap().to_owned(),
                version: service[1].as_str().unwrap_or_default().to_owned(),
                id: id.to_owned(),
                address: node[1].as_str().unwrap().to_owned(),
            });
        }
    }
    nodes
}

#[test]
fn the_reader_gets_what_gos_gets() {
    let cases = json("reader_acceptance.json");
    let cases = cases["get"].as_object().unwrap();
    assert_eq!(cases.len(), 42);
    for (name, case) in cases {
        let mut reader = Reader::default();
        let found = answered(&mut reader, &messages(case), |reader, message| {
            reader.get(message, "foo", "vine")
        });
        assert_eq!(found, recorded_nodes(case), "{name}");
        same_followups(&reader, case, name);
    }
}

#[test]
fn the_reader_lists_what_gos_lists() {
    let cases = json("reader_acceptance.json");
    let cases = cases["list"].as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, case) in cases {
        let mut reader = Reader::default();
        let found = answered(&mut reader, &messages(case), |reader, message| {
            reader.list(message, "vine")
        });
        let recorded = case["result"].as_array().into_iter().flatten();
        let recorded: BTreeSet<_> = recorded
            .map(|service| service[0].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, recorded, "{name}");
        same_followups(&reader, case, name);
    }
}

#[test]
fn the_reader_watches_what_gos_watches() {
    let cases = json("reader_acceptance.json");
    let cases = cases["watch"].as_object().unwrap();
    assert_eq!(cases.len(), 19);
    for (name, case) in cases {
        let mut reader = Reader::default();
        let events: Vec<Json> = messages(case)
            .iter()
            .filter_map(|message| reader.watch(message, "vine"))
            .map(|(creates, found)| {
                let action = if creates { "create" } else { "delete" };
                serde_json::json!([
                    action,
                    found.service,
                    found.version,
                    [[found.id, found.address]]
                ])
            })
            .collect();
        assert_eq!(Json::from(events), case["events"], "{name}");
        same_followups(&reader, case, name);
    }
}

/// What we register is what the reader is to find.
fn expected(id: &str, address: &str) -> Found {
    Found {
        service: "go.vine.x".into(),
        version: "1.0.0".into(),
        id: id.into(),
        address: address.into(),
    }
}

/// Everything that we send for nodes of every kind.
fn sent(dialect: Dialect) -> Vec<Sent> {
    let mut link = Link::new(5);
    let host = link.host();
    let one = link.add(host, Process::ours(dialect));
    let endpoints = (0..40).map(|number| Endpoint::new(format!("Large.Call{number}")));
    let large =
        service("go.vine.x", "large", "10.0.0.1:80").with_endpoints(Vec::from_iter(endpoints));
    let nodes = [
        service("go.vine.x", "a", "10.0.0.1:80"),
        service("go.vine.x", "b.with.dots", "[fd00::7]:81"),
        service("go.vine.x", "c", "0.0.0.0:82"),
        large,
    ];
    for node in &nodes {
        link.register(one, node);
    }
    link.run_ms(5_000);
    for name in ["go.vine.x.vine", "_services.vine"] {
        let mut question = Message::query();
        question.id = 7;
        let labels = name.split('.').map(str::as_bytes);
        let name = crate::codec::Name::from_labels(labels).unwrap();
        question.questions = vec![Ask::new(name, kind::PTR)];
        link.ask(one, &question);
    }
    link.run_ms(100);
    link.close(one);
    link.sent_in_go_dialect(one)
}

#[test]
fn our_answers_pass_the_reader_one_node_a_packet() {
    for dialect in [Dialect::Vine, Dialect::Both] {
        let sent = sent(dialect);
        let mut reader = Reader::default();
        let (mut found, mut listed, mut answers) = (BTreeSet::new(), BTreeSet::new(), 0);
        for packet in sent.iter().filter(|sent| sent.to != Destination::Multicast) {
            answers += 1;
            assert_eq!(packet.port, Port::Standing);
            assert_eq!(packet.flags(), 0x8420);
            assert_eq!(packet.message.id, 0);
            found.extend(reader.get(&packet.message, "go.vine.x", "vine"));
            listed.extend(reader.list(&packet.message, "vine"));
        }
        assert_eq!(reader.followups, 0);
        let nodes = [
            expected("a", "10.0.0.1:80"),
            expected("b.with.dots", "[fd00::7]:81"),
            expected("c", "10.0.0.1:82"),
            expected("large", "10.0.0.1:80"),
        ];
        assert_eq!(found, BTreeSet::from(nodes));
        assert_eq!(listed, BTreeSet::from(["go.vine.x".to_owned()]));
        assert_eq!(answers, 5, "four nodes and one service, a packet each");
    }
}

#[test]
fn our_announcements_and_goodbyes_pass_the_reader() {
    for dialect in [Dialect::Vine, Dialect::Both] {
        let sent = sent(dialect);
        let mut reader = Reader::default();
        let mut events = Vec::new();
        let told = |sent: &&Sent| sent.to == Destination::Multicast && sent.message.response;
        for packet in sent.iter().filter(told) {
            assert_eq!(packet.port, Port::Standing);
            assert_eq!(packet.flags(), 0x8000);
            assert!(packet.message.questions.is_empty());
            let (creates, found) = reader.watch(&packet.message, "vine").unwrap();
            let ttl = if creates { 120 } else { 0 };
            let records = &packet.message.answers;
            assert!(records.iter().all(|one| one.ttl == ttl && !one.flush));
            events.push((packet.at_ms, creates, found));
        }
        assert_eq!(reader.followups, 0);
        for id in ["a", "b.with.dots", "c", "large"] {
            let of = events.iter().filter(|(.., found)| found.id == id);
            let told: Vec<_> = of.map(|(at, creates, _)| (*at, *creates)).collect();
            let expected = [(0, true), (1_000, true), (3_000, true), (5_100, false)];
            assert_eq!(told, expected, "{id} of {dialect}");
        }
    }
}

#[test]
fn what_go_does_not_know_does_not_disturb_it() {
    // Service metadata, a ttl, OpenAPI documents and the address as it was written.
    let node = Node::new("n1", "[2001:DB8:0:0::1]:80");
    let full = vine_registry::Service::new("foo", "1.0.0")
        .with_namespace("vine")
        .with_metadata([("of", "service")])
        .with_apis([serde_json::json!({ "openapi": "3.1.0" })])
        .with_ttl(std::time::Duration::from_secs(60))
        .with_node(node);
    let mut link = Link::new(6);
    let host = link.host();
    let (one, other) = (
        link.add(host, Process::ours(Dialect::Vine)),
        link.add(host, Process::ours(Dialect::Vine)),
    );
    link.browse(other, "foo");
    link.register(one, &full);
    link.run_ms(10);
    let packet = &link.sent_in_go_dialect(one)[0];
    let (_, found) = Reader::default().watch(&packet.message, "vine").unwrap();
    assert_eq!(found.address, "[2001:db8::1]:80");
    assert_eq!(
        packet.message.answers[0].ttl, 60,
        "not longer than the ttl of the service"
    );
    assert_eq!(link.known(other), [full], "we tell one another everything");
}
