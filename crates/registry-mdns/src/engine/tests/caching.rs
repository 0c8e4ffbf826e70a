//! The cache and the standing browse: sections 5.2, 7.1, 10, and outages.

use std::net::SocketAddr;

use vine_registry::Node;

use super::net::{Faults, Net, PORT, interface, ms, of, secs, service};
use crate::{
    codec::{Data, Message, Name, Record, Srv, kind},
    engine::{Ending, EngineEvent, LinkKind, Port, Question},
    mapping::Names,
};

fn stranger() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 77], PORT))
}

fn name(labels: &[&str]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap()
}

/// A node as another program publishes it: without an epoch, its address in an A record.
fn foreign(strings: &[&str], ttl: u32) -> Message {
    let names = Names::new();
    let instance = name(&["My Printer", "_vine", "_tcp", "local"]);
    let target = name(&["printer", "local"]);
    let txt: Vec<u8> = strings
        .iter()
        .flat_map(|string| std::iter::once(string.len() as u8).chain(string.bytes()))
        .collect();
    let record = |name: &Name, data| Record {
        name: name.clone(),
        flush: !matches!(data, Data::Ptr(_)),
        ttl,
        data,
    };
    let mut message = Message::answer();
    message.answers = vec![
        record(&names.service_type, Data::Ptr(instance.clone())),
        record(
            &instance,
            Data::Srv(Srv {
                port: 631,
                target: target.clone(),
            }),
        ),
        record(&instance, Data::Txt(txt.into())),
        record(&target, Data::A([10, 0, 0, 77].into())),
    ];
    message
}

fn browsing() -> Net {
    let mut net = Net::with_hosts(11, 1);
    net.browse(0, Question::All);
    net.run(secs(5));
    net
}

fn hear(net: &mut Net, message: &Message) {
    net.inject(0, stranger(), Port::Standing, message);
}

fn questions(net: &Net) -> usize {
    let ask = |sent: &&super::net::Sent| !sent.message.response;
    net.sent.iter().filter(ask).count()
}

#[test]
fn what_others_publish_with_our_keys_is_found() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print", "s.color=yes"], 120));
    let remote = &net.hosts[0].nodes["vine/print/My Printer"];
    assert_eq!(&*remote.node.address, "10.0.0.77:631");
    assert_eq!(remote.service.metadata.get("color"), Some("yes"));
    hear(&mut net, &foreign(&["n=print", "s.color=no"], 120));
    let remote = &net.hosts[0].nodes["vine/print/My Printer"];
    assert_eq!(remote.service.metadata.get("color"), Some("no"));
    hear(&mut net, &foreign(&["n=print", "s.color=no"], 0));
    assert!(net.known(0).is_empty());
    hear(&mut net, &foreign(&["n=print", "s.color=no"], 120));
    assert_eq!(
        net.known(0).len(),
        1,
        "without an epoch the last word counts"
    );
}

#[test]
fn what_is_not_ours_is_passed_over() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["rp=printers"], 120));
    hear(&mut net, &foreign(&["txtvers=9", "n=print"], 120));
    net.run(secs(300));
    assert!(net.known(0).is_empty());
    assert!(net.hosts[0].engine.counters().unreadable > 0);
}

#[test]
fn s5_2_standing_questions_are_asked_at_doubling_intervals() {
    let mut net = Net::with_hosts(1, 1);
    net.browse(0, of("web"));
    net.run(secs(3_000));
    let times: Vec<_> = net.sent.iter().map(|sent| sent.at).collect();
    assert!((ms(20)..=ms(120)).contains(&times[0]));
    let gaps: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]);
}

#[test]
fn s5_2_records_are_refreshed_before_they_expire() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print"], 100));
    net.run(secs(79));
    net.sent.clear();
    net.run(secs(30));
    let times: Vec<_> = net.sent.iter().map(|sent| sent.at.as_secs() - 5).collect();
    for (due, lateness) in [(80, 2), (85, 2), (90, 2), (95, 2)] {
        let range = due..=due + lateness;
        assert!(
            times.iter().any(|time| range.contains(time)),
            "{due}: {times:?}"
        );
    }
    assert!(net.known(0).is_empty(), "nobody answered");
    assert!(
        times.iter().any(|time| *time >= 100),
        "what vanished is looked for"
    );
}

#[test]
fn s7_1_the_asker_says_what_it_knows() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print"], 4_500));
    net.register(0, service("web", "own"));
    net.run(secs(10));
    net.sent.clear();
    net.run(secs(40));
    let ask = |sent: &&super::net::Sent| !sent.message.response;
    let asked = net.sent.iter().find(ask).unwrap();
    assert_eq!(
        asked.message.answers.len(),
        2,
        "what it heard and what is its own"
    );
    let answered = net.sent.iter().any(|sent| sent.message.response);
    assert!(!answered, "one does not answer oneself");
}

#[test]
fn s10_what_is_cut_off_expires_by_its_ttl() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.register(0, service("web", "a").with_ttl(secs(1_000)));
    net.register(0, service("web", "b"));
    net.run(secs(10));
    net.hosts[0].is_connected = false;
    net.run(secs(109));
    assert_eq!(net.known(1).len(), 2);
    net.run(secs(16));
    assert_eq!(net.known(1), ["web/a v1"]);
    net.run(secs(1_000));
    assert!(net.known(1).is_empty());
}

