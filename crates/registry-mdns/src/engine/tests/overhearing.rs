//! What others ask and answer: sections 7.3, 7.4, 10.4 and 10.5.

use std::net::SocketAddr;

use super::net::{Net, PORT, Sent, interface, ms, of, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, Record, kind},
    engine::{EngineEvent, Interface, LinkKind, Port, Question, Received},
    mapping::Names,
};

fn stranger() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 77], PORT))
}

fn question(name: &Name, kind: u16) -> Message {
    let mut message = Message::query();
    message.questions.push(Ask::new(name.clone(), kind));
    message
}

fn pointer(topic: &Name, instance: &Name) -> Record {
    Record {
        name: topic.clone(),
        flush: false,
        ttl: 120,
        data: Data::Ptr(instance.clone()),
    }
}

fn questions(net: &Net, host: usize) -> Vec<&Sent> {
    let all = net.sent_by(host, std::time::Duration::ZERO);
    all.into_iter()
        .filter(|sent| !sent.message.response && sent.message.authorities.is_empty())
        .collect()
}

/// Two hosts: one has had a node for long, which the other knows; and the node's name.
fn acquainted() -> (Net, Name) {
    let mut net = Net::with_hosts(5, 2);
    net.browse(1, Question::All);
    net.register(0, service("web", "a").with_ttl(secs(4_000)));
    net.run(secs(70));
    assert_eq!(net.known(1).len(), 1);
    net.sent.clear();
    (net, Names::new().instance("vine", "web", "a").unwrap())
}

fn hear(net: &mut Net, host: usize, message: &Message) {
    net.inject(host, stranger(), Port::Standing, message);
}

#[test]
fn s7_3_duplicate_questions_are_not_asked_again() {
    let names = Names::new();
    // Questions are asked 63 s and 127 s after the first.
    for (heard, known, is_asked) in [
        (true, false, false),
        (true, true, true),
        (false, false, true),
    ] {
        let mut net = Net::with_hosts(1, 1);
        net.browse(0, Question::All);
        net.run(secs(100));
        net.sent.clear();
        let mut other = question(&names.service_type, kind::PTR);
        if known {
            let instance = names.instance("vine", "web", "unheard-of").unwrap();
            other.answers.push(pointer(&names.service_type, &instance));
        }
        net.run(secs(20));
        if heard {
            hear(&mut net, 0, &other);
        }
        net.run(secs(20));
        assert_eq!(
            questions(&net, 0).len(),
            usize::from(is_asked),
            "{heard} {known}"
        );
    }
}

#[test]
fn s7_3_neither_unicast_nor_legacy_questions_stand_for_ones_own() {
    let names = Names::new();
    let mut unicast = question(&names.service_type, kind::PTR);
    unicast.questions[0].unicast = true;
    let plain = question(&names.service_type, kind::PTR);
    for (message, port) in [(&unicast, PORT), (&plain, 999)] {
        let mut net = Net::with_hosts(1, 1);
        net.browse(0, Question::All);
        net.run(secs(120));
        net.sent.clear();
        net.inject(
            0,
            SocketAddr::from(([10, 0, 0, 77], port)),
            Port::Standing,
            message,
        );
        net.run(secs(20));
        assert_eq!(questions(&net, 0).len(), 1);
    }
}

#[test]
fn s7_3_a_question_in_several_packets_is_judged_as_a_whole() {
    let names = Names::new();
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, Question::All);
    net.run(secs(120));
    net.sent.clear();
    let mut first = question(&names.service_type, kind::PTR);
    first.truncated = true;
    hear(&mut net, 0, &first);
    let mut rest = Message::query();
    let instance = names.instance("vine", "web", "unheard-of").unwrap();
    rest.answers.push(pointer(&names.service_type, &instance));
    net.run(ms(50));
    hear(&mut net, 0, &rest);
    net.run(secs(20));
    assert_eq!(questions(&net, 0).len(), 1);
}

