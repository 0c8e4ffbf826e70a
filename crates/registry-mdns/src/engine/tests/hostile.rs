//! Whatever comes from the network is data.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;
use vine_registry::{Endpoint, Metadata, Node, Service, Wait};

use super::net::{ETH, Net, PORT, ms, of, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, kind},
    engine::{
        Port, Received,
        quota::{Excess, Quota},
    },
    fuzzing,
    mapping::Names,
};

/// What engines say to each other.
fn conversation() -> Vec<Vec<u8>> {
    let mut net = Net::with_hosts(5, 2);
    net.browse(1, of("web"));
    net.lookup(1, of("web"), Wait::Settled);
    let nodes = [Node::new("a", "10.0.0.1:80"), Node::new("b", "0.0.0.0:81")];
    let keys = net.register_all(0, service("web", "x").with_nodes(nodes));
    net.register(1, service("web", "a"));
    let random = (0..2_000_u32).map(|i| i.wrapping_mul(0x9E37_79B9).to_string());
    let large = Endpoint::new(random.collect::<String>());
    net.register(0, service("web", "large").with_endpoint(large));
    net.run(secs(200));
    net.deregister(0, keys[1].key);
    let packets = net.sent.iter().filter_map(|sent| sent.message.encode());
    packets.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutilated_packets_do_no_harm(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let packets = conversation();
        let mut packet = which.get(&packets).clone();
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if is_cut {
            packet.truncate(cut.index(packet.len()));
        }
        fuzzing::packet(&packet);
        let sent = fuzzing::trouble(&packet);
        prop_assert!(sent < 5_000, "{} packets in five minutes", sent);
    }

    #[test]
    fn noise_does_no_harm(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzzing::packet(&packet);
        fuzzing::txt(&packet);
    }
}

#[test]
fn a_flood_of_names_costs_bounded_memory() {
    // Of the second, the addresses of the host are remembered, too.
    for address in ["10.0.0.9:80", "0.0.0.0:80"] {
        let mut net = Net::with_hosts(1, 1);
        net.browse(0, of("web"));
        net.hosts[0].engine.config.max_nodes = 100;
        let mut flood = Net::with_hosts(2, 1);
        let nodes = (0..3_000).map(|i| Node::new(format!("n{i}"), address));
        flood.register_all(0, service("web", "x").with_nodes(nodes));
        for sent in flood.sent.clone() {
            let source = "10.0.0.7:5353".parse().unwrap();
            net.inject(0, source, sent.port, &sent.message);
        }
        assert_eq!(net.known(0).len(), 100);
        let engine = &net.hosts[0].engine;
        assert_eq!(engine.cache.instances.len(), 100);
        assert!(engine.cache.hosts.len() <= 100);
        net.run(secs(200));
        assert!(net.known(0).is_empty());
        let engine = &net.hosts[0].engine;
        assert!(engine.cache.instances.is_empty() && engine.cache.claims.is_empty());
        assert!(engine.cache.hosts.is_empty(), "{:?}", engine.cache.hosts);
    }
}

/// Announcements of so many nodes.
fn flood(seed: u64, service: &Service) -> Vec<Message> {
    let mut net = Net::with_hosts(seed, 1);
    net.register_all(0, service.clone());
    let sent = net.sent.iter().filter(|sent| sent.message.response);
    sent.map(|sent| sent.message.clone()).collect()
}

fn hear(net: &mut Net, messages: &[Message], host: u8) {
    for message in messages {
        let source = SocketAddr::from(([10, 0, 0, host], PORT));
        net.inject(0, source, Port::Standing, message);
    }
}

fn many(prefix: &str, count: usize) -> Service {
    let nodes = (0..count).map(|i| Node::new(format!("{prefix}{i}"), "10.0.0.9:80"));
    service("web", "x").with_ttl(secs(4_000)).with_nodes(nodes)
}

