//! Many nodes, many processes.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use vine_registry::{Node, Wait};

use super::{
    net::{Net, interface, ms, of, secs, service},
    reader::Reader,
};
use crate::engine::{Destination, Interface, LinkKind, Outcome, Port, Question};

/// What is on the link once all is calm.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    packets_a_second: f64,
    bytes_a_second: f64,
}

/// Adds a process on a host of its own; there is room for more than 254.
fn add_process(net: &mut Net) -> usize {
    let host = Ipv4Addr::from(0x0A00_0001 + net.hosts.len() as u32);
    let process = net.add_engine(host, LinkKind::Wired);
    let wide = Interface {
        addresses: vec![(host.into(), 16)],
        ..interface(host, LinkKind::Wired)
    };
    net.set_interfaces(process, vec![wide]);
    process
}

/// Processes with some nodes each. They announced them before any of them listened.
fn populated(seed: u64, processes: usize, nodes: usize) -> Net {
    let mut net = Net::new(seed);
    for _ in 0..processes {
        let process = add_process(&mut net);
        net.hosts[process].is_connected = false;
        let host = net.hosts[process].address;
        let nodes = (0..nodes).map(|i| {
            let node = Node::new(format!("n{process}-{i}"), format!("{host}:{}", 1_000 + i));
            node.with_metadata([("region", "eu-west-1"), ("zone", "b")])
        });
        net.register_all(process, service("web", "x").with_nodes(nodes));
        net.run(ms(100));
    }
    net.run(secs(10));
    for host in &mut net.hosts {
        host.is_connected = true;
    }
    net
}

#[test]
fn s18_5_the_end_of_a_long_answer_is_waited_for_and_asked_for_when_lost() {
    static LOST: AtomicU32 = AtomicU32::new(0);
    let mut net = populated(1, 1, 200);
    let reader = add_process(&mut net);
    net.run(secs(5));
    net.tamper = Some(|from, _, message| {
        let is_end = from == 0 && !message.questions.is_empty() && !message.truncated;
        let is_lost = is_end && LOST.fetch_add(1, Ordering::Relaxed) == 0;
        (!is_lost).then(|| message.clone())
    });
    net.browse(reader, of("web"));
    let id = net.lookup(reader, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(reader, id);
    assert_eq!(outcome, Outcome::Settled);
    assert_eq!(net.known(reader).len(), 200, "after {after:?}");
    assert!(LOST.load(Ordering::Relaxed) > 1, "asked again");
}

/// The traffic from two minutes on, with ten processes that browse.
fn steady(processes: usize, nodes: usize, question: &Question) -> Traffic {
    const TIME: Duration = secs(300);
    let mut net = populated(1, processes, nodes);
    for _ in 0..10 {
        let host = add_process(&mut net);
        net.browse(host, question.clone());
        net.lookup(host, question.clone(), Wait::Settled);
        net.run(ms(500));
    }
    net.run(secs(120));
    net.sent.clear();
    net.run(TIME);
    for browser in processes..processes + 10 {
        assert_eq!(net.known(browser).len(), processes * nodes);
    }
    let bytes: usize = net.sent.iter().map(|sent| sent.size).sum();
    Traffic {
        packets_a_second: net.sent.len() as f64 / TIME.as_secs_f64(),
        bytes_a_second: bytes as f64 / TIME.as_secs_f64(),
    }
}

#[test]
fn steady_traffic_stays_low() {
    for (processes, nodes, most) in [(1, 1, 0.2), (10, 10, 2.0), (10, 100, 5.0)] {
        let traffic = steady(processes, nodes, &of("web"));
        assert!(traffic.packets_a_second <= most, "{traffic:?}");
        assert!(traffic.bytes_a_second <= 1_000.0 * most, "{traffic:?}");
    }
}

#[test]
fn s6_7_two_thousand_nodes_of_twenty_processes_reach_who_reads_slowly() {
    for seed in 1..=4 {
        // None of the processes has heard of another one, so all answer in the same moment.
        let mut net = populated(seed, 20, 100);
        let reader = add_process(&mut net);
        net.run(secs(1));
        // What 208 KiB hold of them, on a machine that is busy otherwise.
        net.hosts[reader].reader = Some(Reader::new(Duration::from_micros(100), 90));
        net.sent.clear();
        net.browse(reader, of("web"));
        let id = net.lookup(reader, of("web"), Wait::Settled);
        let (outcome, after) = net.run_lookup(reader, id);
        assert_eq!(outcome, Outcome::Settled);
        let lost = net.hosts[reader]
            .reader
            .as_ref()
            .map_or(0, |reader| reader.lost);
        assert!(lost > 100, "{lost}");
        assert_eq!(
            net.known(reader).len(),
            2_000,
            "after {after:?}, {lost} lost"
        );
        assert!(after <= secs(1), "{after:?}");
    }
}

#[test]
fn s7_1_who_was_heard_as_a_whole_does_not_answer_again() {
    let mut net = populated(1, 20, 100);
    let reader = add_process(&mut net);
    net.run(secs(1));
    net.sent.clear();
    net.browse(reader, of("web"));
    let id = net.lookup(reader, of("web"), Wait::Settled);
    let (_, after) = net.run_lookup(reader, id);
    assert_eq!(net.known(reader).len(), 2_000);
    assert!(after <= ms(60), "{after:?}");
    let asked = net.sent.iter().filter(|sent| sent.port == Port::Query);
    let confirmed = asked.filter(|sent| sent.message.additionals.len() > 1);
    assert!(confirmed.count() > 0, "asked whether that is all");
    let direct = net
        .sent
        .iter()
        .filter(|sent| matches!(sent.to, Destination::Unicast(_)));
    let told: usize = direct.map(|sent| sent.message.answers.len()).sum();
    assert_eq!(told, 2_000, "each node once");
}

#[test]
fn ten_thousand_nodes_are_found_and_stay() {
    let mut net = populated(2, 10, 1_000);
    let host = add_process(&mut net);
    net.browse(host, of("web"));
    let id = net.lookup(host, of("web"), Wait::Settled);
    let (outcome, after) = net.run_lookup(host, id);
    assert_eq!(outcome, Outcome::Settled);
    assert_eq!(net.known(host).len(), 10_000);
    assert!(after <= ms(120), "{after:?}");
    net.sent.clear();
    net.run(secs(150));
    assert_eq!(net.known(host).len(), 10_000, "refreshed in time");
    assert!(net.sent.len() <= 150 * 60, "{} packets", net.sent.len());
}
