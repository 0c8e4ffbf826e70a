//! What fuzz targets call. Nothing here is part of the API.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Node, Service, Wait};

use crate::{
    engine::{
        Config, Dialects, Engine, EngineEvent, Interface, LinkKind, Manner, Port, Question,
        Received, Remote, try_payload,
    },
    mapping::{Extras, decode},
    options::Dialect,
};

/// Feeds a packet to an engine with registrations, browses and a look-up, in every way that it may
/// arrive, and lets a minute pass.
pub fn packet(payload: &[u8]) {
    feed(payload, Config::default());
    // Who has keys judges before it believes.
    let keys = "k:secret".parse().into_iter().collect();
    feed(
        payload,
        Config {
            keys,
            ..Config::default()
        },
    );
}

fn feed(payload: &[u8], config: Config) {
    let start = tokio::time::Instant::now().into_std();
    let mut engine = engine(start, config);
    for (port, source) in [(5353, 5353), (5353, 9), (9, 5353)] {
        let received = Received {
            payload,
            source: SocketAddr::from(([10, 0, 0, 2], source)),
            interface: 1,
            port: if port == 5353 {
                Port::Standing
            } else {
                Port::Query
            },
            multicast: port == 5353,
        };
        engine.handle_packet(start, received);
        drain(&mut engine);
    }
    let end = start + Duration::from_secs(60);
    while let Some(at) = engine.poll_timeout().filter(|at| *at <= end) {
        engine.handle_timeout(at);
        drain(&mut engine);
    }
}

/// Feeds a packet to an engine again and again, as others would doubt what it says, and meanwhile
/// lets the network go and come, the machine sleep, and callers not reach what was found. Gives
/// how many packets were sent in the five minutes that it took.
pub fn trouble(payload: &[u8]) -> usize {
    let mut now = tokio::time::Instant::now().into_std();
    let mut engine = engine(now, Config::default());
    let (mut sent, mut found) = (0, Vec::new());
    let loopback = Interface {
        id: 2,
        name: "lo".into(),
        addresses: vec![([127, 0, 0, 1].into(), 8)],
        kind: LinkKind::Loopback,
    };
    let both = vec![ethernet(), loopback.clone()];
    for round in 0..10_u64 {
        let is_local = round % 5 == 3;
        let source = if is_local {
            [127, 0, 0, 1]
        } else {
            [10, 0, 0, 2]
        };
        let received = Received {
            payload,
            source: SocketAddr::from((source, 5353)),
            interface: if is_local { 2 } else { 1 },
            port: Port::Standing,
            multicast: round != 1,
        };
        engine.handle_packet(now, received);
        match round % 5 {
            2 => engine.set_interfaces(now, vec![loopback.clone()]),
            4 => engine.set_interfaces(now, both.clone()),
            3 => engine.wake(now, Duration::from_secs(100 * round)),
            _ => {}
        }
        for Remote { service, node, .. } in std::mem::take(&mut found) {
            engine.reconfirm(now, &service.namespace, &service.name, &node.id);
        }
        let end = now + Duration::from_secs(30);
        loop {
            while engine.poll_transmit().is_some() {
                sent += 1;
            }
            while let Some(event) = engine.poll_event() {
                if let EngineEvent::Found(remote) | EngineEvent::Changed(remote) = event {
                    found.push(remote);
                }
            }
            let Some(next) = engine.poll_timeout().filter(|next| *next <= end) else {
                break;
            };
            now = now.max(next);
            engine.handle_timeout(now);
        }
        now = end;
    }
    sent
}

/// Reads a TXT record.
pub fn txt(bytes: &[u8]) {
    let _ = decode(bytes, &mut Extras::default());
}

/// Reads a TXT record of the Go dialect, also with the bytes as the JSON in it, and feeds the bytes
/// as a packet to a process that speaks both dialects. Gives how many packets it sent in a minute.
pub fn go(bytes: &[u8]) -> usize {
    try_payload(bytes);
    let start = tokio::time::Instant::now().into_std();
    let mut engine = both(start);
    while engine.poll_transmit().is_some() {}
    let mut sent = 0;
    for (port, source) in [
        (Port::Standing, 5353),
        (Port::Standing, 9),
        (Port::Query, 5353),
    ] {
        let received = Received {
            payload: bytes,
            source: SocketAddr::from(([10, 0, 0, 2], source)),
            interface: 1,
            port,
            multicast: port == Port::Standing,
        };
        engine.handle_packet(start, received);
    }
    let end = start + Duration::from_secs(60);
    while let Some(at) = engine.poll_timeout().filter(|at| *at <= end) {
        engine.handle_timeout(at);
        while engine.poll_transmit().is_some() {
            sent += 1;
        }
        while engine.poll_event().is_some() {}
    }
    sent
}

fn both(now: Instant) -> Dialects {
    let manner = Manner {
        domain: None,
        namespace: "vine".into(),
        leads: false,
    };
    let mut engine = Dialects::new(Dialect::Both, Config::default(), manner, 1);
    let interface = Interface {
        id: 1,
        name: "eth0".into(),
        addresses: vec![([10, 0, 0, 1].into(), 24)],
        kind: LinkKind::Wired,
    };
    engine.set_interfaces(now, vec![interface]);
    let node = Node::new("foo-2", "10.0.0.1:80");
    let service = Service::new("foo", "1.0.0")
        .with_namespace("vine")
        .with_node(node);
    // This fits.
    let _ = engine.register(now, 1, &Arc::new(service));
    engine.browse(now, Question::All);
    engine
}

fn ethernet() -> Interface {
    Interface {
        id: 1,
        name: "eth0".into(),
        addresses: vec![([10, 0, 0, 1].into(), 24)],
        kind: LinkKind::Wired,
    }
}

fn engine(now: Instant, config: Config) -> Engine {
    let mut engine = Engine::new(config, 1);
    engine.set_interfaces(now, vec![ethernet()]);
    let web = |id: &str, address: &str| {
        let node = Node::new(id, address);
        Arc::new(
            Service::new("web", "v1")
                .with_namespace("vine")
                .with_node(node),
        )
    };
    for service in [
        web("a", "10.0.0.1:80"),
        web("b", "0.0.0.0:81"),
        web("c", "host:82"),
    ] {
        // These fit.
        let _ = engine.register(now, 1, &service);
    }
    let question = Question::Service {
        namespace: "vine".into(),
        name: "web".into(),
    };
    engine.browse(now, Question::All);
    engine.browse(now, question.clone());
    engine.lookup(now, question, Wait::Settled);
    drain(&mut engine);
    engine
}

fn drain(engine: &mut Engine) {
    while engine.poll_transmit().is_some() {}
    while engine.poll_event().is_some() {}
}
