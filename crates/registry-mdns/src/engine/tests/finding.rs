//! Finding each other: announcements, look-ups, standing browses.

use vine_registry::Wait;

use super::net::{Net, ms, of, secs, service};
use crate::engine::{Ending, EngineEvent, Outcome, Question};

#[test]
fn s8_1_a_registration_is_seen_at_once_while_it_is_probed() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.run(secs(5));
    net.register(0, service("web", "a"));
    net.run(ms(1));
    assert_eq!(net.known(1), ["web/a v1"]);
}

#[test]
fn s5_1_a_cold_lookup_finds_what_was_there_before() {
    let mut net = Net::with_hosts(2, 2);
    net.register(0, service("web", "a"));
    net.register(0, service("other", "b"));
    net.run(secs(10));
    net.browse(1, of("web"));
    let id = net.lookup(1, of("web"), Wait::First);
    let (outcome, after) = net.run_lookup(1, id);
    assert_eq!(outcome, Outcome::First);
    assert!(after < ms(1), "{after:?}");
    assert_eq!(net.known(1), ["web/a v1"]);
}

#[test]
fn s10_1_a_goodbye_removes_a_node_at_once() {
    let mut net = Net::with_hosts(3, 2);
    net.browse(1, Question::All);
    let key = net.register(0, service("web", "a"));
    net.run(secs(10));
    assert_eq!(net.known(1), ["web/a v1"]);
    net.deregister(0, key);
    net.run(ms(1));
    assert!(net.known(1).is_empty());
}

#[test]
fn s10_1_a_goodbye_is_told_as_one_and_silence_is_not() {
    let mut net = Net::with_hosts(3, 3);
    net.browse(2, Question::All);
    let key = net.register(0, service("web", "leaves"));
    net.register(1, service("web", "dies"));
    net.run(secs(10));
    assert_eq!(net.known(2).len(), 2);
    net.deregister(0, key);
    net.hosts[1].is_connected = false;
    net.run(secs(130));
    let endings = net.hosts[2].events.iter().filter_map(|event| match event {
        EngineEvent::Gone(remote, ending) => Some((&*remote.node.id, *ending)),
        _ => None,
    });
    let endings: Vec<_> = endings.collect();
    assert_eq!(endings, [("leaves", Ending::Said), ("dies", Ending::Lost)]);
}