#[test]
fn s7_3_many_browsers_ask_less_than_each_alone_would() {
    let mut net = Net::with_hosts(3, 10);
    for host in 0..10 {
        net.browse(host, of("web"));
        net.run(ms(700));
    }
    net.run(secs(1_800));
    net.sent.clear();
    net.run(secs(4 * 3_600));
    // Alone, each asks every 1,024 or 3,600 s.
    let asked = net.sent.len();
    assert!((4..=20).contains(&asked), "{asked}");
}

#[test]
fn s7_4_what_another_has_just_answered_is_not_answered_again() {
    let names = Names::new();
    for (ttl, expected) in [(4_500, 0), (4_499, 1)] {
        let mut net = Net::with_hosts(2, 1);
        net.register(0, service("web", "a"));
        net.run(secs(60));
        net.sent.clear();
        hear(&mut net, 0, &question(&names.types, kind::PTR));
        net.run(ms(1));
        let mut answer = Message::answer();
        answer.answers.push(Record {
            ttl,
            ..pointer(&names.types, &names.service_type)
        });
        hear(&mut net, 0, &answer);
        net.run(secs(2));
        assert_eq!(net.sent.len(), expected, "with a ttl of {ttl}");
    }
}

#[test]
fn s7_4_of_many_hosts_one_names_the_type() {
    let names = Names::new();
    let mut net = Net::with_hosts(2, 10);
    for host in 0..10 {
        net.register(host, service("web", &format!("n{host}")));
    }
    net.run(secs(60));
    net.sent.clear();
    let message = question(&names.types, kind::PTR);
    for host in 0..10 {
        hear(&mut net, host, &message);
    }
    net.run(secs(2));
    assert!(net.sent.len() <= 2, "{}", net.sent.len());
}

#[test]
fn s10_5_what_does_not_answer_others_is_gone_after_ten_seconds() {
    let names = Names::new();
    let (mut net, _) = acquainted();
    net.hosts[0].is_connected = false;
    let message = question(&names.service_type, kind::PTR);
    hear(&mut net, 1, &message);
    net.run(secs(15));
    assert_eq!(net.known(1).len(), 1, "one may have got lost");
    hear(&mut net, 1, &message);
    net.run(ms(9_900));
    assert_eq!(net.known(1).len(), 1);
    assert!(
        questions(&net, 1).is_empty(),
        "nobody asks on his own account"
    );
    net.run(ms(200));
    assert!(net.known(1).is_empty());
}

#[test]
fn s10_5_what_answers_stays() {
    let names = Names::new();
    let (mut net, instance) = acquainted();
    for name in [&names.service_type, &instance] {
        let kind = if *name == instance {
            kind::SRV
        } else {
            kind::PTR
        };
        for _ in 0..5 {
            for host in 0..2 {
                hear(&mut net, host, &question(name, kind));
            }
            net.run(secs(3));
        }
    }
    net.run(secs(30));
    assert_eq!(net.known(1).len(), 1);
    let lost = |event: &EngineEvent| matches!(event, EngineEvent::Gone(..));
    assert!(!net.hosts[1].events.iter().any(lost));
}

#[test]
fn s10_5_questions_that_are_not_answered_by_multicast_prove_nothing() {
    let names = Names::new();
    let (mut net, instance) = acquainted();
    net.hosts[0].is_connected = false;
    let mut unicast = question(&names.service_type, kind::PTR);
    unicast.questions[0].unicast = true;
    let mut known = question(&names.service_type, kind::PTR);
    known.answers.push(pointer(&names.service_type, &instance));
    let plain = question(&names.service_type, kind::PTR);
    let legacy = SocketAddr::from(([10, 0, 0, 77], 999));
    // The owner itself, too, has no need to be told.
    let owner = SocketAddr::from(([10, 0, 0, 1], PORT));
    for _ in 0..5 {
        hear(&mut net, 1, &unicast);
        hear(&mut net, 1, &known);
        net.inject(1, legacy, Port::Standing, &plain);
        net.inject(1, owner, Port::Standing, &plain);
        net.run(secs(5));
    }
    assert_eq!(net.known(1).len(), 1);
}

