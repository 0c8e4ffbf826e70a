//! Whatever comes from the network is data: what strangers say costs bounded memory.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use vine_registry::Node;

use super::{
    super::{
        Go, Manner,
        names::{name, under},
        packets::NodeRecords,
        payload::Payload,
    },
    link::of,
    service, shared,
};
use crate::{
    engine::{Config, EngineEvent, Interface, LinkKind, Port, Question, Received},
    mapping::Stamp,
    options::MdnsOptions,
};

const HOST: [u8; 4] = [10, 0, 0, 1];

/// A participant by itself, with room for so much.
fn participant(now: Instant, config: Config) -> Go {
    let manner = Manner::new(&MdnsOptions::new(), "vine".into());
    let mut go = Go::new(config, manner, 7);
    let interface = Interface {
        id: 1,
        name: "eth0".into(),
        addresses: vec![(HOST.into(), 24)],
        kind: LinkKind::Wired,
    };
    go.set_interfaces(now, vec![interface]);
    go
}

/// The announcement of a node whose JSON holds so many objects, each of which takes much memory.
fn announcement(of: &str, id: &str, objects: usize, changed: u64) -> Vec<u8> {
    let apis = vec![serde_json::json!({ "": 0 }); objects];
    let service = service(of, id, "10.0.0.66:80").with_apis(apis);
    let stamp = Stamp { epoch: 1, changed };
    let node = service.nodes.nth(0).unwrap();
    let payload = Payload::new(&service, node, stamp, &node.address);
    let records = NodeRecords {
        instance: name(&under(id, &under(of, "vine"))).unwrap(),
        target: name("evil").unwrap(),
        port: 80,
        address: [10, 0, 0, 66].into(),
        txt: payload.encode().unwrap(),
        ttl: 120,
    };
    records.announcement().encode().unwrap()
}

fn hear(go: &mut Go, now: Instant, host: u8, payload: &[u8]) {
    let received = Received {
        payload,
        source: SocketAddr::from(([10, 0, 0, host], 5353)),
        interface: 1,
        port: Port::Standing,
        multicast: true,
    };
    go.handle_packet(now, received);
}

/// The ids of the nodes that are known.
fn known(go: &Go) -> Vec<&str> {
    let mut ids: Vec<_> = go.nodes.keys().map(|identity| &*identity.id).collect();
    ids.sort_unstable();
    ids
}

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[test]
fn what_nobody_wants_is_not_even_inflated() {
    let now = start();
    let mut go = participant(now, Config::default());
    go.browse(now, of("foo"));
    for number in 0..100 {
        let packet = announcement("bar", &format!("n{number}"), 800, 1);
        assert!(packet.len() < 1_000);
        hear(&mut go, now, 66, &packet);
    }
    assert_eq!((go.payloads.weight, go.quota.total), (0, 0));
    hear(&mut go, now, 66, &announcement("foo", "n1", 1, 1));
    assert_eq!(known(&go), ["n1"]);
    // Who wants all has to look at it.
    go.browse(now, Question::All);
    hear(&mut go, now, 66, &announcement("bar", "n2", 1, 1));
    assert_eq!(known(&go), ["n1", "n2"]);
}

#[test]
fn however_much_each_node_says_memory_is_bounded() {
    let mut now = start();
    let limit = 8 * 1024 * 1024;
    let config = Config {
        max_memory: limit,
        ..Config::default()
    };
    let mut go = participant(now, config);
    go.browse(now, of("foo"));
    for number in 0..20 {
        hear(
            &mut go,
            now,
            20,
            &announcement("foo", &format!("old{number}"), 1, 1),
        );
    }
    for number in 0..50 {
        hear(
            &mut go,
            now,
            66,
            &announcement("foo", &format!("fake{number}"), 800, 1),
        );
        assert!(go.quota.total <= limit, "{}", go.quota.total);
    }
    let count = |go: &Go, prefix: &str| {
        let known = known(go);
        known.iter().filter(|id| id.starts_with(prefix)).count()
    };
    assert_eq!(count(&go, "old"), 20);
    let fakes = count(&go, "fake");
    assert!((5..20).contains(&fakes), "{fakes}");
    // Who brings less than the flood is seen all the same, even if he brings more nodes.
    for number in 0..40 {
        hear(
            &mut go,
            now,
            21,
            &announcement("foo", &format!("new{number}"), 20, 1),
        );
    }
    assert_eq!((count(&go, "old"), count(&go, "new")), (20, 40));
    assert!(go.quota.total <= limit);
    now += Duration::from_secs(200);
    go.handle_timeout(now);
    assert_eq!(go.quota.total, 0, "everything is given back");
}

#[test]
fn a_flood_of_names_crowds_itself_out() {
    let now = start();
    let config = Config {
        max_nodes: 100,
        ..Config::default()
    };
    let mut go = participant(now, config);
    go.browse(now, of("foo"));
    for number in 0..300 {
        hear(
            &mut go,
            now,
            66,
            &announcement("foo", &format!("fake{number}"), 0, 1),
        );
    }
    hear(&mut go, now, 20, &announcement("foo", "new", 0, 1));
    assert!(known(&go).contains(&"new"));
    assert_eq!(known(&go).len(), 100);
}

#[test]
fn who_says_more_than_there_is_room_for_stays_what_he_was() {
    let mut now = start();
    let config = Config {
        max_memory: 1024 * 1024,
        ..Config::default()
    };
    let mut go = participant(now, config);
    go.browse(now, of("foo"));
    hear(&mut go, now, 20, &announcement("foo", "n1", 1, 1));
    for _ in 0..10 {
        hear(&mut go, now, 20, &announcement("foo", "n1", 8_000, 2));
        now += Duration::from_secs(60);
        go.handle_timeout(now);
    }
    let told: Vec<_> = std::iter::from_fn(|| go.poll_event()).collect();
    assert!(matches!(&told[..], [EngineEvent::Found(_)]), "{told:?}");
    hear(&mut go, now, 20, &announcement("foo", "n1", 2, 3));
    assert!(matches!(go.poll_event(), Some(EngineEvent::Changed(_))));
}

#[test]
fn what_is_registered_here_takes_no_room_of_others() {
    let now = start();
    let mut go = participant(now, Config::default());
    go.browse(now, of("foo"));
    hear(&mut go, now, 66, &announcement("foo", "n1", 10, 1));
    assert!(go.quota.total > 0);
    let own = service("foo", "n1", "10.0.0.1:80").with_node(Node::new("n2", "10.0.0.1:81"));
    go.register(now, 1_700_000_000_000, &shared(&own)).unwrap();
    assert_eq!((known(&go).len(), go.quota.total), (0, 0));
}
