//! Whatever comes from the network is data.

use proptest::prelude::*;
use vine_registry::{Endpoint, Node, Wait};

use super::net::{Net, ms, of, secs, service};
use crate::fuzzing;

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
    }

    #[test]
    fn noise_does_no_harm(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzzing::packet(&packet);
        fuzzing::txt(&packet);
    }
}

#[test]
fn a_flood_of_names_costs_bounded_memory() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    net.hosts[0].engine.config.max_nodes = 100;
    let mut flood = Net::with_hosts(2, 1);
    let nodes = (0..3_000).map(|i| Node::new(format!("n{i}"), "10.0.0.9:80"));
    flood.register_all(0, service("web", "x").with_nodes(nodes));
    for sent in flood.sent.clone() {
        net.inject(
            0,
            "10.0.0.7:5353".parse().unwrap(),
            sent.port,
            &sent.message,
        );
    }
    assert_eq!(net.known(0).len(), 100);
    let engine = &net.hosts[0].engine;
    assert_eq!(engine.cache.instances.len(), 100);
    assert!(engine.cache.hosts.len() <= 100);
    net.run(secs(200));
    assert!(net.known(0).is_empty());
    let engine = &net.hosts[0].engine;
    assert!(engine.cache.instances.is_empty() && engine.cache.claims.is_empty());
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