#[test]
fn in_a_flood_of_names_real_services_stay_and_new_ones_are_seen() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    net.hosts[0].engine.config.max_nodes = 100;
    let old = flood(2, &many("old", 20));
    hear(&mut net, &old, 20);
    net.run(secs(61));
    hear(&mut net, &old, 20);
    for seed in 0..5 {
        hear(
            &mut net,
            &flood(seed + 10, &many(&format!("fake{seed}-"), 300)),
            66,
        );
    }
    assert_eq!(net.known(0).len(), 100);
    hear(&mut net, &flood(3, &many("new", 10)), 21);
    hear(&mut net, &flood(4, &many("fake", 300)), 66);
    let count = |prefix: &str| {
        let known = net.known(0);
        known.iter().filter(|id| id.starts_with(prefix)).count()
    };
    assert_eq!((count("web/old"), count("web/new")), (20, 10));
    assert_eq!(net.known(0).len(), 100);
    assert!(net.hosts[0].engine.counters().refused > 1_000);
}

#[test]
fn however_much_each_node_says_memory_is_bounded() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    let limit = 256 * 1024;
    net.hosts[0].engine.config.max_memory = limit;
    hear(&mut net, &flood(2, &many("real", 10)), 20);
    let text = "x".repeat(200);
    let metadata: Metadata = (0..5).map(|i| (format!("k{i}"), text.clone())).collect();
    let large = many("fake", 400).with_metadata(metadata);
    for message in flood(3, &large) {
        hear(&mut net, std::slice::from_ref(&message), 66);
        assert!(net.hosts[0].engine.quota.total <= limit);
    }
    let known = net.known(0);
    assert_eq!(
        known.iter().filter(|id| id.starts_with("web/real")).count(),
        10
    );
    assert!((50..200).contains(&known.len()), "{}", known.len());
    net.run(secs(5_000));
    let engine = &net.hosts[0].engine;
    assert_eq!(engine.quota.total, 0, "everything is given back");
}

#[test]
fn zip_bombs_are_no_nodes_and_leave_nothing() {
    let mut bomb = Vec::new();
    let mut encoder = flate2::write::DeflateEncoder::new(&mut bomb, flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![b' '; 200_000]).unwrap();
    encoder.finish().unwrap();
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    let mut messages = flood(2, &many("n", 50));
    for record in messages
        .iter_mut()
        .flat_map(|m| m.answers.iter_mut().chain(&mut m.additionals))
    {
        if let Data::Txt(txt) = &mut record.data {
            let mut bytes = txt.to_vec();
            for (i, part) in bomb.chunks(250).enumerate() {
                let key = format!("z{i}=");
                bytes.push((key.len() + part.len()) as u8);
                bytes.extend(key.bytes().chain(part.iter().copied()));
            }
            *txt = bytes.into();
        }
    }
    hear(&mut net, &messages, 66);
    assert!(net.known(0).is_empty());
    assert!(net.hosts[0].engine.counters().unreadable >= 50);
    assert!(net.hosts[0].engine.quota.total < 50 * 4_096);
}

#[test]
fn questions_that_never_end_cost_bounded_memory() {
    let mut net = Net::with_hosts(1, 1);
    net.register(0, service("web", "a"));
    net.run(secs(60));
    let pointer = flood(2, &many("n", 50))[0].answers[0].clone();
    let mut endless = Message::query();
    endless.truncated = true;
    endless.answers = vec![pointer; 30];
    for round in 0..100 {
        for host in 1..250 {
            hear(&mut net, std::slice::from_ref(&endless), host);
        }
        let deferred = net.hosts[0].engine.deferred.values();
        let held: usize = deferred.map(|one| one.held()).sum();
        assert!(held <= 32_768, "{held} in round {round}");
    }
    net.run(secs(2));
    assert!(net.hosts[0].engine.deferred.is_empty());
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    for _ in 0..6_000 {
        let key = net.register(0, service("web", "a").with_ttl(secs(4_000)));
        net.run(ms(1));
        net.deregister(0, key);
        net.run(ms(1));
    }
    for host in &net.hosts {
        assert!(
            host.engine.timers.len() < 5_000,
            "{}",
            host.engine.timers.len()
        );
    }
    net.run(secs(20));
    assert!(net.known(1).is_empty());
}

