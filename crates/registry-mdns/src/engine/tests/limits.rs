//! What strangers can make this engine do: sections 6.7 and 11.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use vine_registry::{Node, Wait};

use super::net::{Net, PORT, Sent, ms, of, secs, service};
use crate::{
    codec::{Ask, Data, Message, Name, Record, kind},
    engine::{
        Destination, Port, Question,
        receipts::{Tokens, tokens},
    },
    mapping::Names,
};

fn question(name: Name, id: u16) -> Message {
    let mut message = Message::query();
    message.id = id;
    message.questions.push(Ask::new(name, kind::PTR));
    message
}

/// A host that has had so many nodes for long.
fn calm(nodes: usize) -> Net {
    let mut net = Net::with_hosts(7, 1);
    let nodes = (0..nodes).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(secs(60));
    net.sent.clear();
    net
}

fn bytes(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.size).sum()
}

#[test]
fn s11_no_host_is_sent_more_than_64_kb_a_second_by_unicast() {
    let mut net = calm(20);
    let subtype = Names::new().subtype("web").unwrap();
    for i in 0..6_000_u32 {
        // A spoofed source, behind ever new ports.
        let source = SocketAddr::from(([10, 0, 0, 77], 10_000 + i as u16));
        let message = question(subtype.clone(), i as u16 | 1);
        net.inject(0, source, Port::Standing, &message);
        net.run(ms(2));
    }
    let sent = bytes(&net.sent);
    let allowed = 256 * 1024 + 20 * 2 * 1024 + 12 * 64 * 1024;
    assert!(sent <= allowed + 2_000, "{sent} bytes in 12 s");
    assert!(sent > allowed / 2, "{sent} bytes in 12 s");
    assert!(net.hosts[0].engine.counters().throttled > 1_000);
}

#[test]
fn s11_many_askers_at_once_fill_no_memory_and_keep_nothing_from_being_announced() {
    let mut net = calm(200);
    let subtype = Names::new().subtype("web").unwrap();
    let payload = question(subtype, 9).encode().unwrap();
    let began = net.elapsed();
    let engine = &mut net.hosts[0].engine;
    // All within one moment: nothing is let out in between.
    for host in 0..250_u8 {
        for port in 0..4 {
            let source = SocketAddr::from(([10, 0, 0, host], 40_000 + port));
            let received = crate::engine::Received {
                payload: &payload,
                source,
                interface: 1,
                port: Port::Standing,
                multicast: true,
            };
            engine.handle_packet(net.now, received);
        }
    }
    assert!(engine.outbox.waiting <= 8 * 1024 * 1024);
    assert!(engine.counters().throttled > 0);
    net.settle(0);
    net.register(0, service("new", "a"));
    net.run(ms(1));
    let is_new = |sent: &&&Sent| {
        let announces = |name: &Name| *name == Names::new().subtype("new").unwrap();
        sent.to == Destination::Multicast
            && sent
                .message
                .answers
                .iter()
                .any(|record| announces(&record.name))
    };
    assert!(net.sent_by(0, began).iter().any(|sent| is_new(&sent)));
}

/// To write a long answer takes a while; receivers are to have their pauses all the same.
#[test]
fn s6_7_what_went_out_late_is_followed_no_sooner() {
    let mut net = calm(1_000);
    let payload = question(Names::new().subtype("web").unwrap(), 9).encode();
    let payload = payload.unwrap();
    let received = crate::engine::Received {
        payload: &payload,
        source: SocketAddr::from(([10, 0, 0, 77], 40_000)),
        interface: 1,
        port: Port::Standing,
        multicast: true,
    };
    let (asked, engine) = (net.now, &mut net.hosts[0].engine);
    engine.handle_packet(asked, received);
    let burst = std::iter::from_fn(|| engine.poll_transmit()).count();
    assert!((1..=64).contains(&burst), "{burst} packets at once");
    let written = asked + ms(5);
    engine.went_out(written);
    for (after, expected) in [(ms(0), 0), (ms(1), 0), (ms(2), burst)] {
        engine.handle_timeout(written + after);
        let polled = std::iter::from_fn(|| engine.poll_transmit()).count();
        assert_eq!(polled, expected, "{after:?} later");
    }
}

