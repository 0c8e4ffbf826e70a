//! Ours and Go's side by side, in virtual time.

use std::collections::BTreeSet;

use vine_registry::{Node, Service, Wait};

use super::{
    link::{Link, Process, of},
    service,
};
use crate::{
    engine::{EngineEvent, Outcome, Question},
    options::Dialect,
};

const DIALECTS: [Dialect; 2] = [Dialect::Vine, Dialect::Both];

fn go_service(id: &str, port: u16) -> Service {
    service("foo", id, &format!("10.0.0.2:{port}"))
}

#[test]
fn a_go_process_finds_lists_and_watches_ours() {
    for dialect in DIALECTS {
        let mut link = Link::new(10);
        let (here, there) = (link.host(), link.host());
        let go = link.add(there, Process::go(&[]));
        let one = link.add(here, Process::ours(dialect));
        link.register(one, &service("foo", "n1", "10.0.0.1:80"));
        link.register(one, &service("foo", "n2", "0.0.0.0:81"));
        link.run_ms(10);
        let watched: Vec<_> = link
            .go(go)
            .watched
            .iter()
            .map(|(creates, found)| (*creates, found.id.clone()))
            .collect();
        assert_eq!(watched, [(true, "n1".to_owned()), (true, "n2".to_owned())]);

        assert_eq!(link.go_asks(go, "foo.vine"), 0, "nothing was missing");
        let got: BTreeSet<_> = link
            .go(go)
            .got
            .iter()
            .map(|found| {
                (
                    found.id.clone(),
                    found.address.clone(),
                    found.version.clone(),
                )
            })
            .collect();
        let expected = [("n1", "10.0.0.1:80"), ("n2", "10.0.0.1:81")];
        let expected =
            expected.map(|(id, address)| (id.to_owned(), address.to_owned(), "1.0.0".to_owned()));
        assert_eq!(got, BTreeSet::from(expected));
        assert_eq!(link.go_asks(go, "_services.vine"), 0);
        assert_eq!(link.go(go).listed, ["foo"]);

        link.go(go).watched.clear();
        // A new port and a new version are published at once.
        let moved = Service::new("foo", "2.0.0")
            .with_namespace("vine")
            .with_node(Node::new("n1", "10.0.0.1:90"));
        link.register(one, &moved);
        link.run_ms(10);
        let (creates, found) = &link.go(go).watched[0];
        assert!(creates);
        assert_eq!((&*found.version, &*found.address), ("2.0.0", "10.0.0.1:90"));
        link.close(one);
        link.run_ms(10);
        let gone = link.go(go).watched.iter().filter(|(creates, _)| !creates);
        assert_eq!(gone.count(), 2);
    }
}

#[test]
fn ours_finds_lists_and_watches_a_go_process() {
    for dialect in DIALECTS {
        let mut link = Link::new(11);
        let (here, there) = (link.host(), link.host());
        let one = link.add(here, Process::ours(dialect));
        link.browse(one, "foo");
        let go = link.add(there, Process::go(&[go_service("n1", 80)]));
        link.run_ms(10);
        assert_eq!(link.known(one), [go_service("n1", 80)]);

        // Somebody new, who has heard no announcement.
        link.run_ms(10_000);
        let late = link.add(here, Process::ours(dialect));
        let (outcome, took) = link.lookup(late, of("foo"));
        assert_eq!(outcome, Outcome::Settled);
        assert!(took <= 200, "{took} ms");
        let found = link.events(late);
        assert!(
            found
                .iter()
                .any(|event| matches!(event, EngineEvent::Found(_))),
            "{found:?}"
        );

        let all = link.add(here, Process::ours(dialect));
        link.ours(all, |engine, now| engine.browse(now, Question::All));
        assert_eq!(link.lookup(all, Question::All).0, Outcome::Settled);
        assert_eq!(link.known(all), [go_service("n1", 80)]);

        link.stop_go(go);
        link.run_ms(10);
        assert_eq!(link.known(one), []);
        assert_eq!(link.known(all), []);
        assert_eq!(link.lookup(late, of("foo")).0, Outcome::NotFound);
    }
}

