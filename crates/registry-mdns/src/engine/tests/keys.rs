//! Shared keys: whom to believe.

use std::net::SocketAddr;

use vine_registry::{Endpoint, Node, Service, Wait};

use super::net::{Net, PORT, Sent, interface, ms, of, secs, service};
use crate::{
    Key,
    codec::{Ask, Data, Message, kind},
    engine::{Counters, EngineEvent, LinkKind, Outcome, Port},
};

/// Hosts with these keys.
fn net(keys: &[&[&str]]) -> Net {
    let mut net = Net::with_hosts(1, keys.len());
    for (host, keys) in net.hosts.iter_mut().zip(keys) {
        host.engine.config.keys = keys.iter().map(|key| key.parse().unwrap()).collect();
    }
    net
}

const KEY: &[&str] = &["k1:one"];
/// Who is on the link, too.
const STRANGER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::new(10, 0, 0, 66),
    PORT,
));

/// Two who share a key, one of whom has registered a node that the other watches.
fn pair() -> Net {
    let mut net = net(&[KEY, KEY]);
    net.browse(1, of("web"));
    net.run(secs(1));
    net.register(0, service("web", "a"));
    net.run(secs(10));
    assert_eq!(net.known(1), ["web/a v1"]);
    net
}

fn doubts(net: &Net, host: usize) -> [u64; 3] {
    let Counters {
        unsigned,
        forged,
        replayed,
        ..
    } = net.hosts[host].engine.counters();
    [unsigned, forged, replayed]
}

fn is_announcement(sent: &&Sent) -> bool {
    let has_txt = |message: &Message| message.answers.iter().any(|r| r.data.kind() == kind::TXT);
    sent.message.response && sent.port == Port::Standing && has_txt(&sent.message)
}

fn last_announcement(net: &Net) -> Message {
    let announced = net.sent.iter().rev().find(is_announcement);
    announced.expect("something was announced").message.clone()
}

fn with_ttl(mut message: Message, ttl: u32) -> Message {
    for record in message.answers.iter_mut().chain(&mut message.additionals) {
        record.ttl = ttl;
    }
    message
}

fn version(net: &Net) -> &str {
    let remote = net.hosts[1].nodes.values().next().expect("a node");
    remote.node.metadata.get("version").unwrap_or_default()
}

fn marked(version: &str) -> Service {
    let node = Node::new("a", "10.0.0.99:80").with_metadata([("version", version)]);
    Service::new("web", "v1")
        .with_namespace("vine")
        .with_node(node)
}

