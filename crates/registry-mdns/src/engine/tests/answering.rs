//! The responder: sections 5.4, 6, 7, 11 and 18.

use std::{net::SocketAddr, time::Duration};

use vine_registry::{Node, Service};

use super::net::{Net, PORT, QUERY_PORT, Sent, ms, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, Record, kind},
    engine::{Destination, Port},
    mapping::Names,
};

/// A net with one host, and a node registered there so long ago that all is calm.
fn calm(nodes: usize) -> (Net, Names) {
    let mut net = Net::with_hosts(7, 1);
    let nodes = (0..nodes).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(secs(60));
    net.sent.clear();
    (net, Names::new())
}

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 77], port))
}

fn question(name: &Name, kind: u16) -> Message {
    let mut message = Message::query();
    message.questions.push(Ask::new(name.clone(), kind));
    message
}

fn ask(net: &mut Net, message: &Message, port: u16, wait: Duration) -> (Duration, Vec<Sent>) {
    net.sent.clear();
    let at = net.elapsed();
    net.inject(0, stranger(port), Port::Standing, message);
    net.run(wait);
    (at, net.sent.clone())
}

fn kinds(records: &[Record]) -> Vec<u16> {
    records.iter().map(|record| record.data.kind()).collect()
}

fn instance(names: &Names) -> Name {
    names.instance("vine", "web", "n0").unwrap()
}

fn pointer(names: &Names, ttl: u32) -> Record {
    Record {
        name: names.service_type.clone(),
        flush: false,
        ttl,
        data: Data::Ptr(instance(names)),
    }
}

#[test]
fn s6_shared_answers_wait_20_to_120_ms() {
    let (mut net, names) = calm(1);
    for _ in 0..20 {
        let message = question(&names.service_type, kind::PTR);
        let (at, sent) = ask(&mut net, &message, PORT, secs(3));
        assert_eq!(sent.len(), 1);
        assert!((ms(20)..=ms(120)).contains(&(sent[0].at - at)));
        assert_eq!(sent[0].to, Destination::Multicast);
        assert!(sent[0].message.questions.is_empty() && sent[0].message.id == 0);
    }
}

#[test]
fn s6_unique_answers_do_not_wait() {
    let (mut net, names) = calm(1);
    let (at, sent) = ask(
        &mut net,
        &question(&instance(&names), kind::SRV),
        PORT,
        secs(3),
    );
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].at, at);
    assert!(
        sent[0]
            .message
            .answers
            .iter()
            .all(|record| record.flush && record.ttl == 120)
    );
}

#[test]
fn s6_a_record_is_multicast_once_a_second() {
    let (mut net, names) = calm(1);
    let message = question(&instance(&names), kind::TXT);
    net.inject(0, stranger(PORT), Port::Standing, &message);
    for _ in 0..20 {
        net.run(ms(100));
        net.inject(0, stranger(PORT), Port::Standing, &message);
    }
    let times: Vec<_> = net.sent.iter().map(|sent| sent.at).collect();
    assert_eq!(times.len(), 3);
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= secs(1)),
        "{times:?}"
    );
}

#[test]
fn s6_1_what_there_is_not_is_said() {
    let (mut net, names) = calm(1);
    let (_, sent) = ask(
        &mut net,
        &question(&instance(&names), kind::A),
        PORT,
        secs(3),
    );
    assert_eq!(kinds(&sent[0].message.answers), [kind::NSEC]);
    let (_, sent) = ask(
        &mut net,
        &question(&instance(&names), kind::SRV),
        PORT,
        secs(3),
    );
    let target = sent[0]
        .message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            Data::Srv(srv) => Some(srv.target.clone()),
            _ => None,
        });
    let (_, sent) = ask(
        &mut net,
        &question(&target.unwrap(), kind::AAAA),
        PORT,
        secs(3),
    );
    assert_eq!(kinds(&sent[0].message.answers), [kind::NSEC]);
}

#[test]
fn s6_2_who_hears_of_a_node_hears_all_of_it() {
    let (mut net, names) = calm(1);
    let subtype = names.subtype("web").unwrap();
    let (_, sent) = ask(&mut net, &question(&subtype, kind::PTR), PORT, secs(3));
    assert_eq!(kinds(&sent[0].message.answers), [kind::PTR]);
    assert_eq!(
        kinds(&sent[0].message.additionals),
        [kind::SRV, kind::TXT, kind::A]
    );
}

