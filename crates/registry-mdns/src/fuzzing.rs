//! What fuzz targets call. Nothing here is part of the API.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Node, Service, Wait};

use crate::{
    engine::{Config, Engine, Interface, LinkKind, Port, Question, Received},
    mapping::{Extras, decode},
};

/// Feeds a packet to an engine with registrations, browses and a look-up, in every way that it may
/// arrive, and lets a minute pass.
pub fn packet(payload: &[u8]) {
    let start = tokio::time::Instant::now().into_std();
    let mut engine = engine(start);
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

/// Reads a TXT record.
pub fn txt(bytes: &[u8]) {
    let _ = decode(bytes, &mut Extras::default());
}

fn engine(now: Instant) -> Engine {
    let mut engine = Engine::new(Config::default(), 1);
    let interface = Interface {
        id: 1,
        name: "eth0".into(),
        addresses: vec![([10, 0, 0, 1].into(), 24)],
        kind: LinkKind::Wired,
    };
    engine.set_interfaces(now, vec![interface]);
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