#[test]
fn s10_5_single_records_count_as_well() {
    let (mut net, instance) = acquainted();
    net.hosts[0].is_connected = false;
    for _ in 0..2 {
        hear(&mut net, 1, &question(&instance, kind::TXT));
        net.run(secs(2));
    }
    net.run(secs(9));
    assert!(net.known(1).is_empty());
}

fn reconfirm(net: &mut Net, host: usize) {
    let now = net.now;
    let [namespace, name, id] = ["vine", "web", "a"].map(Into::into);
    net.hosts[host]
        .engine
        .reconfirm(now, &namespace, &name, &id);
    net.settle(host);
}

#[test]
fn s10_4_who_cannot_be_reached_and_is_silent_is_gone_after_two_seconds() {
    let (mut net, instance) = acquainted();
    net.hosts[0].is_connected = false;
    let began = net.elapsed();
    for _ in 0..3 {
        reconfirm(&mut net, 1);
    }
    net.run(ms(1_999));
    assert_eq!(net.known(1).len(), 1);
    let asked = questions(&net, 1);
    let times: Vec<_> = asked
        .iter()
        .map(|sent| (sent.at - began).as_millis())
        .collect();
    assert_eq!(times, [0, 250, 1_000]);
    assert!(
        asked
            .iter()
            .all(|sent| sent.message.questions == [Ask::new(instance.clone(), kind::SRV)])
    );
    net.run(ms(1));
    assert!(net.known(1).is_empty());
}

#[test]
fn s10_4_who_answers_stays() {
    let (mut net, _) = acquainted();
    reconfirm(&mut net, 1);
    net.run(secs(10));
    assert_eq!(net.known(1).len(), 1);
    assert_eq!(questions(&net, 1).len(), 1, "the first was answered");
    let now = net.now;
    let unknown = "unknown".into();
    net.hosts[1]
        .engine
        .reconfirm(now, &unknown, &unknown, &unknown);
    net.run(secs(10));
    assert_eq!(net.known(1).len(), 1);
}

#[test]
fn s10_4_many_who_doubt_one_node_share_their_questions() {
    let mut net = Net::with_hosts(5, 20);
    for host in 1..20 {
        net.browse(host, of("web"));
    }
    net.register(0, service("web", "a").with_ttl(secs(4_000)));
    net.run(secs(70));
    net.hosts[0].is_connected = false;
    net.sent.clear();
    for host in 1..20 {
        reconfirm(&mut net, host);
        net.run(ms(2));
    }
    net.run(secs(2));
    for host in 1..20 {
        assert!(net.known(host).is_empty());
    }
    let srv = |sent: &&Sent| {
        sent.message
            .questions
            .iter()
            .any(|ask| ask.kind == kind::SRV)
    };
    let asked = net.sent.iter().filter(srv).count();
    assert!(asked <= 10, "{asked} questions");
}

/// Where containers come and go, so do interfaces, each with a number of its own.
#[test]
fn of_links_that_are_gone_nothing_is_remembered() {
    let mut net = Net::with_hosts(5, 1);
    net.browse(0, of("web"));
    let subtype = Names::new().subtype("web").unwrap();
    let payload = question(&subtype, kind::PTR).encode().unwrap();
    for id in 10..60 {
        let eth = interface([10, 0, 0, 1].into(), LinkKind::Wired);
        net.set_interfaces(0, vec![Interface { id, ..eth }]);
        let received = Received {
            payload: &payload,
            source: stranger(),
            interface: id,
            port: Port::Standing,
            multicast: true,
        };
        net.hosts[0].engine.handle_packet(net.now, received);
        net.settle(0);
    }
    let topic = &net.hosts[0].engine.cache.topics[&subtype];
    assert_eq!(topic.heard.len(), 1);
}
