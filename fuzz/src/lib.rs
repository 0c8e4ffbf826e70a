//! An mDNS engine without sockets and without a clock, for the fuzz targets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Node, Service, Wait, validate};
use vine_registry_mdns::engine::{
    Config, Engine, EngineEvent, Interface, LinkKind, Port, Question, Received, Remote,
};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// An engine that has registered a node, asks for all services, and looks one up.
pub struct Host {
    engine: Engine,
    now: Instant,
    /// What it was told of.
    pub found: Vec<Remote>,
    sent: usize,
}

impl Host {
    pub fn new() -> Self {
        let mut engine = Engine::new(Config::default(), 7);
        let now = Instant::now();
        let link = Interface {
            id: 1,
            name: "lo".into(),
            addresses: vec![(HERE.into(), 24)],
            kind: LinkKind::Wired,
        };
        engine.set_interfaces(now, vec![link]);
        let service = Service::new("go.vine.fuzz", "v1")
            .with_namespace("vine")
            .with_node(Node::new("n1", "10.0.0.1:80"));
        let registered = engine.register(now, 1_700_000_000_000, &Arc::new(service));
        assert!(registered.is_ok());
        engine.browse(now, Question::All);
        let service = Question::Service {
            namespace: "vine".into(),
            name: "go.vine.other".into(),
        };
        engine.lookup(now, service, Wait::Settled);
        let mut host = Self {
            engine,
            now,
            found: Vec::new(),
            sent: 0,
        };
        host.drain();
        host
    }

    /// A packet arrives: at the group or at the port that one-shot questions leave from.
    pub fn receive(&mut self, payload: &[u8], multicast: bool) {
        let received = Received {
            payload,
            source: SocketAddr::from((THERE, 5353)),
            interface: 1,
            port: if multicast {
                Port::Standing
            } else {
                Port::Query
            },
            multicast,
        };
        self.engine.handle_packet(self.now, received);
        self.drain();
    }

    /// Time goes by, with all that the engine wants to do in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let Some(next) = self.engine.poll_timeout().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        panic!("the engine wakes again and again within {time:?}");
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            assert!(transmit.payload.len() <= 8_972, "RFC 6762 section 17");
            self.sent += 1;
            assert!(self.sent < 10_000, "one packet makes it send without end");
        }
        while let Some(event) = self.engine.poll_event() {
            if let EngineEvent::Found(remote) | EngineEvent::Changed(remote) = event {
                let Service {
                    namespace, name, ..
                } = &*remote.service;
                for (field, text) in [
                    ("namespace", namespace),
                    ("name", name),
                    ("id", &remote.node.id),
                ] {
                    if let Err(error) = validate::name(field, text, usize::MAX) {
                        panic!("what can't be registered is found: {error}");
                    }
                }
                self.found.push(remote);
            }
        }
    }
}

/// An announcement of one node, whose TXT record is `txt`.
pub fn announcement(txt: &[u8]) -> Vec<u8> {
    let kind = name(&["_vine", "_tcp", "local"]);
    let instance = name(&["n2-0123456789abcdef", "_vine", "_tcp", "local"]);
    let host = name(&["vine-01234567", "local"]);
    let mut srv = vec![0, 0, 0, 0, 0, 80];
    srv.extend(&host);
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    for (owner, record, class, data) in [
        (&kind, 12, 0x0001, &instance),
        (&instance, 33, 0x8001, &srv),
        (&instance, 16, 0x8001, &txt.to_vec()),
        (&host, 1, 0x8001, &THERE.octets().to_vec()),
    ] {
        packet.extend(owner);
        packet.extend(u16::to_be_bytes(record));
        packet.extend(u16::to_be_bytes(class));
        packet.extend(120_u32.to_be_bytes());
        packet.extend((data.len() as u16).to_be_bytes());
        packet.extend(data);
    }
    packet
}

fn name(labels: &[&str]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(label.len() as u8);
        name.extend(label.bytes());
    }
    name.push(0);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_announcement_is_found() {
        let strings = [
            "txtvers=1",
            "ns=vine",
            "n=go.vine.test",
            "v=v1",
            "id=n2",
            "m.os=linux",
        ];
        let mut txt = Vec::new();
        for string in strings {
            txt.push(string.len() as u8);
            txt.extend(string.bytes());
        }
        let mut host = Host::new();
        host.receive(&announcement(&txt), true);
        host.pass(Duration::from_secs(5));
        assert_eq!(host.found.len(), 1);
        assert_eq!(&*host.found[0].service.name, "go.vine.test");
        assert_eq!(host.found[0].node.metadata.get("os"), Some("linux"));
    }
}