#[test]
fn s11_a_thousand_nodes_are_told_three_times_to_who_does_not_prove_that_he_asked() {
    let mut net = calm(1_000);
    let subtype = Names::new().subtype("web").unwrap();
    for i in 0..500_u16 {
        let source = SocketAddr::from(([10, 0, 0, 77], 10_000 + i));
        net.inject(0, source, Port::Standing, &question(subtype.clone(), i | 1));
        net.run(ms(10));
    }
    let sent = bytes(&net.sent);
    let allowed = 256 * 1024 + 1_000 * 2 * 1024 + 5 * 64 * 1024;
    assert!(sent <= allowed + 2_000, "{sent} bytes in 5 s");
}

#[test]
fn s11_who_proves_that_he_asked_is_told_as_often_as_he_likes() {
    let mut net = Net::with_hosts(1, 1);
    let nodes = (0..1_000).map(|i| {
        let node = Node::new(format!("n{i}"), "10.0.0.1:80");
        node.with_metadata([("padding", "x".repeat(200)), ("more", "x".repeat(200))])
    });
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(secs(60));
    net.sent.clear();
    for _ in 0..8 {
        // Processes of one host, one after the other.
        let fresh = net.add_engine([10, 0, 0, 2].into(), crate::engine::LinkKind::Wired);
        net.browse(fresh, of("web"));
        let id = net.lookup(fresh, of("web"), Wait::Settled);
        net.run_lookup(fresh, id);
        assert_eq!(net.known(fresh).len(), 1_000);
        assert_eq!(net.hosts[0].engine.counters().throttled, 0);
        net.hosts[fresh].is_connected = false;
    }
    let direct = net
        .sent
        .iter()
        .filter(|sent| matches!(sent.to, Destination::Unicast(_)));
    let told: usize = direct.map(|sent| sent.size).sum();
    assert!(told > 2 * (256 * 1024 + 1_000 * 2 * 1024), "{told}");
}

/// Others of his host have asked before and proved nothing.
#[test]
fn s11_who_finds_his_hosts_account_used_up_gets_a_token_all_the_same() {
    for others in [0, 20] {
        let mut net = calm(1_000);
        let source = |port| SocketAddr::from(([10, 0, 0, 2], port));
        let subtype = Names::new().subtype("web").unwrap();
        for id in 1..60 {
            let message = question(subtype.clone(), id);
            net.inject(0, source(10_000 + id), Port::Standing, &message);
            net.run(ms(10));
        }
        let throttled = net.hosts[0].engine.counters().throttled;
        assert!(throttled > 1_000, "{throttled}");
        // What was just told to all is not told to all again within a second.
        let anybody = SocketAddr::from(([10, 0, 0, 50], PORT));
        let message = question(subtype.clone(), 0);
        net.inject(0, anybody, Port::Standing, &message);
        net.run(ms(130));
        for id in 60..90 {
            let message = question(subtype.clone(), id);
            net.inject(0, source(10_000 + id), Port::Standing, &message);
        }
        if others > 0 {
            let other = net.add_host(crate::engine::LinkKind::Wired);
            let nodes = (0..others).map(|i| Node::new(format!("o{i}"), "10.0.0.2:80"));
            net.register_all(other, service("web", "x").with_nodes(nodes));
        }
        let fresh = net.add_engine([10, 0, 0, 2].into(), crate::engine::LinkKind::Wired);
        net.browse(fresh, of("web"));
        let id = net.lookup(fresh, of("web"), Wait::Settled);
        let (_, after) = net.run_lookup(fresh, id);
        assert_eq!(net.known(fresh).len(), 1_000 + others);
        assert!(after < ms(200), "{after:?}");
    }
}

/// He can't say that he has everything, but what came at one of his addresses, beside others of his.
#[test]
fn s11_who_has_lost_some_of_an_answer_proves_that_he_asked() {
    let mut net = calm(1_000);
    let subtype = Names::new().subtype("web").unwrap();
    let source = SocketAddr::from(([10, 0, 0, 77], 10_000));
    let mut token = None;
    for id in 1..60 {
        let mut message = question(subtype.clone(), id);
        if let Some(token) = token {
            let receipts = [(7, 42), (7, token)];
            let numbers = receipts.iter().flat_map(|(whole, token)| [*whole, *token]);
            let mut data = vec![32];
            data.extend(numbers.flat_map(u64::to_be_bytes));
            message.additionals.push(Record {
                name: subtype.clone(),
                flush: false,
                ttl: 1,
                data: Data::Txt(data.into()),
            });
        }
        net.inject(0, source, Port::Standing, &message);
        net.run(ms(50));
        let last = net.sent.last().unwrap();
        let mut tokens = tokens(&last.message).map(|(_, token)| token);
        token = Some(tokens.next().expect("a whole answer"));
    }
    assert_eq!(net.hosts[0].engine.counters().throttled, 0);
    assert!(bytes(&net.sent) > 2 * (256 * 1024 + 1_000 * 2 * 1024));
}

