//! Two holders of one id.

use std::net::{Ipv4Addr, SocketAddr};

use super::net::{Faults, Net, PORT, ms, secs, service};
use crate::{
    codec::{Data, Message},
    engine::{EngineEvent, Port, Question},
};

#[test]
fn s8_2_the_later_of_two_holders_wins_even_if_they_cross() {
    for seed in 0..20 {
        let mut net = Net::with_hosts(seed, 3);
        net.faults = Faults {
            delay: ms(300),
            ..Faults::default()
        };
        net.browse(1, Question::All);
        net.browse(2, Question::All);
        let first = net.register(0, service("web", "a"));
        net.run(ms(100));
        net.register(1, service("web", "a"));
        net.run(secs(20));
        assert_eq!(net.hosts[0].events, [EngineEvent::Replaced(first)]);
        assert!(net.known(1).is_empty(), "{:?}", net.hosts[1].events);
        assert_eq!(net.known(2).len(), 1);
    }
}

/// The winner's first packets are lost up to where `lost` says; what is heard first may be a probe.
fn taken_over_after(lost: std::time::Duration) -> (Vec<EngineEvent>, Vec<String>) {
    let mut net = Net::with_hosts(1, 2);
    net.browse(0, Question::All);
    net.register(0, service("web", "a"));
    net.run(secs(5));
    net.hosts[0].events.clear();
    net.faults.loss = 100;
    net.register(1, service("web", "a"));
    net.run(lost);
    net.faults.loss = 0;
    while net.hosts[0].events.is_empty() {
        net.run(ms(1));
    }
    (net.hosts[0].events.clone(), net.known(0))
}

#[test]
fn s8_a_node_changes_hands_and_is_not_gone_even_if_only_the_probe_is_heard() {
    for lost in [0, 1, 100, 300, 600, 900, 1_500] {
        let (events, known) = taken_over_after(ms(lost));
        assert!(
            matches!(
                events[..],
                [EngineEvent::Replaced(_), EngineEvent::Found(_)]
            ),
            "{lost} ms: {events:?}"
        );
        assert_eq!(known.len(), 1, "{lost} ms");
    }
}

/// What one whose clock is so many milliseconds ahead says when it comes and when it leaves.
fn came_and_left(net: &mut Net, host: usize, skew: i64) -> [Message; 2] {
    net.hosts[host].skew = skew;
    let key = net.register(host, service("web", "a"));
    net.run(secs(5));
    net.deregister(host, key);
    net.run(secs(5));
    let tells = |goodbye: bool| {
        let says = |message: &Message| {
            message
                .answers
                .iter()
                .any(|record| matches!(record.data, Data::Srv(_)) && (record.ttl == 0) == goodbye)
        };
        let sent = net.sent_by(host, std::time::Duration::ZERO);
        let found = sent.into_iter().find(|sent| says(&sent.message));
        found.expect("it was said").message.clone()
    };
    [tells(false), tells(true)]
}

#[test]
fn the_goodbyes_of_several_holders_are_remembered() {
    let mut net = Net::with_hosts(1, 3);
    net.hosts
        .iter_mut()
        .for_each(|host| host.is_connected = false);
    let latest = came_and_left(&mut net, 1, 600_000);
    let later = came_and_left(&mut net, 2, 300_000);
    net.register(0, service("web", "a"));
    net.run(secs(5));
    let source = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 66), PORT));
    for heard in [&latest[1], &later[1]] {
        net.inject(0, source, Port::Standing, heard);
    }
    for heard in [&latest[0], &later[0]] {
        net.run(secs(3));
        net.inject(0, source, Port::Standing, heard);
    }
    net.run(secs(1));
    assert_eq!(net.hosts[0].events, [], "whoever left contests nothing");
}
