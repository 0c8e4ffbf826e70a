//! Two holders of one id.

use super::net::{Faults, Net, ms, secs, service};
use crate::engine::{EngineEvent, Question};

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
