//! A link that loses, delays, doubles and reorders packets, with engines on it.

use std::{
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Node, Service, Wait};

use super::reader::Reader;
use crate::{
    codec::Message,
    engine::{
        Config, Destination, Engine, EngineEvent, Interface, LinkKind, LookupId, NodeKey, Outcome,
        Port, Question, Received, Registered, Remote, Transmit,
    },
};

pub(super) const PORT: u16 = 5353;
/// Where the query socket of the first host is bound; those of others follow.
pub(super) const QUERY_PORT: u16 = 40_000;
/// The interface that leads to other hosts, and the one that does not.
pub(super) const ETH: u32 = 1;
pub(super) const LO: u32 = 9;
/// The wall clock at the beginning.
const EPOCH: u64 = 1_700_000_000_000;

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn of(name: &str) -> Question {
    Question::Service {
        namespace: "vine".into(),
        name: name.into(),
    }
}

/// A service with one node.
pub(super) fn service(name: &str, id: &str) -> Service {
    Service::new(name, "v1")
        .with_namespace("vine")
        .with_node(Node::new(id, "10.0.0.99:80"))
}

/// How bad the link is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Of a hundred packets.
    pub(super) loss: u32,
    pub(super) doubling: u32,
    /// Packets arrive after this at the latest; later ones may overtake.
    pub(super) delay: Duration,
}

/// An engine and its address.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) address: Ipv4Addr,
    /// Added to all delays of what it sends.
    pub(super) slowness: Duration,
    pub(super) is_connected: bool,
    /// None: at once, whatever comes.
    pub(super) reader: Option<Reader>,
    /// By its clock in ms.
    pub(super) skew: i64,
    /// What its events make up.
    pub(super) nodes: BTreeMap<String, Remote>,
    pub(super) events: Vec<EngineEvent>,
}

/// What becomes of a packet on its way from one host to another; none: it is lost.
pub(super) type Tamper = fn(usize, usize, &Message) -> Option<Message>;

/// A packet that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) from: usize,
    pub(super) port: Port,
    pub(super) to: Destination,
    pub(super) message: Message,
    pub(super) size: usize,
}

#[derive(Clone, Debug)]
struct Flight {
    at: Instant,
    order: u64,
    to: usize,
    interface: u32,
    port: Port,
    source: SocketAddr,
    multicast: bool,
    payload: Arc<[u8]>,
    /// Whether it waited for its reader already.
    is_read: bool,
}

