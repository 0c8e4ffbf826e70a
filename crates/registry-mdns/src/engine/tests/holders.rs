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