#[test]
fn who_sends_tokens_without_end_has_few_kept() {
    let mut kept = Tokens::default();
    for number in 0..10_000_u64 {
        let label = format!("vine-{number:016x}");
        let target = Name::from_labels([label.as_bytes(), b"local"]).unwrap();
        kept.insert(&target, number + 1);
    }
    assert_eq!(kept.targets().count(), 1_024);
}

/// Each address gets a token of its own, and all are told to all that are asked.
#[test]
fn s11_what_came_at_several_addresses_is_proven_for_each() {
    let mut net = calm(20);
    let subtype = Names::new().subtype("web").unwrap();
    let fresh = net.add_engine([10, 0, 0, 2].into(), crate::engine::LinkKind::Wired);
    let source = SocketAddr::from(([10, 0, 0, 77], 10_000));
    net.inject(0, source, Port::Standing, &question(subtype.clone(), 1));
    net.run(ms(50));
    let told = net.sent.last().unwrap();
    let (target, _) = tokens(&told.message).next().unwrap();
    let target = target.clone();
    let mut kept = Tokens::default();
    for token in [5, 6, 5] {
        kept.insert(&target, token);
    }
    net.browse(fresh, of("web"));
    net.run(secs(3));
    let record = net.hosts[fresh].engine.receipts(&subtype, &kept, false);
    let Some(Data::Txt(bytes)) = record.map(|record| record.data) else {
        panic!("receipts")
    };
    let numbers: Vec<_> = bytes[1..].chunks(8).map(|number| number[7]).collect();
    assert_eq!((bytes[0], numbers[1], numbers[3]), (32, 5, 6));
    assert_eq!(bytes[1..9], bytes[17..25], "of the same instances");
}

#[test]
fn s11_askers_on_this_very_host_are_not_limited() {
    let mut net = Net::new(1);
    for _ in 0..2 {
        net.add_engine([10, 0, 0, 1].into(), crate::engine::LinkKind::Wired);
    }
    let nodes = (0..1_000).map(|i| Node::new(format!("n{i}"), "10.0.0.1:80"));
    net.register_all(0, service("web", "x").with_nodes(nodes));
    net.run(secs(60));
    for _ in 0..30 {
        let id = net.lookup(1, of("web"), Wait::Settled);
        net.run_lookup(1, id);
        assert_eq!(net.hosts[0].engine.counters().throttled, 0);
    }
}

#[test]
fn s6_questions_to_all_are_answered_once_a_second_however_many_there_are() {
    let mut net = calm(20);
    let message = question(Names::new().service_type, 0);
    let once = {
        net.inject(
            0,
            SocketAddr::from(([10, 0, 0, 77], PORT)),
            Port::Standing,
            &message,
        );
        net.run(secs(2));
        bytes(&net.sent)
    };
    net.sent.clear();
    for i in 0..2_000_u32 {
        let host = (i % 250) as u8;
        let source = SocketAddr::from(([10, 0, 0, host], PORT));
        net.inject(0, source, Port::Standing, &message);
        net.run(ms(1));
    }
    assert!(bytes(&net.sent) <= 3 * once);
}

fn answer_times(peers: usize) -> HashSet<Duration> {
    let mut net = Net::with_hosts(4, 1);
    net.register(0, service("web", "mine"));
    for peer in 0..peers {
        let mut other = Net::with_hosts(1_000 + peer as u64, 1);
        other.register(0, service("web", &format!("n{peer}")));
        let sent = other.sent.iter().find(|sent| sent.message.response);
        let announcement = sent.unwrap().message.clone();
        let source = SocketAddr::from(([10, 0, 0, 77], PORT));
        net.inject(0, source, Port::Standing, &announcement);
    }
    net.run(secs(60));
    let mut times = HashSet::new();
    for id in 1..30 {
        net.sent.clear();
        let began = net.elapsed();
        let message = question(Names::new().subtype("web").unwrap(), id);
        let source = SocketAddr::from(([10, 0, 0, 77], 40_999));
        net.inject(0, source, Port::Standing, &message);
        net.run(secs(1));
        assert_eq!(net.sent.len(), 1);
        times.insert(net.sent[0].at - began);
    }
    times
}

