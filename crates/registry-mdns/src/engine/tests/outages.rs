//! Interfaces that go and come, and a machine that sleeps.

use vine_registry::Endpoint;

use super::net::{Net, interface, loopback, ms, of, secs, service};
use crate::{
    codec::Message,
    engine::{Config, Engine, EngineEvent, Interface, LinkKind, Outcome, Question},
    mapping::parse_chunk_name,
};

/// Two processes on a host and one on another, each with a node; the first one knows all.
fn three() -> Net {
    let mut net = Net::new(1);
    let near = [10, 0, 0, 1].into();
    net.add_engine(near, LinkKind::Wired);
    net.add_engine(near, LinkKind::Wired);
    net.add_host(LinkKind::Wired);
    for host in 0..3 {
        let all = vec![
            interface(net.hosts[host].address, LinkKind::Wired),
            loopback(),
        ];
        net.set_interfaces(host, all);
    }
    net.browse(0, Question::All);
    net.register(1, service("near", "a"));
    net.register(2, service("far", "b"));
    net.run(secs(10));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1"]);
    net
}

/// The host of the first two loses its network, or gets it back.
fn switch(net: &mut Net, is_on: bool) {
    let mut all = vec![loopback()];
    if is_on {
        all.push(interface(net.hosts[0].address, LinkKind::Wired));
    }
    for host in 0..2 {
        net.hosts[host].is_connected = is_on;
        net.set_interfaces(host, all.clone());
    }
}

fn states(net: &Net, host: usize) -> Vec<EngineEvent> {
    let state = |event: &&EngineEvent| matches!(event, EngineEvent::Stale | EngineEvent::Live);
    net.hosts[host]
        .events
        .iter()
        .filter(state)
        .cloned()
        .collect()
}

#[test]
fn a_host_that_keeps_its_loopback_alone_forgets_no_other_host() {
    let mut net = three();
    switch(&mut net, false);
    assert_eq!(states(&net, 0), [EngineEvent::Stale]);
    net.run(secs(3_000));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1"]);
    switch(&mut net, true);
    assert_eq!(states(&net, 0), [EngineEvent::Stale, EngineEvent::Live]);
    net.run(secs(60));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1"]);
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::Gone(..));
    assert!(!net.hosts[0].events.iter().any(gone));
}

#[test]
fn what_vanished_during_an_outage_goes_ten_seconds_after_it() {
    let mut net = three();
    switch(&mut net, false);
    net.hosts[2].is_connected = false;
    net.run(secs(500));
    switch(&mut net, true);
    net.run(ms(9_900));
    assert_eq!(net.known(0).len(), 2);
    net.run(ms(200));
    assert_eq!(net.known(0), ["near/a v1"]);
}

#[test]
fn services_of_the_same_host_go_on_during_an_outage() {
    let mut net = three();
    switch(&mut net, false);
    net.run(secs(300));
    let new = net.register(1, service("near", "c").with_ttl(secs(100)));
    net.run(ms(10));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1", "near/c v1"]);
    net.deregister(1, new);
    net.run(ms(10));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1"]);
    // What is near is known for certain, what is far is not.
    for (name, is_certain) in [("near", true), ("far", false), ("none", false)] {
        net.browse(0, of(name));
        let id = net.lookup(0, of(name), vine_registry::Wait::Settled);
        let (outcome, _) = net.run_lookup(0, id);
        assert_ne!(outcome, Outcome::Offline);
        assert_eq!(
            net.hosts[0].engine.is_certain(&of(name)),
            is_certain,
            "{name}"
        );
    }
    assert!(!net.hosts[0].engine.is_certain(&Question::All));
    // And who is killed there is forgotten.
    net.hosts[1].engine.set_interfaces(net.now, Vec::new());
    net.settle(1);
    net.run(secs(130));
    assert_eq!(net.known(0), ["far/b v1"]);
}

#[test]
fn without_a_network_from_the_beginning_there_is_no_outage() {
    let now = Net::new(1).now;
    let mut engine = Engine::new(Config::default(), 1);
    engine.set_interfaces(now, vec![loopback()]);
    assert_eq!(engine.poll_event(), None);
    assert!(engine.is_certain(&Question::All));
    engine.set_interfaces(now, Vec::new());
    assert_eq!(engine.poll_event(), Some(EngineEvent::Stale));
    engine.set_interfaces(now, vec![loopback()]);
    assert_eq!(engine.poll_event(), Some(EngineEvent::Live));
}