#[test]
fn a_look_up_ends_though_new_nodes_keep_coming() {
    for dialect in DIALECTS {
        let mut link = Link::new(14);
        let (here, there) = (link.host(), link.host());
        let crowd = link.add(there, Process::ours(Dialect::Vine));
        let one = link.add(here, Process::ours(dialect));
        link.register(crowd, &service("foo", "n0", "10.0.0.2:80"));
        let question = of("foo");
        link.ours(one, |engine, now| {
            engine.lookup(now, question, Wait::Settled);
        });
        let is_done = |event: &EngineEvent| matches!(event, EngineEvent::LookupDone { .. });
        let done = (1..200).find(|number| {
            let id = format!("n{number}");
            link.register(crowd, &service("foo", &id, "10.0.0.2:80"));
            link.run_ms(25);
            link.events(one).iter().any(is_done)
        });
        assert!(done.is_some_and(|number| number <= 130), "{done:?}");
    }
}

#[test]
fn a_killed_go_process_is_gone_when_its_records_are() {
    for dialect in DIALECTS {
        let mut link = Link::new(12);
        let (here, there) = (link.host(), link.host());
        let one = link.add(here, Process::ours(dialect));
        link.browse(one, "foo");
        let go = link.add(there, Process::go(&[go_service("n1", 80)]));
        // As long as it lives it is asked again before its records end.
        link.run_ms(1_000_000);
        assert_eq!(link.known(one).len(), 1);
        let events = link.events(one);
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, EngineEvent::Gone(..)))
        );
        link.kill(go);
        link.run_ms(121_000);
        assert_eq!(link.known(one), []);
    }
}