#[test]
fn who_makes_one_name_come_and_go_fills_no_account() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.register(0, service("web", "stays").with_ttl(secs(4_000)));
    for _ in 0..1_000 {
        let key = net.register(0, service("web", "a").with_ttl(secs(4_000)));
        net.run(ms(1));
        net.deregister(0, key);
        net.run(ms(1));
    }
    let names = net.hosts[1].engine.quota.names();
    assert!(names < 100, "{names} names of one node");
}

/// The least time that something takes of many times.
fn least_time(mut something: impl FnMut()) -> Duration {
    let times = (0..50).map(|_| {
        let began = Instant::now();
        something();
        began.elapsed()
    });
    times.min().unwrap().max(Duration::from_nanos(100))
}

#[test]
fn what_is_held_of_a_question_costs_nothing_with_each_packet_of_it() {
    let mut net = Net::with_hosts(1, 1);
    let ask = |number: u32| {
        let label = format!("{number:x}");
        Ask::new(Name::from_labels([label.as_bytes()]).unwrap(), kind::PTR)
    };
    let endless = |asks: std::ops::Range<u32>| {
        let mut endless = Message::query();
        endless.truncated = true;
        endless.questions = asks.map(ask).collect();
        endless
    };
    let begin = endless(0..1);
    hear(&mut net, std::slice::from_ref(&begin), 66);
    let alone = least_time(|| hear(&mut net, std::slice::from_ref(&begin), 66));
    for round in 0..60 {
        hear(&mut net, &[endless(round * 500..(round + 1) * 500)], 66);
    }
    let held = net.hosts[0].engine.deferred.values().next().unwrap().held();
    assert!(held > 20_000, "{held}");
    let among_many = least_time(|| hear(&mut net, std::slice::from_ref(&begin), 66));
    assert!(among_many < 100 * alone, "{among_many:?}, {alone:?}");
}

#[test]
fn what_a_host_may_not_be_told_is_not_put_together() {
    let mut net = Net::with_hosts(1, 1);
    net.register_all(0, many("n", 1_000));
    net.run(secs(60));
    let mut message = Message::query();
    let subtype = Names::new().subtype("web").unwrap();
    message.questions.push(Ask::new(subtype, kind::PTR));
    let engine = &mut net.hosts[0].engine;
    let mut ask = |host: u8| {
        message.id += 1;
        let received = Received {
            payload: &message.encode().unwrap(),
            source: SocketAddr::from(([10, 0, 0, host], 40_000)),
            interface: ETH,
            port: Port::Standing,
            multicast: true,
        };
        engine.handle_packet(net.now, received);
        while engine.poll_transmit().is_some() {}
    };
    let mut host = 100;
    let answered = least_time(|| {
        host += 1;
        ask(host);
    });
    (0..30).for_each(|_| ask(77));
    let spent = least_time(|| ask(77));
    assert!(spent * 3 < answered, "{spent:?}, {answered:?}");
}

#[test]
fn ever_new_hosts_do_not_make_each_node_that_finds_no_room_cost_more() {
    let now = Instant::now().into_std();
    let [few, many] = [10, 50_000].map(|hosts| {
        let mut quota = Quota::default();
        for host in 0..hosts {
            quota.charge(now, &host, host, 1_000, |_| None);
        }
        least_time(|| {
            for excess in [Excess::Nodes, Excess::Bytes(1_000)] {
                assert_eq!(quota.victim(hosts, excess, |_| None), None);
            }
        })
    });
    assert!(many < 100 * few, "{many:?}, {few:?}");
}