#[test]
fn who_shares_a_key_finds_each_other() {
    let mut net = net(&[KEY, KEY]);
    let large = service("web", "b").with_endpoint(Endpoint::new("x y ".repeat(9_000)));
    let everywhere = Service::new("web", "v1")
        .with_namespace("vine")
        .with_node(Node::new("c", "0.0.0.0:80"));
    let key = net.register(0, service("web", "a"));
    net.register(0, large.clone());
    net.register(0, everywhere);
    net.run(secs(10));
    net.browse(1, of("web"));
    let id = net.lookup(1, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(1, id);
    assert_eq!(outcome, Outcome::Settled);
    assert!(after < ms(30), "{after:?}");
    assert_eq!(net.known(1), ["web/a v1", "web/b v1", "web/c v1"]);
    let nodes = &net.hosts[1].nodes;
    assert_eq!(nodes["vine/web/b"].service.endpoints, large.endpoints);
    assert_eq!(&*nodes["vine/web/c"].node.address, "10.0.0.1:80");
    net.run(secs(400));
    assert_eq!(net.hosts[1].nodes.len(), 3, "refreshed");
    net.deregister(0, key);
    net.run(ms(1));
    assert_eq!(net.known(1), ["web/b v1", "web/c v1"]);
    assert_eq!(doubts(&net, 1), [0; 3]);
    assert!(net.sent.iter().all(|sent| sent.size <= 1_452));
}

#[test]
fn in_a_mixed_network_who_has_a_key_sees_only_what_is_signed() {
    let mut net = net(&[KEY, &[], KEY, &["k1:other"]]);
    for host in 0..4 {
        net.browse(host, of("web"));
    }
    net.run(secs(1));
    net.register(0, service("web", "signed"));
    net.register(1, service("web", "unsigned"));
    net.register(3, service("web", "other"));
    net.run(secs(30));
    assert_eq!(
        net.known(1),
        ["web/other v1", "web/signed v1"],
        "who has none believes all"
    );
    assert_eq!(net.known(2), ["web/signed v1"]);
    let [unsigned, forged, replayed] = doubts(&net, 2);
    assert!(unsigned > 0 && forged > 0 && replayed == 0);
    let id = net.lookup(2, of("web"), Wait::Settled);
    let (_, after) = net.run_lookup(2, id);
    assert!(after < ms(50), "{after:?}");
}

#[test]
fn forged_registrations_take_nothing_over() {
    for stranger in [&[][..], &["k1:other"], &["k2:one"]] {
        let mut net = net(&[KEY, KEY, stranger]);
        net.browse(1, of("web"));
        net.register(0, service("web", "a"));
        net.run(secs(10));
        // Later, and so with a greater epoch.
        let forged = Service::new("web", "evil")
            .with_namespace("vine")
            .with_node(Node::new("a", "10.0.0.66:80"));
        net.register(2, forged);
        net.run(secs(200));
        assert_eq!(net.known(1), ["web/a v1"]);
        assert!(net.hosts[0].events.is_empty(), "{:?}", net.hosts[0].events);
        assert!(doubts(&net, 1).iter().sum::<u64>() > 0);
    }
}

#[test]
fn forged_goodbyes_and_flushes_end_nothing() {
    let mut net = pair();
    let announced = last_announcement(&net);
    // The owner can't object.
    net.hosts[0].is_connected = false;
    let mut pointers = with_ttl(announced.clone(), 0);
    pointers
        .answers
        .retain(|record| record.data.kind() == kind::PTR);
    pointers.additionals.clear();
    let mut unsigned = with_ttl(announced.clone(), 0);
    for record in &mut unsigned.answers {
        if let Data::Txt(txt) = &mut record.data {
            *txt = txt[..txt.len() - "_k=k1;".len() - 64].into();
        }
    }
    let mut flushing = announced.clone();
    for record in &mut flushing.answers {
        record.flush = true;
        if let Data::Srv(srv) = &mut record.data {
            srv.port = 66;
        }
    }
    let goodbye = with_ttl(announced.clone(), 0);
    let short = with_ttl(announced, 1);
    for message in [goodbye, pointers, unsigned, flushing, short] {
        net.inject(1, STRANGER, Port::Standing, &message);
        net.run(secs(5));
        assert_eq!(net.known(1), ["web/a v1"]);
    }
    let [unsigned, forged, replayed] = doubts(&net, 1);
    assert!(
        unsigned >= 4 && forged >= 4 && replayed == 0,
        "{unsigned} {forged} {replayed}"
    );
    net.run(secs(120));
    assert!(net.known(1).is_empty(), "it ends when its own time is over");
}

#[test]
fn older_announcements_are_not_believed_again() {
    let mut net = pair();
    let mut pointers = last_announcement(&net).answers;
    pointers.retain(|record| record.data.kind() == kind::PTR);
    assert_eq!(pointers.len(), 2);
    let mut announced = Vec::new();
    for version in ["1", "2"] {
        net.register(0, marked(version));
        net.run(secs(10));
        assert_eq!(super::keys::version(&net), version);
        let mut message = last_announcement(&net);
        message.answers.extend(pointers.clone());
        announced.push(message);
    }
    net.inject(1, STRANGER, Port::Standing, &announced[0]);
    net.run(secs(1));
    assert_eq!(version(&net), "2");
    let replayed = doubts(&net, 1)[2];
    assert!(replayed > 0);

    let key = net.register_all(0, marked("2"))[0].key;
    net.deregister(0, key);
    net.run(secs(1));
    assert!(net.known(1).is_empty());
    for wait in [1, 60, 3_600] {
        net.run(secs(wait));
        for old in &announced {
            net.inject(1, STRANGER, Port::Standing, old);
            net.run(ms(100));
            assert!(net.known(1).is_empty());
        }
    }
    assert!(doubts(&net, 1)[2] > replayed);
    net.register(0, marked("3"));
    net.run(ms(1));
    assert_eq!(version(&net), "3");
}

#[test]
fn old_goodbyes_do_not_end_what_was_registered_again() {
    let mut net = pair();
    let key = net.register_all(0, service("web", "a"))[0].key;
    net.sent.clear();
    net.deregister(0, key);
    net.run(ms(10));
    let goodbye = last_announcement(&net);
    assert!(goodbye.answers.iter().all(|record| record.ttl == 0));
    assert!(net.known(1).is_empty());
    net.register(0, service("web", "a"));
    net.run(secs(20));
    net.hosts[0].is_connected = false;
    net.inject(1, STRANGER, Port::Standing, &goodbye);
    net.run(secs(5));
    assert_eq!(net.known(1), ["web/a v1"]);
    assert!(doubts(&net, 1)[2] > 0);
}

#[test]
fn keys_can_be_changed_without_anybody_getting_lost() {
    let (old, both, turned, new): (&[_], &[_], &[_], &[_]) = (
        &["k1:old"],
        &["k1:old", "k2:new"],
        &["k2:new", "k1:old"],
        &["k2:new"],
    );
    // Each step is taken by one after the other.
    for (before, after) in [(old, both), (both, turned), (turned, new)] {
        let mut net = net(&[before, after]);
        for host in 0..2 {
            net.browse(host, of("web"));
            net.register(host, service("web", &format!("n{host}")));
        }
        net.run(secs(10));
        assert_eq!(net.known(0), ["web/n1 v1"], "{before:?} to {after:?}");
        assert_eq!(net.known(1), ["web/n0 v1"], "{before:?} to {after:?}");
    }
    let mut net = net(&[old, new]);
    net.browse(0, of("web"));
    net.register(1, service("web", "n1"));
    net.run(secs(10));
    assert!(net.known(0).is_empty());
}

#[test]
fn only_addresses_that_are_signed_are_used_and_they_may_change() {
    let mut net = net(&[KEY, KEY]);
    net.browse(1, of("web"));
    let everywhere = Service::new("web", "v1")
        .with_namespace("vine")
        .with_node(Node::new("a", "0.0.0.0:80"));
    net.register(0, everywhere);
    net.run(secs(10));
    let address = |net: &Net| net.hosts[1].nodes["vine/web/a"].node.address.to_string();
    assert_eq!(address(&net), "10.0.0.1:80");

    let mut forged = last_announcement(&net);
    let mut records = forged.answers.iter_mut().chain(&mut forged.additionals);
    let record = records
        .find(|record| record.data.kind() == kind::A)
        .expect("an address");
    record.data = Data::A([10, 0, 0, 0].into());
    record.flush = true;
    net.inject(1, STRANGER, Port::Standing, &forged);
    net.run(secs(5));
    assert_eq!(address(&net), "10.0.0.1:80");

    let moved = [10, 0, 0, 42].into();
    net.hosts[0].address = moved;
    net.set_interfaces(0, vec![interface(moved, LinkKind::Wired)]);
    net.run(secs(5));
    assert_eq!(address(&net), "10.0.0.42:80");
    net.run(secs(300));
    assert_eq!(net.known(1).len(), 1);
}

#[test]
fn forged_probes_make_nobody_yield() {
    let mut net = pair();
    let mut stranger = Net::with_hosts(2, 1);
    stranger.hosts[0].engine.config.keys = vec!["k1:other".parse().unwrap()];
    stranger.run(secs(100));
    stranger.register(0, service("web", "a"));
    stranger.run(secs(5));
    let probes = stranger
        .sent
        .iter()
        .filter(|sent| !sent.message.response && !sent.message.authorities.is_empty());
    let probes: Vec<_> = probes.map(|sent| sent.message.clone()).collect();
    assert_eq!(probes.len(), 3);
    for probe in &probes {
        assert_eq!(
            probe.questions.iter().map(|ask: &Ask| ask.kind).max(),
            Some(kind::ANY)
        );
        net.inject(0, STRANGER, Port::Standing, probe);
        net.run(ms(250));
    }
    net.run(secs(30));
    assert_eq!(net.known(1), ["web/a v1"]);
    let lost = |event: &EngineEvent| matches!(event, EngineEvent::Replaced(_));
    assert!(!net.hosts[0].events.iter().any(lost));
    assert!(doubts(&net, 0)[1] > 0);
}

#[test]
fn a_later_holder_with_the_key_takes_over() {
    let mut net = net(&[KEY, KEY, KEY]);
    net.browse(1, of("web"));
    net.register(0, service("web", "a"));
    net.run(secs(10));
    net.register(2, marked("later"));
    net.run(secs(10));
    assert_eq!(version(&net), "later");
    let lost = |event: &EngineEvent| matches!(event, EngineEvent::Replaced(_));
    assert!(net.hosts[0].events.iter().any(lost));
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::Gone(..));
    assert!(!net.hosts[1].events.iter().any(gone));
}

#[test]
fn keys_do_not_show() {
    let key: Key = "k1:hunter2".parse().unwrap();
    let mut net = net(&[&["k1:hunter2"]]);
    net.register(0, service("web", "a"));
    assert!(!format!("{key:?} {:?}", net.hosts[0].engine).contains("hunter2"));
}
