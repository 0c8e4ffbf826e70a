//! What other programs publish by the type alone: RFC 6763 section 7.1 leaves subtypes to the publisher.

use std::net::SocketAddr;

use vine_registry::{Node, Wait};

use super::net::{Net, PORT, Sent, ms, of, secs, service};
use crate::{
    codec::{Data, Message, Name, Record, Srv, kind},
    engine::{Outcome, Port, Question},
    mapping::Names,
};

fn publisher() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 77], PORT))
}

/// What a program says that knows no subtypes.
fn plain(service: &str, id: &str, ttl: u32) -> Message {
    let names = Names::new();
    let labels = [id.as_bytes(), b"_vine", b"_tcp", b"local"];
    let instance = Name::from_labels(labels).unwrap();
    let target = Name::from_labels([&b"printer"[..], b"local"]).unwrap();
    let strings = [format!("n={service}"), format!("id={id}")];
    let strings = strings.iter();
    let txt = strings.flat_map(|s| std::iter::once(s.len() as u8).chain(s.bytes()));
    let record = |name: &Name, data| Record {
        name: name.clone(),
        flush: false,
        ttl,
        data,
    };
    let mut message = Message::answer();
    let pointer = Data::Ptr(instance.clone());
    message.answers.push(record(&names.service_type, pointer));
    let srv = Srv {
        port: 631,
        target: target.clone(),
    };
    message.additionals = vec![
        record(&instance, Data::Srv(srv)),
        record(&instance, Data::Txt(txt.collect::<Vec<_>>().into())),
        record(&target, Data::A([10, 0, 0, 77].into())),
    ];
    message
}

/// The same as an answer to the first one-shot question of a host.
fn answer_of(net: &Net, host: usize, mut said: Message) -> Message {
    let asked = |sent: &&Sent| sent.from == host && sent.port == Port::Query;
    let question = &net.sent.iter().find(asked).unwrap().message;
    said.id = question.id;
    said.questions.clone_from(&question.questions);
    said
}

/// How often a host has asked everybody for the type, from the port that all share.
fn wide_questions(net: &Net, host: usize) -> usize {
    let all = Names::new().service_type;
    let asks = |sent: &&Sent| {
        let mut questions = sent.message.questions.iter();
        let is_standing = sent.port == Port::Standing && !sent.message.response;
        sent.from == host && is_standing && questions.any(|ask| ask.name == all)
    };
    net.sent.iter().filter(asks).count()
}

#[test]
fn rfc6763_s7_1_who_has_no_subtypes_is_found_by_name_all_the_same() {
    let mut net = Net::with_hosts(1, 3);
    net.register(1, service("web", "ours"));
    net.register(2, service("db", "other"));
    net.run(secs(10));
    net.browse(0, of("web"));
    let id = net.lookup(0, of("web"), Wait::Settled);
    let said = answer_of(&net, 0, plain("web", "theirs", 10));
    net.inject(0, publisher(), Port::Query, &said);
    let (outcome, after) = net.run_lookup(0, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after <= ms(20), "{after:?}");
    assert_eq!(net.known(0), ["web/ours v1", "web/theirs "]);
    // From now on the type is asked for, and so its end is noticed.
    net.run(ms(200));
    assert_eq!(wide_questions(&net, 0), 1);
    net.inject(0, publisher(), Port::Standing, &plain("web", "theirs", 120));
    net.inject(0, publisher(), Port::Standing, &plain("web", "theirs", 0));
    assert!(!net.known(0).contains(&"web/theirs ".to_owned()));
}

#[test]
fn who_has_subtypes_does_not_answer_for_the_type() {
    let mut net = Net::with_hosts(1, 3);
    for host in 1..3 {
        let nodes = (0..100).map(|i| Node::new(format!("n{host}-{i}"), "10.0.0.9:80"));
        net.register_all(host, service("db", "x").with_nodes(nodes));
    }
    net.register(1, service("web", "a"));
    net.run(secs(10));
    net.sent.clear();
    net.browse(0, of("web"));
    let id = net.lookup(0, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(0, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after <= ms(20), "{after:?}");
    let asked = net.sent.iter().filter(|sent| sent.port == Port::Query);
    let both = asked.filter(|sent| sent.message.questions.len() == 2);
    assert!(both.count() > 0);
    let told: usize = net.sent.iter().map(|sent| sent.message.answers.len()).sum();
    assert!(told < 20, "{told} records for one node");
    net.run(secs(300));
    assert_eq!(wide_questions(&net, 0), 0);
}

#[test]
fn nobody_is_not_found_any_later() {
    let mut net = Net::with_hosts(1, 2);
    net.register(1, service("db", "x"));
    net.run(secs(10));
    net.browse(0, of("web"));
    let id = net.lookup(0, of("web"), Wait::Settled);
    let said = answer_of(&net, 0, plain("print", "theirs", 10));
    net.inject(0, publisher(), Port::Query, &said);
    assert_eq!(net.run_lookup(0, id), (Outcome::NotFound, secs(1)));
    net.run(secs(60));
    assert_eq!(wide_questions(&net, 0), 0, "nobody of that name");
    assert!(net.known(0).is_empty());
}

#[test]
fn what_did_not_fit_into_the_answer_is_asked_for() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    let id = net.lookup(0, of("web"), Wait::Settled);
    let mut said = answer_of(&net, 0, plain("web", "theirs", 10));
    let rest = std::mem::take(&mut said.additionals);
    net.inject(0, publisher(), Port::Query, &said);
    net.run(ms(30));
    let wants_text = |sent: &&Sent| {
        sent.message
            .questions
            .iter()
            .any(|ask| ask.kind == kind::TXT)
    };
    let asked = net.sent.iter().find(wants_text).unwrap();
    let mut more = Message::answer();
    more.id = asked.message.id;
    more.questions.clone_from(&asked.message.questions);
    more.answers = rest;
    let port = asked.port;
    net.inject(0, publisher(), port, &more);
    assert_eq!(net.run_lookup(0, id).0, Outcome::Settled);
    assert_eq!(net.known(0), ["web/theirs "]);
}

#[test]
fn who_comes_later_is_seen_as_long_as_anybody_asks() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    net.run(secs(60));
    net.inject(0, publisher(), Port::Standing, &plain("db", "other", 120));
    net.run(secs(1));
    assert_eq!(wide_questions(&net, 0), 0);
    net.inject(0, publisher(), Port::Standing, &plain("web", "theirs", 120));
    assert_eq!(net.known(0), ["web/theirs "]);
    net.run(secs(1));
    assert_eq!(wide_questions(&net, 0), 1);
    let now = net.now;
    net.hosts[0].engine.end_browse(now, &of("web"));
    net.settle(0);
    assert!(net.known(0).is_empty());
    net.sent.clear();
    net.run(secs(4_000));
    assert!(net.sent.is_empty(), "nobody asks any more");
}

#[test]
fn ours_that_are_told_by_the_type_to_others_make_nobody_ask_for_it() {
    let mut net = Net::with_hosts(1, 3);
    net.hosts[0].is_connected = false;
    net.register(1, service("web", "missed"));
    net.run(secs(10));
    net.hosts[0].is_connected = true;
    net.browse(2, Question::All);
    let browser = &mut net.hosts[0].engine;
    let now = net.now;
    browser.browse(now, of("web"));
    net.run(secs(30));
    assert_eq!(wide_questions(&net, 0), 0);
    assert_eq!(net.known(0), ["web/missed v1"], "by its subtype");
}
