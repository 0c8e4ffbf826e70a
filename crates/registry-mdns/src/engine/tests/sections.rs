//! What has no file of its own: sections 5.3, 7.1 for subtypes, 9, 16, 18, and RFC 6763.

use std::net::SocketAddr;

use vine_registry::Node;

use super::net::{Net, PORT, Sent, ms, of, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, Record, Srv, kind},
    engine::{EngineEvent, Port, Question},
    mapping::Names,
};

fn stranger() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 77], PORT))
}

fn name(labels: &[&str]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap()
}

fn record(name: &Name, data: Data) -> Record {
    Record {
        name: name.clone(),
        flush: !matches!(data, Data::Ptr(_)),
        ttl: 120,
        data,
    }
}

fn announcements(net: &Net) -> usize {
    let is_whole = |sent: &&Sent| {
        sent.message.response
            && sent
                .message
                .answers
                .iter()
                .any(|r| r.data.kind() == kind::SRV)
    };
    net.sent.iter().filter(is_whole).count()
}

#[test]
fn s5_3_several_questions_share_a_packet() {
    let mut net = Net::with_hosts(1, 1);
    for question in [of("web"), of("db"), Question::All] {
        net.browse(0, question);
    }
    net.run(secs(100));
    net.sent.clear();
    let now = net.now;
    net.hosts[0].engine.ask_again(now);
    net.settle(0);
    net.run(ms(500));
    assert_eq!(net.sent.len(), 1);
    assert_eq!(net.sent[0].message.questions.len(), 3);
}

#[test]
fn s7_1_known_answers_count_at_subtypes_as_well() {
    let names = Names::new();
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(60));
    let subtype = names.subtype("web").unwrap();
    let instance = names.instance("vine", "web", "a").unwrap();
    for (known_at, answers) in [(&subtype, 0), (&names.service_type, 1)] {
        net.sent.clear();
        let mut message = Message::query();
        message.questions.push(Ask::new(subtype.clone(), kind::PTR));
        message
            .answers
            .push(record(known_at, Data::Ptr(instance.clone())));
        net.inject(0, stranger(), Port::Standing, &message);
        net.run(secs(2));
        assert_eq!(net.sent.len(), answers);
    }
}

/// Records that contradict those of a node, alone or together.
fn contradictions() -> Vec<Message> {
    let instance = Names::new().instance("vine", "web", "a").unwrap();
    let srv = Data::Srv(Srv {
        port: 666,
        target: name(&["thief", "local"]),
    });
    let txt = Data::Txt(b"\x06n=evil\x08id=thief\x05e=123".as_slice().into());
    [vec![srv.clone()], vec![txt.clone()], vec![srv, txt]]
        .map(|data| {
            let mut message = Message::answer();
            let answers = data.into_iter().map(|data| record(&instance, data));
            message.answers = answers.collect();
            message
        })
        .into()
}

#[test]
fn s9_whoever_contradicts_a_registration_is_contradicted_within_a_second() {
    for claim in contradictions() {
        let mut net = Net::with_hosts(1, 1);
        net.register(0, service("web", "a"));
        net.run(secs(60));
        net.sent.clear();
        net.inject(0, stranger(), Port::Standing, &claim);
        net.run(secs(2));
        assert_eq!(announcements(&net), 1, "{claim:?}");
        assert!(net.hosts[0].events.is_empty());
    }
}

#[test]
fn s9_a_flood_of_claims_costs_an_announcement_a_second_and_nobody_loses_sight() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.register(0, service("web", "a"));
    net.run(secs(60));
    net.sent.clear();
    net.hosts[1].events.clear();
    let claims = contradictions();
    for i in 0..1_000 {
        for host in 0..2 {
            net.inject(host, stranger(), Port::Standing, &claims[i % 3]);
        }
        net.run(ms(10));
    }
    let announced = announcements(&net);
    assert!((5..=11).contains(&announced), "{announced}");
    assert_eq!(net.known(1), ["web/a v1"]);
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::Gone(..));
    assert!(!net.hosts[1].events.iter().any(gone));
    let address = &net.hosts[1].nodes["vine/web/a"].node.address;
    assert_eq!(&**address, "10.0.0.99:80");
}

#[test]
fn s16_names_are_utf_8_and_survive_as_they_are() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    let node = Node::new("Büro №1", "10.0.0.1:80");
    net.register(0, service("日本.サービス", "x").with_nodes([node]));
    net.run(secs(1));
    assert_eq!(net.known(1), ["日本.サービス/Büro №1 v1"]);
}

#[test]
fn s18_questions_and_answers_have_the_headers_of_the_rfc() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, Question::All);
    net.register(0, service("web", "a"));
    net.run(secs(3));
    let flags = |message: &Message| {
        let bytes = message.encode().unwrap();
        u16::from_be_bytes([bytes[2], bytes[3]])
    };
    for sent in &net.sent {
        assert_eq!(sent.message.id, 0);
        let expected = if sent.message.response { 0x8400 } else { 0 };
        assert_eq!(flags(&sent.message), expected);
    }
}

#[test]
fn s18_flags_that_say_nothing_are_ignored_in_answers() {
    let mut other = Net::with_hosts(2, 1);
    other.register(0, service("web", "a"));
    let bytes = other.sent[0].message.encode().unwrap();
    // AA, TC, RD; RA, Z, AD, CD; and an id.
    for (at, bits) in [
        (2, 0x04),
        (2, 0x02),
        (2, 0x01),
        (3, 0x80),
        (3, 0x70),
        (0, 0x55),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] ^= bits;
        let mut net = Net::with_hosts(1, 1);
        net.browse(0, Question::All);
        net.inject_bytes(0, stranger(), Port::Standing, &bytes);
        assert_eq!(net.known(0).len(), 1, "byte {at}, bits {bits:#x}");
    }
}

#[test]
fn rfc6763_s4_1_and_s4_3_labels_may_hold_dots_spaces_and_backslashes() {
    let label = r"My. Printer\032 (2nd floor)";
    let names = Names::new();
    let instance = name(&[label, "_vine", "_tcp", "local"]);
    let target = name(&["printer", "local"]);
    let mut message = Message::answer();
    message.answers = vec![
        record(&names.service_type, Data::Ptr(instance.clone())),
        record(&instance, Data::Srv(Srv { port: 631, target })),
        record(
            &instance,
            Data::Txt(b"\x07n=print\x0ca=10.0.0.5:9".as_slice().into()),
        ),
    ];
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, Question::All);
    net.inject(0, stranger(), Port::Standing, &message);
    assert_eq!(
        &*net.hosts[0].nodes[&format!("vine/print/{label}")].node.id,
        label
    );
}

#[test]
fn rfc6763_s7_1_a_subtype_lists_the_nodes_of_one_service() {
    let mut net = Net::with_hosts(1, 3);
    net.register(0, service("web", "a"));
    net.register(0, service("db", "b"));
    net.browse(1, of("web"));
    net.browse(2, Question::All);
    net.run(secs(5));
    assert_eq!(net.known(1), ["web/a v1"]);
    assert_eq!(net.known(2), ["db/b v1", "web/a v1"]);
}
