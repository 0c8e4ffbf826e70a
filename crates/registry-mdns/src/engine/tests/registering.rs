//! The prober: sections 8 and 10.1.

use std::{sync::Arc, time::Duration};

use vine_registry::{Error, Node, Service};

use super::net::{Net, Sent, interface, ms, of, secs, service};
use crate::{
    codec::kind,
    engine::{EngineEvent, LinkKind, Question},
};

fn is_probe(sent: &&Sent) -> bool {
    !sent.message.response && !sent.message.authorities.is_empty()
}

fn is_announcement(sent: &&Sent) -> bool {
    sent.message.response && sent.message.answers.iter().all(|record| record.ttl > 0)
}

fn gaps(times: &[Duration]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn s8_1_three_probes_250_ms_apart() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(30));
    let probes: Vec<_> = net.sent.iter().filter(is_probe).collect();
    let times: Vec<_> = probes.iter().map(|sent| sent.at).collect();
    assert!(times[0] <= ms(250));
    assert_eq!(gaps(&times), [ms(250); 2]);
    for probe in probes {
        assert_eq!(probe.message.questions[0].kind, kind::ANY);
        assert!(!probe.message.questions[0].unicast, "the port is shared");
        assert_eq!(probe.message.authorities.len(), 2);
    }
}

#[test]
fn s8_3_announcements_grow_apart_and_s10_2_flush_only_after_probing() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(30));
    let announcements: Vec<_> = net.sent.iter().filter(is_announcement).collect();
    let times: Vec<_> = announcements.iter().map(|sent| sent.at).collect();
    assert_eq!(times[0], Duration::ZERO);
    assert_eq!(gaps(&times), [secs(1), secs(1), secs(2)]);
    for sent in announcements {
        for record in &sent.message.answers {
            let is_unique = matches!(record.data.kind(), kind::SRV | kind::TXT);
            assert_eq!(record.flush, is_unique && sent.at > ms(750));
        }
    }
}

#[test]
fn nodes_that_are_registered_together_share_packets() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.run(secs(5));
    net.sent.clear();
    let nodes = (0..200).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(ms(10));
    assert_eq!(net.known(1).len(), 200);
    assert!(net.sent_by(0, Duration::ZERO).len() < 50);
}

#[test]
fn s8_4_updates_are_told_at_once_ten_in_a_row_then_one_in_6_s() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.register(0, service("web", "a"));
    net.run(secs(100));
    net.sent.clear();
    let began = net.elapsed();
    for i in 0..30 {
        let changed = service("web", "a").with_metadata([("i", i.to_string())]);
        net.register(0, changed);
        net.run(ms(1));
        let told = &net.hosts[1].nodes["vine/web/a"].service;
        let expected = i.min(9).to_string();
        assert_eq!(told.metadata.get("i"), Some(expected.as_str()));
        net.run(ms(9));
    }
    net.run(secs(20));
    let told = &net.hosts[1].nodes["vine/web/a"].service;
    assert_eq!(told.metadata.get("i"), Some("29"), "the last state wins");
    let is_update = |sent: &&&Sent| {
        sent.message
            .answers
            .iter()
            .all(|r| r.data.kind() != kind::PTR)
    };
    let sent = net.sent_by(0, began);
    let times: Vec<_> = sent
        .iter()
        .filter(is_update)
        .map(|sent| sent.at - began)
        .collect();
    assert_eq!(times.len(), 11, "{times:?}");
    assert!(times[10] >= ms(5_900));
    assert!(
        net.sent_by(0, began)
            .iter()
            .all(|sent| sent.message.response),
        "no new probing"
    );
}

#[test]
fn a_move_to_another_version_is_a_change_of_the_node() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    let before = net.register(0, service("web", "a"));
    net.run(secs(10));
    let mut moved = service("web", "a");
    moved.version = "v2".into();
    let after = net.register(0, moved);
    net.run(ms(1));
    assert_eq!(before, after);
    assert_eq!(net.known(1), ["web/a v2"]);
    let is_change = |event: &EngineEvent| matches!(event, EngineEvent::Changed(_));
    assert!(net.hosts[1].events.last().is_some_and(is_change));
}