/// A link and the hosts on it.
#[derive(Debug)]
pub(super) struct Net {
    start: Instant,
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    pub(super) faults: Faults,
    pub(super) tamper: Option<Tamper>,
    pub(super) sent: Vec<Sent>,
    random: fastrand::Rng,
    flights: BinaryHeap<Flight>,
    order: u64,
    /// When something is due for a host, or before.
    due: Option<Instant>,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        let start = tokio::time::Instant::now().into_std();
        Self {
            start,
            now: start,
            hosts: Vec::new(),
            faults: Faults::default(),
            tamper: None,
            sent: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            flights: BinaryHeap::new(),
            order: 0,
            due: None,
        }
    }

    /// A net with so many hosts on a wired link.
    pub(super) fn with_hosts(seed: u64, count: usize) -> Self {
        let mut net = Self::new(seed);
        for _ in 0..count {
            net.add_host(LinkKind::Wired);
        }
        net
    }

    pub(super) fn add_host(&mut self, kind: LinkKind) -> usize {
        let number = self.hosts.len() as u8 + 1;
        self.add_engine(Ipv4Addr::new(10, 0, 0, number), kind)
    }

    /// Adds an engine on a host, on which there may be another.
    pub(super) fn add_engine(&mut self, address: Ipv4Addr, kind: LinkKind) -> usize {
        let number = self.hosts.len();
        let mut engine = Engine::new(Config::default(), self.random.u64(..));
        engine.set_interfaces(self.now, vec![interface(address, kind)]);
        self.hosts.push(Host {
            engine,
            address,
            slowness: Duration::ZERO,
            is_connected: true,
            reader: None,
            skew: 0,
            nodes: BTreeMap::new(),
            events: Vec::new(),
        });
        self.settle(number);
        number
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn clock(&self, host: usize) -> u64 {
        let now = EPOCH + self.elapsed().as_millis() as u64;
        now.saturating_add_signed(self.hosts[host].skew)
    }

    pub(super) fn register(&mut self, host: usize, service: Service) -> NodeKey {
        self.register_all(host, service)[0].key
    }

    pub(super) fn register_all(&mut self, host: usize, service: Service) -> Vec<Registered> {
        let clock = self.clock(host);
        let engine = &mut self.hosts[host].engine;
        let shared = Arc::new(service.clone());
        let registered = engine.register(self.now, clock, &shared).unwrap();
        // From now on these are its own.
        for node in &service.nodes {
            let key = format!("{}/{}/{}", service.namespace, service.name, node.id);
            self.hosts[host].nodes.remove(&key);
        }
        self.settle(host);
        registered
    }

    pub(super) fn deregister(&mut self, host: usize, key: NodeKey) {
        assert!(self.hosts[host].engine.deregister(self.now, key));
        self.settle(host);
    }

    pub(super) fn browse(&mut self, host: usize, question: Question) {
        self.hosts[host].engine.browse(self.now, question);
        self.settle(host);
    }

    pub(super) fn lookup(&mut self, host: usize, question: Question, wait: Wait) -> LookupId {
        let id = self.hosts[host].engine.lookup(self.now, question, wait);
        self.settle(host);
        id
    }

    /// How a look-up ended, if it did.
    pub(super) fn done(&self, host: usize, id: LookupId) -> Option<Outcome> {
        let mut events = self.hosts[host].events.iter();
        events.find_map(|event| match event {
            EngineEvent::LookupDone { id: done, outcome } if *done == id => Some(*outcome),
            _ => None,
        })
    }

    /// Runs until a look-up is done; how, and how long after now.
    pub(super) fn run_lookup(&mut self, host: usize, id: LookupId) -> (Outcome, Duration) {
        let began = self.now;
        self.due = None;
        loop {
            if let Some(outcome) = self.done(host, id) {
                return (outcome, self.now - began);
            }
            assert!(self.step(began + secs(3_600)), "the look-up never ends");
        }
    }

    /// Another process takes the place of the one on a host, which says nothing any more.
    pub(super) fn restart(&mut self, host: usize) {
        let mut engine = Engine::new(Config::default(), self.random.u64(..));
        let address = self.hosts[host].address;
        engine.set_interfaces(self.now, vec![interface(address, LinkKind::Wired)]);
        let host_of = &mut self.hosts[host];
        host_of.engine = engine;
        host_of.nodes.clear();
        host_of.events.clear();
        self.settle(host);
    }

    pub(super) fn set_interfaces(&mut self, host: usize, interfaces: Vec<Interface>) {
        let now = self.now;
        self.hosts[host].engine.set_interfaces(now, interfaces);
        self.settle(host);
    }

    /// Puts a packet of a stranger on the link.
    pub(super) fn inject(&mut self, to: usize, source: SocketAddr, port: Port, message: &Message) {
        let payload = message.encode().unwrap();
        self.inject_bytes(to, source, port, &payload);
    }

    pub(super) fn inject_bytes(&mut self, to: usize, source: SocketAddr, port: Port, bytes: &[u8]) {
        let received = Received {
            payload: bytes,
            source,
            interface: ETH,
            port,
            multicast: port == Port::Standing,
        };
        self.hosts[to].engine.handle_packet(self.now, received);
        self.settle(to);
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.due = None;
        while self.step(end) {}
        self.now = end;
    }

    /// Does the next thing that happens before `end`, if there is one.
    fn step(&mut self, end: Instant) -> bool {
        let flight = self.flights.peek().map(|flight| flight.at);
        let due = |host: &Host| host.engine.poll_timeout();
        // Asking a thousand hosts for each of a million packets takes long.
        if self.due.is_none_or(|due| flight.is_none_or(|at| at >= due)) {
            self.due = self.hosts.iter().filter_map(due).min();
        }
        let timeout = self.due;
        let Some(next) = flight
            .into_iter()
            .chain(timeout)
            .min()
            .filter(|at| *at <= end)
        else {
            return false;
        };
        self.now = self.now.max(next);
        if flight == Some(next) {
            if let Some(flight) = self.flights.pop() {
                self.arrive(&flight);
            }
        } else {
            for host in 0..self.hosts.len() {
                if due(&self.hosts[host]).is_some_and(|at| at <= self.now) {
                    self.hosts[host].engine.handle_timeout(self.now);
                    self.settle(host);
                }
            }
            self.due = None;
        }
        true
    }

    fn arrive(&mut self, flight: &Flight) {
        let host = &mut self.hosts[flight.to];
        if !host.is_connected && flight.interface != LO {
            return;
        }
        if let Some(reader) = &mut host.reader {
            if !flight.is_read {
                if let Some(at) = reader.come(self.now, flight.port) {
                    self.order += 1;
                    self.flights.push(Flight {
                        at,
                        order: self.order,
                        is_read: true,
                        ..flight.clone()
                    });
                }
                return;
            }
            if reader.read(flight.port) {
                host.engine.lose_packets();
            }
        }
        let received = Received {
            payload: &flight.payload,
            source: flight.source,
            interface: flight.interface,
            port: flight.port,
            multicast: flight.multicast,
        };
        host.engine.handle_packet(self.now, received);
        self.settle(flight.to);
    }

    /// Takes out of an engine what it has to tell and to send.
    pub(super) fn settle(&mut self, from: usize) {
        while let Some(transmit) = self.hosts[from].engine.poll_transmit() {
            self.send(from, transmit);
        }
        let host = &mut self.hosts[from];
        self.due = self.due.into_iter().chain(host.engine.poll_timeout()).min();
        while let Some(event) = host.engine.poll_event() {
            match &event {
                EngineEvent::Found(node) => {
                    let before = host.nodes.insert(key(node), node.clone());
                    assert_eq!(before, None, "found twice");
                }
                EngineEvent::Changed(node) => {
                    let before = host.nodes.insert(key(node), node.clone());
                    assert!(before.is_some_and(|before| before != *node), "no change");
                }
                EngineEvent::Gone(node, _) => {
                    assert!(host.nodes.remove(&key(node)).is_some(), "gone twice");
                }
                _ => {}
            }
            host.events.push(event);
        }
    }

    fn send(&mut self, from: usize, transmit: Transmit) {
        let Host {
            address,
            slowness,
            is_connected,
            ..
        } = self.hosts[from];
        let message = Message::decode(&transmit.payload).expect("what is sent can be read");
        self.sent.push(Sent {
            at: self.elapsed(),
            from,
            port: transmit.port,
            to: transmit.to,
            message: message.clone(),
            size: transmit.payload.len(),
        });
        let port = match transmit.port {
            Port::Standing => PORT,
            Port::Query => QUERY_PORT + from as u16,
        };
        let is_local = transmit.interface == LO;
        let source_address = if is_local {
            Ipv4Addr::LOCALHOST
        } else {
            address
        };
        let source = SocketAddr::new(source_address.into(), port);
        let payload: Arc<[u8]> = transmit.payload.into();
        let hosts = 0..self.hosts.len();
        for to in hosts {
            let (to_port, multicast) = match transmit.to {
                Destination::Multicast => (Port::Standing, true),
                Destination::Unicast(target) if target.port() == QUERY_PORT + to as u16 => {
                    (Port::Query, false)
                }
                Destination::Unicast(target)
                    if target.port() == PORT
                        && (target.ip() == self.hosts[to].address || is_local) =>
                {
                    (Port::Standing, false)
                }
                Destination::Unicast(_) => continue,
            };
            let is_near = self.hosts[to].address == address;
            if is_local && !is_near {
                continue;
            }
            let payload = match self.tamper.filter(|_| from != to) {
                None => Arc::clone(&payload),
                Some(tamper) => match tamper(from, to, &message) {
                    Some(other) => other.encode().expect("can be written").into(),
                    None => continue,
                },
            };
            // What one sends comes back to oneself, faults or not.
            let copies = match (from == to || is_local, is_connected) {
                (true, _) => 1,
                (false, false) => 0,
                (false, true) => self.copies(),
            };
            for _ in 0..copies {
                let at = self.now + self.delay(from == to) + slowness;
                self.order += 1;
                self.flights.push(Flight {
                    at,
                    order: self.order,
                    to,
                    interface: transmit.interface,
                    port: to_port,
                    source,
                    multicast,
                    payload: Arc::clone(&payload),
                    is_read: false,
                });
            }
        }
    }

    fn copies(&mut self) -> u32 {
        if self.random.u32(0..100) < self.faults.loss {
            0
        } else if self.random.u32(0..100) < self.faults.doubling {
            2
        } else {
            1
        }
    }

    fn delay(&mut self, is_loop: bool) -> Duration {
        let most = if is_loop {
            0
        } else {
            self.faults.delay.as_micros() as u64
        };
        Duration::from_micros(100 + self.random.u64(0..=most))
    }

    /// The ids of the nodes that a host knows, with their versions and addresses.
    pub(super) fn known(&self, host: usize) -> Vec<String> {
        let nodes = self.hosts[host].nodes.values();
        nodes
            .map(|remote| {
                let service = &remote.service;
                format!("{}/{} {}", service.name, remote.node.id, service.version)
            })
            .collect()
    }

    /// What a host has sent since `since`.
    pub(super) fn sent_by(&self, host: usize, since: Duration) -> Vec<&Sent> {
        let by = |sent: &&Sent| sent.from == host && sent.at >= since;
        self.sent.iter().filter(by).collect()
    }
}

pub(super) fn loopback() -> Interface {
    Interface {
        id: LO,
        name: "lo".into(),
        addresses: vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)],
        kind: LinkKind::Loopback,
    }
}

pub(super) fn interface(address: Ipv4Addr, kind: LinkKind) -> Interface {
    Interface {
        id: ETH,
        name: "eth0".into(),
        addresses: vec![(IpAddr::V4(address), 24)],
        kind,
    }
}

fn key(remote: &Remote) -> String {
    let service = &remote.service;
    format!("{}/{}/{}", service.namespace, service.name, remote.node.id)
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Flight {}
