//! Look-ups: section 5.1, and when an answer is complete.

use std::{net::Ipv4Addr, time::Duration};

use vine_registry::{Node, Wait};

use super::net::{Faults, Net, ms, of, secs, service};
use crate::{
    codec::kind,
    engine::{LinkKind, LookupId, Outcome, Port, Question},
};

fn settled(net: &mut Net, host: usize, name: &str) -> (Outcome, Duration) {
    net.browse(host, of(name));
    let id = net.lookup(host, of(name), Wait::Settled);
    net.run_lookup(host, id)
}

#[test]
fn s5_1_one_shot_questions_come_with_the_standing_one() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    let id = net.lookup(0, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(0, id);
    assert_eq!((outcome, after), (Outcome::NotFound, secs(1)));
    let times = |port| -> Vec<_> {
        let sent = net.sent.iter().filter(|sent| sent.port == port);
        sent.map(|sent| sent.at.as_millis()).collect()
    };
    assert_eq!(times(Port::Query), [0, 20, 100, 400]);
    assert_eq!(times(Port::Standing)[0], 0);
    let mut ids: Vec<_> = net
        .sent
        .iter()
        .filter(|sent| sent.port == Port::Query)
        .collect();
    ids.sort_by_key(|sent| sent.message.id);
    ids.dedup_by_key(|sent| sent.message.id);
    assert_eq!(ids.len(), 4, "each has an id of its own");
    assert!(
        net.sent
            .iter()
            .all(|sent| !sent.message.questions[0].unicast)
    );
}

#[test]
fn on_loopback_alone_settles_within_20_ms() {
    let mut net = Net::new(1);
    for _ in 0..2 {
        net.add_engine(Ipv4Addr::LOCALHOST, LinkKind::Loopback);
    }
    net.register(0, service("web", "a"));
    net.run(secs(10));
    let (outcome, after) = settled(&mut net, 1, "web");
    assert_eq!(outcome, Outcome::Settled);
    assert!((ms(15)..=ms(20)).contains(&after), "{after:?}");
    assert_eq!(net.known(1).len(), 1);
}

#[test]
fn one_host_alone_settles_within_120_ms() {
    let mut net = Net::new(1);
    for _ in 0..2 {
        net.add_engine(Ipv4Addr::new(10, 0, 0, 1), LinkKind::Wired);
    }
    net.register(0, service("web", "a"));
    net.run(secs(10));
    for _ in 0..3 {
        let (outcome, after) = settled(&mut net, 1, "web");
        assert_eq!(outcome, Outcome::Settled);
        assert!((ms(100)..=ms(120)).contains(&after), "{after:?}");
    }
}

#[test]
fn two_hosts_settle_within_20_ms() {
    let mut net = Net::with_hosts(1, 2);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    let (outcome, after) = settled(&mut net, 1, "web");
    assert_eq!(outcome, Outcome::Settled);
    assert!((ms(15)..=ms(20)).contains(&after), "{after:?}");
}

#[test]
fn a_slow_remote_node_beside_a_quick_local_one_is_found_in_a_fresh_process() {
    let mut net = Net::new(1);
    let near = Ipv4Addr::new(10, 0, 0, 1);
    net.add_engine(near, LinkKind::Wired);
    net.add_engine(near, LinkKind::Wired);
    net.add_host(LinkKind::Wired);
    net.hosts[2].slowness = ms(80);
    net.register(0, service("web", "quick"));
    net.register(2, service("web", "slow"));
    net.run(secs(10));
    let (outcome, _) = settled(&mut net, 1, "web");
    assert_eq!(outcome, Outcome::Settled);
    assert_eq!(net.known(1), ["web/quick v1", "web/slow v1"]);
    // And what was learned holds for other names.
    net.register(0, service("db", "quick"));
    net.register(2, service("db", "slow"));
    net.run(secs(10));
    settled(&mut net, 1, "db");
    assert_eq!(net.known(1).len(), 4);
}

#[test]
fn a_node_that_was_heard_of_may_be_silent_for_300_ms() {
    let mut net = Net::with_hosts(1, 3);
    net.hosts[2].slowness = ms(200);
    net.register(0, service("web", "quick"));
    net.register(2, service("web", "slow"));
    net.run(secs(10));
    net.browse(1, of("web"));
    let id = net.lookup(1, of("web"), Wait::Settled);
    // Somebody says that it is there, but not where.
    let slow = net.hosts[2]
        .engine
        .names
        .instance("vine", "web", "slow")
        .unwrap();
    let mut message = crate::codec::Message::answer();
    message.answers.push(crate::codec::Record {
        name: net.hosts[1].engine.names.subtype("web").unwrap(),
        flush: false,
        ttl: 120,
        data: crate::codec::Data::Ptr(slow),
    });
    net.inject(
        1,
        "10.0.0.77:5353".parse().unwrap(),
        Port::Standing,
        &message,
    );
    let (outcome, after) = net.run_lookup(1, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after < ms(350), "{after:?}");
    assert_eq!(net.known(1).len(), 2);
}

#[test]
fn ten_percent_loss_gives_complete_answers() {
    let mut complete = 0;
    for seed in 0..200 {
        let mut net = Net::with_hosts(seed, 5);
        net.faults = Faults {
            loss: 10,
            doubling: 0,
            delay: ms(1),
        };
        for host in 0..4 {
            net.register(host, service("web", &format!("n{host}")));
        }
        net.run(secs(10));
        settled(&mut net, 4, "web");
        complete += usize::from(net.known(4).len() == 4);
    }
    assert!(complete >= 190, "{complete} of 200");
}