#[test]
fn an_address_that_moves_takes_its_node_along() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    for address in ["10.0.0.200:81", "10.0.0.99:80", "host.example:82"] {
        let moved = service("web", "x").with_nodes([Node::new("a", address)]);
        net.register(0, moved);
        net.run(secs(3));
        assert_eq!(&*net.hosts[1].nodes["vine/web/a"].node.address, address);
    }
}

#[test]
fn registering_the_same_again_sends_nothing() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    net.sent.clear();
    let again = net.register_all(0, service("web", "a"));
    net.run(secs(10));
    assert!(!again[0].is_change);
    assert!(net.sent.is_empty());
}

#[test]
fn s10_1_a_goodbye_names_everything_and_is_said_twice() {
    let mut net = Net::with_hosts(1, 1);
    let key = net.register(0, service("web", "a"));
    net.run(secs(10));
    net.sent.clear();
    let at = net.elapsed();
    net.deregister(0, key);
    net.run(secs(10));
    assert_eq!(net.sent.len(), 2);
    assert_eq!((net.sent[0].at, net.sent[1].at), (at, at + secs(1)));
    let answers = &net.sent[0].message.answers;
    let kinds: Vec<_> = answers.iter().map(|record| record.data.kind()).collect();
    assert_eq!(kinds, [kind::PTR, kind::PTR, kind::SRV, kind::TXT]);
    assert!(answers.iter().all(|record| record.ttl == 0));
}

#[test]
fn a_goodbye_is_not_repeated_once_the_node_is_back() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    let key = net.register(0, service("web", "a"));
    net.run(secs(10));
    net.deregister(0, key);
    net.register(0, service("web", "a"));
    net.run(secs(10));
    assert_eq!(net.known(1), ["web/a v1"]);
}

#[test]
fn a_ttl_ends_exactly_unless_it_is_renewed() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.run(secs(5));
    let key = net.register(0, service("web", "a").with_ttl(secs(3)));
    net.run(secs(2));
    let now = net.now;
    assert!(net.hosts[0].engine.renew(now, key));
    net.run(ms(2_999));
    assert_eq!(net.known(1), ["web/a v1"]);
    net.run(ms(2));
    assert!(net.known(1).is_empty());
    assert_eq!(net.hosts[0].events, [EngineEvent::Expired(key)]);
    let now = net.now;
    assert!(!net.hosts[0].engine.renew(now, key));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_announced() {
    let mut net = Net::with_hosts(1, 1);
    let mut random = fastrand::Rng::with_seed(1);
    let noise: String = std::iter::repeat_with(|| random.alphanumeric())
        .take(70_000)
        .collect();
    let nodes = [
        Node::new("a", "h:1"),
        Node::new("b", "h:1").with_metadata([("k", noise)]),
    ];
    let service = Service::new("web", "1")
        .with_namespace("vine")
        .with_nodes(nodes);
    let now = net.now;
    let engine = &mut net.hosts[0].engine;
    let result = engine.register(now, 1, &Arc::new(service));
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    net.settle(0);
    net.run(secs(10));
    assert!(net.sent.is_empty());
}

#[test]
fn s8_registrations_are_probed_and_announced_on_new_links() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(30));
    net.sent.clear();
    let address = net.hosts[0].address;
    let mut other = interface([192, 168, 7, 1].into(), LinkKind::Wired);
    other.id = 2;
    net.set_interfaces(0, vec![interface(address, LinkKind::Wired), other]);
    net.run(secs(30));
    assert_eq!(net.sent.iter().filter(is_probe).count(), 2 * 3);
    assert_eq!(net.sent.iter().filter(is_announcement).count(), 2 * 4);
}

#[test]
fn an_unspecified_address_is_that_of_the_interface() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.register(
        0,
        service("web", "x").with_nodes([Node::new("a", "0.0.0.0:80")]),
    );
    net.run(ms(1));
    assert_eq!(
        &*net.hosts[1].nodes["vine/web/a"].node.address,
        "10.0.0.1:80"
    );
}

#[test]
fn stamps_grow_when_the_clock_does_not() {
    let mut net = Net::with_hosts(1, 1);
    let mut last = 0;
    for i in 0..5 {
        net.hosts[0].skew -= 1_000;
        let node = Node::new("a", "h:1").with_metadata([("i", i.to_string())]);
        let registered = net.register_all(0, service("web", "x").with_nodes([node]));
        assert!(registered[0].changed > last);
        last = registered[0].changed;
    }
}