#[test]
fn what_is_seen_twice_is_there_once() {
    let mut link = Link::new(13);
    let (here, there) = (link.host(), link.host());
    let one = link.add(here, Process::ours(Dialect::Both));
    let other = link.add(there, Process::ours(Dialect::Both));
    link.browse(other, "foo");
    let full = service("foo", "n1", "10.0.0.1:80").with_metadata([("of", "service")]);
    link.register(one, &full);
    link.run_ms(10_000);
    assert_eq!(link.known(other), [full]);
    let events = link.events(other);
    let changes = events
        .iter()
        .filter(|event| !matches!(event, EngineEvent::LookupDone { .. }));
    assert_eq!(changes.count(), 1, "{events:?}");
    // Its end, too, is told once, and at once.
    link.close(one);
    link.run_ms(10);
    assert_eq!(link.known(other), []);
    link.run_ms(10_000);
    let events = link.events(other);
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn each_dialect_meets_its_own_and_both_meet_all() {
    let mut link = Link::new(14);
    let host = link.host();
    let dialects = [Dialect::DnsSd, Dialect::Vine, Dialect::Both];
    let processes = dialects.map(|dialect| {
        let one = link.add(host, Process::ours(dialect));
        link.browse(one, "foo");
        one
    });
    for (one, id) in processes.into_iter().zip(["sd", "go", "both"]) {
        link.register(one, &service("foo", id, "10.0.0.1:80"));
    }
    link.run_ms(1_000);
    let mut seen = |number: usize| -> Vec<String> {
        let known = link.known(processes[number]);
        known
            .iter()
            .map(|service| service.nodes.nth(0).unwrap().id.to_string())
            .collect()
    };
    assert_eq!(seen(0), ["both"]);
    assert_eq!(seen(1), ["both"]);
    assert_eq!(seen(2), ["go", "sd"]);
}

#[test]
fn namespaces_are_domains_unless_one_domain_is_set() {
    let in_namespace =
        |namespace: &str| service("foo", namespace, "10.0.0.1:80").with_namespace(namespace);
    // Two domains, and all of them found by who knows of none.
    let mut link = Link::new(15);
    let host = link.host();
    let one = link.add(host, Process::ours(Dialect::Vine));
    for namespace in ["prod", "test"] {
        link.register(one, &in_namespace(namespace));
    }
    link.run_ms(10_000);
    let other = link.add(host, Process::ours(Dialect::Vine));
    link.ours(other, |engine, now| engine.browse(now, Question::All));
    assert_eq!(link.lookup(other, Question::All).0, Outcome::Settled);
    assert_eq!(
        link.known(other),
        [in_namespace("prod"), in_namespace("test")]
    );

    // go-micro: one domain; who names no namespace is in that of the reader.
    let mut link = Link::new(16);
    let host = link.host();
    let micro = service("foo", "n1", "10.0.0.1:80").with_namespace("micro");
    link.add(host, Process::go(&[micro]));
    let one = link.add(
        host,
        Process::ours_with(Dialect::Vine, "mine", Some("micro")),
    );
    let question = |namespace: &str| Question::Service {
        namespace: namespace.into(),
        name: "foo".into(),
    };
    for namespace in ["mine", "micro"] {
        let question = question(namespace);
        link.ours(one, |engine, now| engine.browse(now, question));
    }
    link.run_ms(1_000);
    // This Go process says in its JSON that it is in the namespace micro.
    assert_eq!(&*link.known(one)[0].namespace, "micro");
    link.register(one, &in_namespace("mine"));
    link.register(one, &in_namespace("other"));
    link.run_ms(10);
    let names: BTreeSet<String> = link
        .sent_in_go_dialect(one)
        .iter()
        .filter(|sent| sent.message.response)
        .filter_map(|sent| super::super::names::text(&sent.message.answers[0].name))
        .collect();
    assert_eq!(
        names,
        BTreeSet::from(["mine.foo.micro".to_owned(), "other.foo.micro".to_owned()])
    );
}

#[test]
fn the_later_holder_wins_and_an_old_goodbye_is_harmless() {
    let mut link = Link::new(17);
    let host = link.host();
    let (first, second, third) = (
        link.add(host, Process::ours(Dialect::Vine)),
        link.add(host, Process::ours(Dialect::Vine)),
        link.add(host, Process::ours(Dialect::Vine)),
    );
    link.browse(third, "foo");
    link.register(first, &service("foo", "n1", "10.0.0.1:80"));
    link.run_ms(5_000);
    let theirs = service("foo", "n1", "10.0.0.1:81");
    link.register(second, &theirs);
    link.run_ms(5_000);
    assert!(matches!(
        link.events(first)[..],
        [.., EngineEvent::Replaced(_)]
    ));
    assert_eq!(link.known(third), std::slice::from_ref(&theirs));
    // The goodbye of a process that was there before: another target, another port.
    let old = link.sent_in_go_dialect(first)[0].message.clone();
    let mut goodbye = old;
    for record in &mut goodbye.answers {
        record.ttl = 0;
    }
    link.stranger(third, true, &goodbye.encode().unwrap());
    assert_eq!(link.known(third), [theirs]);
}

/// What two Go processes and two of ours on two hosts send within ten minutes.
#[test]
fn there_are_no_echo_storms() {
    for dialect in DIALECTS {
        let mut link = Link::new(18);
        let (here, there) = (link.host(), link.host());
        let go = [
            link.add(here, Process::go(&[go_service("g1", 80)])),
            link.add(there, Process::go(&[go_service("g2", 81)])),
        ];
        let ours = [
            link.add(here, Process::ours(dialect)),
            link.add(there, Process::ours(dialect)),
        ];
        for (number, one) in ours.into_iter().enumerate() {
            link.browse(one, "foo");
            link.ours(one, |engine, now| engine.browse(now, Question::All));
            link.register(one, &service("foo", &format!("o{number}"), "0.0.0.0:90"));
        }
        link.run_ms(10_000);
        let mut followups = 0;
        for one in go {
            followups += link.go_asks(one, "foo.vine") + link.go_asks(one, "_services.vine");
        }
        assert_eq!(followups, 0);
        // Somebody who asks from the shared port, which nobody should.
        let quiet = link.sent.len();
        for one in ours {
            let mut question = crate::codec::Message::query();
            let name = super::super::names::name("foo.vine").unwrap();
            question.questions = vec![crate::codec::Ask::new(name, crate::codec::kind::PTR)];
            link.ask_from(one, 5353, &question.encode().unwrap());
        }
        link.run_ms(3_000);
        let echoes = link.sent[quiet..].iter().filter(|sent| sent.is_go());
        let echoes = echoes.filter(|sent| sent.message.response).count();
        assert!(echoes <= 20, "{echoes} answers to two questions");
        link.run_ms(600_000);
        let go_packets = link.sent.iter().filter(|sent| sent.is_go()).count();
        // 4 nodes and 2 lists, asked for by 2 processes every 96 s or so.
        assert!(go_packets < 500, "{go_packets} packets in ten minutes");
        for one in ours {
            let shared = link.sent_in_go_dialect(one);
            let shared = shared.iter().filter(|sent| !sent.message.response);
            assert!(
                shared
                    .into_iter()
                    .all(|sent| sent.port == crate::engine::Port::Query)
            );
            assert_eq!(link.known(one).len(), 3);
        }
    }
}

#[test]
fn who_cannot_be_reached_and_does_not_answer_is_gone_after_two_seconds() {
    for dialect in DIALECTS {
        let mut link = Link::new(19);
        let (here, there) = (link.host(), link.host());
        let one = link.add(here, Process::ours(dialect));
        link.browse(one, "foo");
        let go = link.add(there, Process::go(&[go_service("n1", 80)]));
        link.run_ms(5_000);
        let node = vine_registry::NodeRef::new("foo", "n1").with_namespace("vine");
        link.ours(one, |engine, now| engine.reconfirm(now, &node));
        link.run_ms(3_000);
        assert_eq!(link.known(one).len(), 1, "it answers");
        link.kill(go);
        link.ours(one, |engine, now| engine.reconfirm(now, &node));
        link.run_ms(1_900);
        assert_eq!(link.known(one).len(), 1);
        link.run_ms(200);
        assert_eq!(link.known(one), []);
    }
}

#[test]
fn an_outage_deletes_nothing() {
    for dialect in DIALECTS {
        let mut link = Link::new(20);
        let (here, there) = (link.host(), link.host());
        let one = link.add(here, Process::ours(dialect));
        link.browse(one, "foo");
        let go = link.add(there, Process::go(&[go_service("n1", 80)]));
        link.run_ms(5_000);
        let interfaces = link.interfaces(here);
        link.ours(one, |engine, now| engine.set_interfaces(now, Vec::new()));
        link.kill(go);
        link.run_ms(600_000);
        let events = link.events(one);
        assert!(matches!(events[..], [.., EngineEvent::Stale]), "{events:?}");
        assert_eq!(link.known(one).len(), 1);
        let question = of("foo");
        link.ours(one, |engine, now| {
            assert!(!engine.is_certain(&question));
            engine.set_interfaces(now, interfaces);
        });
        link.run_ms(9_900);
        assert_eq!(link.events(one), [EngineEvent::Live]);
        link.run_ms(200);
        assert_eq!(link.known(one), []);
    }
}

#[test]
fn what_was_under_way_when_a_node_said_goodbye_does_not_bring_it_back() {
    let mut link = Link::new(21);
    let (here, there) = (link.host(), link.host());
    let one = link.add(here, Process::ours(Dialect::Vine));
    let other = link.add(there, Process::ours(Dialect::Vine));
    link.browse(other, "foo");
    link.register(one, &service("foo", "n1", "10.0.0.1:80"));
    link.run_ms(5_000);
    let announced = link.sent_in_go_dialect(one)[0].message.encode().unwrap();
    link.close(one);
    link.run_ms(10);
    link.stranger(other, true, &announced);
    assert_eq!(link.known(other), []);
    // Who registers it again is another matter.
    link.register(one, &service("foo", "n1", "10.0.0.1:80"));
    link.run_ms(10);
    assert_eq!(link.known(other).len(), 1);
}