#[test]
fn s6_3_several_questions_share_an_answer_and_s6_5_any_means_any() {
    let (mut net, names) = calm(1);
    let mut message = question(&names.service_type, kind::PTR);
    message
        .questions
        .push(Ask::new(names.subtype("web").unwrap(), kind::PTR));
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].message.answers.len(), 2);
    let (_, sent) = ask(
        &mut net,
        &question(&instance(&names), kind::ANY),
        PORT,
        secs(3),
    );
    assert_eq!(kinds(&sent[0].message.answers), [kind::SRV, kind::TXT]);
}

#[test]
fn s6_7_legacy_unicast_is_answered_at_once_and_like_unicast_dns() {
    let (mut net, names) = calm(1);
    let mut message = question(&names.subtype("web").unwrap(), kind::PTR);
    message.id = 4_711;
    let (at, sent) = ask(&mut net, &message, QUERY_PORT + 99, secs(3));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].at, at);
    assert_eq!(sent[0].to, Destination::Unicast(stranger(QUERY_PORT + 99)));
    let answer = &sent[0].message;
    assert_eq!((answer.id, &answer.questions), (4_711, &message.questions));
    let mut records = answer.answers.iter().chain(&answer.additionals);
    assert!(records.all(|record| record.ttl <= 10 && !record.flush));
}

#[test]
fn s6_7_a_thousand_legacy_answers_are_paced() {
    let (mut net, names) = calm(1_000);
    let mut message = question(&names.subtype("web").unwrap(), kind::PTR);
    message.id = 1;
    let (at, sent) = ask(&mut net, &message, QUERY_PORT + 99, secs(3));
    let nodes: usize = sent.iter().map(|sent| sent.message.answers.len()).sum();
    assert_eq!(nodes, 1_000);
    assert!(sent.iter().all(|sent| sent.size <= 1_452));
    assert!(sent.last().unwrap().at - at <= ms(8));
    for window in sent.windows(65) {
        assert!(window[64].at - window[0].at >= ms(2));
    }
}

#[test]
fn s5_4_who_wants_unicast_gets_it_if_others_have_heard_of_late() {
    let (mut net, names) = calm(1);
    let mut message = question(&instance(&names), kind::SRV);
    message.questions[0].unicast = true;
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(
        sent[0].to,
        Destination::Multicast,
        "announced 60 s ago: more than a quarter"
    );
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(sent[0].to, Destination::Unicast(stranger(PORT)));
    assert_eq!(sent[0].message.answers[0].ttl, 120);
}

#[test]
fn s7_1_known_answers_are_not_repeated() {
    let (mut net, names) = calm(2);
    let mut message = question(&names.service_type, kind::PTR);
    message.answers.push(pointer(&names, 60));
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(sent[0].message.answers.len(), 1, "only the other one");
    message.answers[0].ttl = 59;
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(
        sent[0].message.answers.len(),
        2,
        "less than half its lifetime is left"
    );
}