#[test]
fn s6_7_legacy_answers_are_spread_where_many_peers_answer() {
    assert_eq!(answer_times(40), HashSet::from([Duration::ZERO]));
    let times = answer_times(500);
    assert!(times.len() > 20);
    assert!(times.iter().all(|time| *time <= ms(10)));
    assert!(times.iter().any(|time| *time > ms(3)));
}

#[test]
fn peers_that_say_goodbye_are_not_waited_for() {
    let mut net = Net::with_hosts(4, 1);
    net.register(0, service("web", "mine"));
    let subtype = Names::new().subtype("web").unwrap();
    let spread = |net: &Net| net.hosts[0].engine.peers.spread([&subtype].into_iter(), 1);
    let mut goodbyes = Vec::new();
    for peer in 0..100 {
        let mut other = Net::with_hosts(1_000 + peer, 1);
        let key = other.register(0, service("web", &format!("n{peer}")));
        let announcement = other.sent[0].message.clone();
        other.sent.clear();
        other.deregister(0, key);
        goodbyes.push(other.sent[0].message.clone());
        let source = SocketAddr::from(([10, 0, 0, 77], PORT));
        net.inject(0, source, Port::Standing, &announcement);
    }
    assert_eq!(spread(&net), Some(ms(2)));
    for goodbye in goodbyes {
        let source = SocketAddr::from(([10, 0, 0, 77], PORT));
        net.inject(0, source, Port::Standing, &goodbye);
    }
    assert_eq!(spread(&net), None);
}

#[test]
fn s11_where_the_destination_is_not_known_the_source_decides() {
    let mut other = Net::with_hosts(2, 1);
    other.register(0, service("web", "a"));
    let announcement = other.sent[0].message.clone();
    for (knows_destinations, source, is_taken) in [
        (true, "192.0.2.1:5353", true),
        (false, "192.0.2.1:5353", false),
        (false, "10.0.0.77:5353", true),
        (false, "169.254.1.1:5353", true),
    ] {
        let mut net = Net::with_hosts(1, 1);
        net.hosts[0].engine.config.knows_destinations = knows_destinations;
        net.browse(0, Question::All);
        net.inject(0, source.parse().unwrap(), Port::Standing, &announcement);
        assert_eq!(net.known(0).len(), usize::from(is_taken), "{source}");
    }
}

#[test]
fn s11_forged_goodbyes_and_flushes_from_off_the_link_change_nothing() {
    let mut net = Net::with_hosts(3, 2);
    net.browse(1, Question::All);
    let key = net.register(
        0,
        service("web", "x").with_nodes([Node::new("a", "0.0.0.0:80")]),
    );
    net.run(secs(30));
    let address = |net: &Net| net.hosts[1].nodes["vine/web/a"].node.address.clone();
    assert_eq!(&*address(&net), "10.0.0.1:80");
    // What a goodbye of the owner would be, and an address of his that takes the place of others.
    let mut copy = Net::with_hosts(3, 1);
    std::mem::swap(&mut copy.hosts[0], &mut net.hosts[0]);
    copy.now = net.now;
    copy.deregister(0, key);
    let goodbye = copy.sent[0].message.clone();
    let mut flush = Message::answer();
    let host = net.sent.iter().find_map(|sent| {
        let mut all = sent.message.additionals.iter();
        all.find(|record| record.data.kind() == kind::A).cloned()
    });
    flush.answers.extend(host.map(|record| Record {
        flush: true,
        data: Data::A([203, 0, 113, 9].into()),
        ..record
    }));
    for forged in [&goodbye, &flush] {
        for source in ["192.0.2.1:5353", "10.0.1.1:5353", "8.8.8.8:5353"] {
            let received = crate::engine::Received {
                payload: &forged.encode().unwrap(),
                source: source.parse().unwrap(),
                interface: 1,
                port: Port::Standing,
                multicast: false,
            };
            net.hosts[1].engine.handle_packet(net.now, received);
            net.settle(1);
        }
    }
    assert_eq!(net.hosts[1].engine.counters().ignored, 6);
    net.run(secs(3));
    assert_eq!(&*address(&net), "10.0.0.1:80");
}