#[test]
fn s10_1_a_bare_pointer_goodbye_waits_a_second() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print"], 120));
    let mut goodbye = foreign(&["n=print"], 0);
    goodbye.answers.truncate(1);
    hear(&mut net, &goodbye);
    net.run(ms(900));
    assert_eq!(net.known(0).len(), 1);
    net.run(ms(200));
    assert!(net.known(0).is_empty());
    let said = |event: &EngineEvent| matches!(event, EngineEvent::Gone(_, Ending::Said));
    assert!(net.hosts[0].events.iter().any(said));
    hear(&mut net, &foreign(&["n=print"], 120));
    hear(&mut net, &goodbye);
    net.run(ms(500));
    hear(&mut net, &foreign(&["n=print"], 120));
    net.run(secs(10));
    assert_eq!(net.known(0).len(), 1, "rescued");
}

#[test]
fn s10_1_the_goodbye_of_another_holder_changes_nothing() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print", "e=9"], 120));
    let mut goodbye = foreign(&["n=print", "e=8"], 0);
    let target = name(&["other", "local"]);
    goodbye.answers[1].data = Data::Srv(Srv { port: 631, target });
    goodbye.answers.truncate(3);
    hear(&mut net, &goodbye);
    net.run(secs(5));
    assert_eq!(net.known(0).len(), 1);
}

#[test]
fn s10_2_an_address_that_changes_is_followed() {
    let mut net = browsing();
    hear(&mut net, &foreign(&["n=print"], 120));
    net.run(secs(5));
    let mut moved = foreign(&["n=print"], 120);
    moved.answers[3].data = Data::A([10, 0, 0, 78].into());
    hear(&mut net, &moved);
    net.run(ms(900));
    let address = |net: &Net| {
        net.hosts[0].nodes["vine/print/My Printer"]
            .node
            .address
            .clone()
    };
    assert_eq!(
        &*address(&net),
        "10.0.0.77:631",
        "the old one stays a second"
    );
    net.run(ms(200));
    assert_eq!(&*address(&net), "10.0.0.78:631");
}

#[test]
fn what_is_missing_is_asked_for() {
    let mut net = browsing();
    let whole = foreign(&["n=print"], 120);
    let mut pointer = whole.clone();
    pointer.answers.truncate(1);
    net.sent.clear();
    hear(&mut net, &pointer);
    net.run(ms(25));
    let kinds = |net: &Net| -> Vec<u16> {
        let asked = net.sent.iter().flat_map(|sent| &sent.message.questions);
        asked.map(|question| question.kind).collect()
    };
    assert_eq!(kinds(&net), [kind::TXT, kind::SRV]);
    let mut rest = whole;
    rest.answers.truncate(3);
    hear(&mut net, &rest);
    net.sent.clear();
    net.run(ms(25));
    assert_eq!(kinds(&net), [kind::A, kind::AAAA]);
    assert!(net.known(0).is_empty());
}

#[test]
fn the_cache_is_bounded_and_holds_only_what_was_asked_for() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.register(0, service("other", "a"));
    net.run(secs(3));
    assert!(net.hosts[1].events.is_empty());
    net.hosts[1].engine.config.max_nodes = 10;
    let nodes = (0..30).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(secs(3));
    assert_eq!(net.known(1).len(), 10);
    assert!(net.hosts[1].engine.counters().refused >= 20);
}

#[test]
fn nodes_that_nobody_asks_for_any_more_are_forgotten() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, of("web"));
    net.browse(1, of("web"));
    net.register(0, service("web", "a"));
    net.run(secs(3));
    let now = net.now;
    net.hosts[1].engine.end_browse(now, &of("web"));
    net.settle(1);
    assert_eq!(net.known(1).len(), 1, "browses are counted");
    net.hosts[1].engine.end_browse(now, &of("web"));
    net.settle(1);
    assert!(net.known(1).is_empty());
    net.sent.clear();
    net.run(secs(3_600));
    assert_eq!(questions(&net), 0);
}

#[test]
fn an_outage_makes_stale_and_ends_nothing() {
    let mut net = Net::with_hosts(1, 2);
    net.browse(1, Question::All);
    net.register(0, service("web", "lives"));
    let dies = net.register(0, service("web", "dies"));
    net.run(secs(10));
    net.set_interfaces(1, Vec::new());
    assert_eq!(net.hosts[1].events.last(), Some(&EngineEvent::Stale));
    net.hosts[1].is_connected = false;
    net.deregister(0, dies);
    net.run(secs(1_000));
    assert_eq!(net.known(1).len(), 2);
    net.hosts[1].is_connected = true;
    let address = net.hosts[1].address;
    net.set_interfaces(1, vec![interface(address, LinkKind::Wired)]);
    assert_eq!(net.hosts[1].events.last(), Some(&EngineEvent::Live));
    net.run(ms(9_900));
    assert_eq!(net.known(1).len(), 2);
    net.run(ms(200));
    assert_eq!(net.known(1), ["web/lives v1"]);
}

#[test]
fn a_goodbye_that_is_late_does_not_end_what_came_after_it() {
    for seed in 0..50 {
        let mut net = Net::with_hosts(seed, 2);
        net.faults = Faults {
            loss: 0,
            doubling: 50,
            delay: ms(500),
        };
        net.browse(1, Question::All);
        for _ in 0..4 {
            let key = net.register(0, service("web", "a"));
            net.run(ms(50));
            net.deregister(0, key);
            net.run(ms(50));
        }
        net.register(0, service("web", "a"));
        net.run(secs(12));
        assert_eq!(net.known(1).len(), 1, "seed {seed}");
        net.hosts[1].events.clear();
        net.run(secs(60));
        assert!(net.hosts[1].events.is_empty());
    }
}