#[test]
fn of_two_networks_one_may_go() {
    let mut net = three();
    let second = Interface {
        id: 2,
        ..interface([192, 168, 7, 1].into(), LinkKind::Wired)
    };
    let first = interface(net.hosts[0].address, LinkKind::Wired);
    net.set_interfaces(0, vec![first, second.clone(), loopback()]);
    net.hosts[0].is_connected = false;
    net.set_interfaces(0, vec![second, loopback()]);
    assert!(states(&net, 0).is_empty());
    net.run(secs(130));
    assert_eq!(net.known(0), ["near/a v1"], "it expires by its ttl");
}

#[test]
fn s10_4_nobody_is_given_up_who_cannot_be_asked() {
    let mut net = three();
    let report = |net: &mut Net| {
        let now = net.now;
        let [namespace, name, id] = ["vine", "far", "b"].map(Into::into);
        net.hosts[0].engine.reconfirm(now, &namespace, &name, &id);
        net.settle(0);
    };
    switch(&mut net, false);
    report(&mut net);
    net.run(secs(5));
    assert_eq!(net.known(0).len(), 2);
    switch(&mut net, true);
    net.hosts[2].is_connected = false;
    net.run(secs(1));
    report(&mut net);
    net.run(secs(1));
    switch(&mut net, false);
    net.run(secs(5));
    assert_eq!(net.known(0).len(), 2, "the outage began meanwhile");
}

#[test]
fn after_a_sleep_it_is_asked_and_announced_before_anything_expires() {
    let mut net = Net::with_hosts(1, 3);
    net.browse(1, Question::All);
    net.register(0, service("web", "lives"));
    net.register(2, service("web", "dies"));
    net.register(1, service("web", "own"));
    net.run(secs(60));
    net.hosts[2].is_connected = false;
    net.sent.clear();
    // The others went on for ten minutes while this one slept.
    let now = net.now;
    net.hosts[1].engine.wake(now, secs(600));
    net.settle(1);
    assert_eq!(net.known(1).len(), 2);
    net.run(ms(500));
    let sent = net.sent_by(1, std::time::Duration::ZERO);
    assert!(sent.iter().any(|sent| sent.message.response), "announced");
    let asked = sent.iter().filter(|sent| !sent.message.response);
    let mut asked = asked.filter(|sent| sent.message.authorities.is_empty());
    let asked = asked.next().expect("asked");
    assert_eq!(
        asked.message.answers.len(),
        1,
        "of others, nothing is certain"
    );
    net.run(ms(9_400));
    assert_eq!(net.known(1).len(), 2);
    net.run(ms(200));
    assert_eq!(net.known(1), ["web/lives v1"]);
}

fn has_chunk(message: &Message) -> bool {
    let mut records = message.answers.iter();
    records.any(|record| parse_chunk_name(&record.name).is_some())
}

#[test]
fn what_is_being_fetched_when_the_network_goes_is_fetched_when_it_is_back() {
    let large = |id: &str| {
        let mut random = fastrand::Rng::with_seed(id.len() as u64);
        let text: String = (0..20_000).map(|_| random.alphanumeric()).collect();
        service("far", id).with_endpoint(Endpoint::new(text))
    };
    let mut net = three();
    net.tamper = Some(|_, _, message| (!has_chunk(message)).then(|| message.clone()));
    net.register(2, large("b"));
    net.run(ms(500));
    switch(&mut net, false);
    net.run(secs(600));
    assert_eq!(net.known(0), ["far/b v1", "near/a v1"], "as it was");
    // What is on the host itself can be had meanwhile, however much can't.
    net.tamper = None;
    net.register(1, large("other"));
    net.run(secs(2));
    assert!(net.known(0).contains(&"far/other v1".to_owned()));
    // And the first seconds are no time to give it up.
    net.tamper = Some(|_, _, message| (!has_chunk(message)).then(|| message.clone()));
    switch(&mut net, true);
    net.run(secs(9));
    assert_eq!(net.known(0).len(), 3);
    net.tamper = None;
    net.run(secs(10));
    let known = &net.hosts[0].nodes["vine/far/b"].service;
    assert_eq!(known.endpoints, large("b").endpoints);
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::Gone(..));
    assert!(!net.hosts[0].events.iter().any(gone));
}