#[test]
fn a_lookup_ends_although_new_nodes_come_all_the_time() {
    let mut net = Net::new(1);
    net.add_host(LinkKind::Wireless);
    net.add_host(LinkKind::Wireless);
    net.register(0, service("web", "n0"));
    net.run(secs(10));
    net.browse(1, of("web"));
    let id = net.lookup(1, of("web"), Wait::Settled);
    let began = net.elapsed();
    let mut number = 0;
    while net.done(1, id).is_none() && number < 100 {
        number += 1;
        net.register(0, service("web", &format!("n{number}")));
        net.run(ms(50));
    }
    assert_eq!(net.done(1, id), Some(Outcome::Settled));
    let after = net.elapsed() - began;
    assert!((secs(2)..=ms(2_500)).contains(&after), "{after:?}");
    assert!(net.known(1).len() >= number - 1, "and tells what there is");
}

#[test]
fn first_and_for_end_when_they_say() {
    let mut net = Net::with_hosts(1, 2);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    net.browse(1, of("web"));
    let first = net.lookup(1, of("web"), Wait::First);
    let (outcome, after) = net.run_lookup(1, first);
    assert_eq!(outcome, Outcome::First);
    assert!(after < ms(1));
    for (name, expected) in [("web", Outcome::Elapsed), ("none", Outcome::NotFound)] {
        let id = net.lookup(1, of(name), Wait::For(ms(250)));
        assert_eq!(net.run_lookup(1, id), (expected, ms(250)));
    }
    let again = net.lookup(1, of("web"), Wait::First);
    assert_eq!(
        net.run_lookup(1, again),
        (Outcome::First, Duration::ZERO),
        "from the cache"
    );
    let forever = net.lookup(1, of("web"), Wait::For(Duration::MAX));
    net.run(secs(10));
    let now = net.now;
    net.hosts[1].engine.cancel_lookup(now, forever);
}

#[test]
fn a_namespace_is_not_another() {
    let mut net = Net::with_hosts(1, 2);
    let mut elsewhere = service("web", "a");
    elsewhere.namespace = "elsewhere".into();
    net.register(0, elsewhere);
    net.run(secs(10));
    let (outcome, _) = settled(&mut net, 1, "web");
    assert_eq!(outcome, Outcome::NotFound);
}

#[test]
fn ones_own_nodes_count_as_found() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    let (outcome, after) = settled(&mut net, 0, "web");
    assert_eq!((outcome, after), (Outcome::Settled, ms(100)));
    let first = net.lookup(0, Question::All, Wait::First);
    assert_eq!(net.run_lookup(0, first), (Outcome::First, Duration::ZERO));
    assert!(net.known(0).is_empty(), "and are not told");
}

#[test]
fn without_an_interface_a_lookup_ends_at_once() {
    let mut net = Net::with_hosts(1, 1);
    let id = net.lookup(0, of("web"), Wait::Settled);
    net.set_interfaces(0, Vec::new());
    assert_eq!(net.run_lookup(0, id).0, Outcome::Offline);
    let id: LookupId = net.lookup(0, of("web"), Wait::Settled);
    assert_eq!(net.run_lookup(0, id).0, Outcome::Offline);
}

#[test]
fn a_thousand_nodes_are_all_found() {
    let mut net = Net::with_hosts(1, 11);
    for host in 0..10 {
        let nodes = (0..100).map(|i| Node::new(format!("n{host}-{i}"), "10.0.0.1:80"));
        net.register_all(host, service("web", "x").with_nodes(nodes));
    }
    net.run(secs(10));
    let (outcome, after) = settled(&mut net, 10, "web");
    assert_eq!(outcome, Outcome::Settled);
    assert_eq!(net.known(10).len(), 1_000);
    assert!(after <= ms(60), "{after:?}");
}

#[test]
fn an_answer_that_is_not_whole_is_waited_for() {
    let mut holder = Net::with_hosts(1, 1);
    let nodes = (0..50).map(|i| Node::new(format!("n{i}"), "10.0.0.9:80"));
    holder.register_all(0, service("web", "x").with_nodes(nodes));
    holder.run(secs(10));
    let mut asker = Net::with_hosts(2, 2);
    asker.browse(1, of("web"));
    let id = asker.lookup(1, of("web"), Wait::Settled);
    let asked = asker.sent.iter().find(|sent| sent.port == Port::Query);
    let question = asked.unwrap().message.clone();
    holder.sent.clear();
    let source = "10.0.0.7:40000".parse().unwrap();
    holder.inject(0, source, Port::Standing, &question);
    let answers: Vec<_> = holder
        .sent
        .iter()
        .map(|sent| sent.message.clone())
        .collect();
    let (last, others) = answers.split_last().unwrap();
    assert!(!last.truncated && others.len() > 2);
    assert!(others.iter().all(|answer| answer.truncated));

    let source = "10.0.0.9:5353".parse().unwrap();
    asker.inject(1, source, Port::Query, &others[0]);
    // Longer than what settles an answer that is whole.
    asker.run(ms(200));
    for answer in &answers[1..] {
        asker.inject(1, source, Port::Query, answer);
    }
    let (outcome, after) = asker.run_lookup(1, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after <= ms(60), "{after:?}");
    assert_eq!(asker.known(1).len(), 50);
}

#[test]
fn forged_answers_to_questions_nobody_asked_are_ignored() {
    let mut net = Net::with_hosts(1, 2);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    net.browse(1, of("web"));
    net.run(ms(1));
    let mut forged = crate::codec::Message::answer();
    forged.id = 1;
    forged.questions.push(crate::codec::Ask::new(
        net.hosts[1].engine.names.subtype("web").unwrap(),
        kind::PTR,
    ));
    let before = net.hosts[1].engine.counters().ignored;
    net.inject(1, "10.0.0.1:5353".parse().unwrap(), Port::Query, &forged);
    assert_eq!(net.hosts[1].engine.counters().ignored, before + 1);
}