#[test]
fn s7_2_more_known_answers_are_waited_for() {
    let (mut net, names) = calm(1);
    let mut first = question(&names.service_type, kind::PTR);
    first.truncated = true;
    let (at, sent) = ask(&mut net, &first, PORT, secs(3));
    assert!(
        (ms(400)..=ms(700)).contains(&(sent[0].at - at)),
        "nothing more came"
    );
    net.inject(0, stranger(PORT), Port::Standing, &first);
    net.run(ms(100));
    let mut second = Message::query();
    second.answers.push(pointer(&names, 120));
    let (_, sent) = ask(&mut net, &second, PORT, secs(3));
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn s6_6_the_owner_puts_a_wrong_lifetime_right() {
    let (mut net, names) = calm(1);
    let (_, sent) = ask(
        &mut net,
        &question(&instance(&names), kind::ANY),
        PORT,
        secs(3),
    );
    let mut wrong = Message::answer();
    wrong.answers.clone_from(&sent[0].message.answers);
    for record in &mut wrong.answers {
        record.ttl = 0;
    }
    let (_, sent) = ask(&mut net, &wrong, PORT, secs(3));
    assert!(
        sent[0]
            .message
            .answers
            .iter()
            .all(|record| record.ttl == 120)
    );
    let mut goodbye = Message::answer();
    goodbye.answers.push(pointer(&names, 0));
    let (_, sent) = ask(&mut net, &goodbye, PORT, secs(3));
    assert!(sent[0].message.answers.contains(&pointer(&names, 120)));
}

#[test]
fn s11_who_is_not_on_the_link_gets_no_answer() {
    let (mut net, names) = calm(1);
    let message = question(&instance(&names), kind::ANY);
    for source in ["192.0.2.1:5353", "192.0.2.1:999", "10.0.1.1:5353"] {
        net.inject(0, source.parse().unwrap(), Port::Standing, &message);
    }
    net.run(secs(3));
    assert!(net.sent.is_empty());
    assert_eq!(net.hosts[0].engine.counters().ignored, 3);
}

#[test]
fn s18_other_opcodes_and_response_codes_are_ignored() {
    let (mut net, names) = calm(1);
    let bytes = question(&instance(&names), kind::ANY).encode().unwrap();
    for (at, bits) in [(2, 0x08), (2, 0x78), (3, 0x01), (3, 0x0F)] {
        let mut bytes = bytes.clone();
        bytes[at] |= bits;
        net.inject_bytes(0, stranger(PORT), Port::Standing, &bytes);
    }
    net.run(secs(3));
    assert!(net.sent.is_empty());
    assert_eq!(net.hosts[0].engine.counters().ignored, 4);
    net.inject_bytes(0, stranger(PORT), Port::Standing, &bytes[..bytes.len() - 1]);
    assert_eq!(net.hosts[0].engine.counters().malformed, 1);
}

#[test]
fn rfc6763_s9_the_type_is_listed_among_the_types() {
    let (mut net, names) = calm(1);
    let (_, sent) = ask(&mut net, &question(&names.types, kind::PTR), PORT, secs(3));
    assert_eq!(
        sent[0].message.answers[0].data,
        Data::Ptr(names.service_type)
    );
}

#[test]
fn large_and_small_nodes_are_all_answered() {
    let mut net = Net::with_hosts(3, 2);
    let mut random = fastrand::Rng::with_seed(9);
    let noise: String = std::iter::repeat_with(|| random.alphanumeric())
        .take(5_000)
        .collect();
    let large = Service::new("web", "v1")
        .with_namespace("vine")
        .with_metadata([("noise", noise)])
        .with_node(Node::new("large", "h:1"));
    net.register(0, large);
    net.register(0, service("web", "small"));
    net.run(secs(10));
    net.browse(1, super::net::of("web"));
    net.run(secs(2));
    assert_eq!(net.known(1), ["web/large v1", "web/small v1"]);
    assert!(net.sent.iter().any(|sent| sent.size > 1_200));
    assert!(net.sent.iter().all(|sent| sent.size <= 1_452));
}

#[test]
fn what_is_asked_many_times_in_a_packet_is_answered_once() {
    let (mut net, names) = calm(3);
    let shouted = Name::from_labels([&b"_VINE"[..], b"_TCP", b"LOCAL"]).unwrap();
    let mut message = question(&names.service_type, kind::PTR);
    message.questions.push(Ask::new(shouted, kind::PTR));
    message.questions.resize(200, message.questions[0].clone());
    let distinct = |sent: &[Sent]| {
        let answers = sent.iter().flat_map(|sent| &sent.message.answers);
        let mut names: Vec<_> = answers.map(|record| format!("{:?}", record.data)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        (all, names.len())
    };
    let (_, sent) = ask(&mut net, &message, 40_999, secs(3));
    assert_eq!(distinct(&sent), (3, 3));
    assert_eq!(sent[0].message.questions.len(), 1);
    // Also when it comes in several packets, and to who wants it for himself.
    for ask in &mut message.questions {
        ask.unicast = true;
    }
    message.truncated = true;
    net.inject(0, stranger(PORT), Port::Standing, &message);
    message.truncated = false;
    net.run(ms(10));
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert_eq!(distinct(&sent), (3, 3));
    // Who asks in both ways wants others to hear it, too.
    message.questions[100].unicast = false;
    net.run(secs(3));
    let (_, sent) = ask(&mut net, &message, PORT, secs(3));
    assert!(sent.iter().all(|sent| sent.to == Destination::Multicast));
    assert_eq!(distinct(&sent), (3, 3));
}

#[test]
fn questions_with_one_answer_are_answered_once() {
    let (mut net, names) = calm(1);
    let mut message = question(&instance(&names), kind::SRV);
    for kind in [kind::TXT, kind::ANY] {
        message.questions.push(Ask::new(instance(&names), kind));
    }
    let (_, sent) = ask(&mut net, &message, 40_999, secs(3));
    let answers = kinds(&sent[0].message.answers);
    assert_eq!(answers.len(), 2, "{answers:?}");
}
