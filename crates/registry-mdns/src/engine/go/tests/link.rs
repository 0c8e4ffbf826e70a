//! A link in virtual time with hosts on it, on which processes share the port: ours, and models of
//! Go's with their faults.

use std::{
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Service, Wait};

use super::{
    super::{
        Manner,
        names::{name, text, under},
        packets::{NodeRecords, entry},
        payload::Payload,
    },
    reader::{Found, Reader},
    shared,
};
use crate::{
    codec::{Ask, Message, kind},
    engine::{
        Config, Destination, Dialects, EngineEvent, Interface, LinkKind, NodeKey, Outcome, Port,
        Question, Received,
    },
    mapping::Stamp,
    options::{Dialect, MdnsOptions},
};

const PORT: u16 = 5353;
const QUERY_PORT: u16 = 40_000;
const LATENCY: Duration = Duration::from_micros(200);

/// What runs on a host.
pub(super) enum Process {
    Ours(Box<Ours>),
    Go(Box<Go>),
}

pub(super) struct Ours {
    dialect: Dialect,
    namespace: Arc<str>,
    domain: Option<String>,
    engine: Option<Dialects>,
    keys: BTreeMap<String, NodeKey>,
    nodes: BTreeMap<String, Service>,
    events: Vec<EngineEvent>,
}

/// A process of Vine for Go, as it was seen to behave: it answers whatever has a question in it,
/// even answers, and asks at once for what is missing in an answer.
#[derive(Default)]
pub(super) struct Go {
    nodes: Vec<(Service, NodeRecords)>,
    announcements: Vec<Instant>,
    asked: Option<(String, Reader)>,
    pub(super) got: Vec<Found>,
    pub(super) listed: Vec<String>,
    watch: Reader,
    pub(super) watched: Vec<(bool, Found)>,
}

impl Process {
    pub(super) fn ours(dialect: Dialect) -> Self {
        Self::ours_in(dialect, "vine")
    }

    pub(super) fn ours_in(dialect: Dialect, namespace: &str) -> Self {
        Self::ours_with(dialect, namespace, None)
    }

    pub(super) fn ours_with(dialect: Dialect, namespace: &str, domain: Option<&str>) -> Self {
        Self::Ours(Box::new(Ours {
            dialect,
            namespace: namespace.into(),
            domain: domain.map(str::to_owned),
            engine: None,
            keys: BTreeMap::new(),
            nodes: BTreeMap::new(),
            events: Vec::new(),
        }))
    }

    /// A Go process with these services, of one node each.
    pub(super) fn go(services: &[Service]) -> Self {
        let nodes = services.iter().map(|service| {
            let node = service.nodes.nth(0).unwrap();
            let (host, port) = node.address.rsplit_once(':').unwrap();
            let mut payload = Payload::new(service, node, Stamp::default(), &node.address);
            payload.more = None;
            let topic = under(&service.name, &service.namespace);
            let records = NodeRecords {
                instance: name(&under(&node.id, &topic)).unwrap(),
                target: name("vm").unwrap(),
                port: port.parse().unwrap(),
                address: host.parse().unwrap(),
                txt: payload.encode().unwrap(),
                ttl: 120,
            };
            (service.clone(), records)
        });
        Self::Go(Box::new(Go {
            nodes: nodes.collect(),
            ..Go::default()
        }))
    }
}

impl Go {
    fn answers(&self, message: &Message) -> Vec<Message> {
        let mut answers = Vec::new();
        for question in &message.questions {
            let asked = text(&question.name).unwrap();
            for (service, records) in &self.nodes {
                let domain = &service.namespace;
                let list = under("_services", domain);
                if asked == under(&service.name, domain) {
                    answers.push(records.answer(0, question, true, true));
                } else if asked == list {
                    let entry = entry(&under(&service.name, &list), records.target.clone());
                    answers.push(entry.unwrap().answer(0, question, true, true));
                }
            }
        }
        answers
    }

    fn read(&mut self, message: &Message) -> usize {
        let Some((asked, reader)) = &mut self.asked else {
            return 0;
        };
        let before = reader.followups;
        if asked.starts_with("_services.") {
            let domain = asked.strip_prefix("_services.").unwrap();
            self.listed.extend(reader.list(message, domain));
        } else {
            let (name, domain) = asked.rsplit_once('.').unwrap();
            self.got.extend(reader.get(message, name, domain));
        }
        reader.followups - before
    }
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) from: usize,
    pub(super) port: Port,
    pub(super) to: Destination,
    pub(super) message: Message,
    payload: Arc<[u8]>,
}

impl Sent {
    pub(super) fn flags(&self) -> u16 {
        u16::from_be_bytes([self.payload[2], self.payload[3]])
    }

    /// Whether it is of the Go dialect and not DNS-SD.
    pub(super) fn is_go(&self) -> bool {
        let questions = self.message.questions.iter().map(|question| &question.name);
        let names = questions.chain(self.message.answers.iter().map(|record| &record.name));
        let local = names.filter_map(text).any(|name| name.ends_with(".local"));
        !local
    }
}

struct Flight {
    at: Instant,
    order: u64,
    to: usize,
    port: Port,
    source: SocketAddr,
    multicast: bool,
    payload: Arc<[u8]>,
}

/// The link and what is on it.
pub(super) struct Link {
    start: Instant,
    now: Instant,
    hosts: Vec<Ipv4Addr>,
    processes: Vec<(usize, Process)>,
    pub(super) sent: Vec<Sent>,
    /// Processes that are dead.
    killed: Vec<usize>,
    random: fastrand::Rng,
    flights: BinaryHeap<Flight>,
    order: u64,
}

impl Link {
    pub(super) fn new(seed: u64) -> Self {
        let start = tokio::time::Instant::now().into_std();
        Self {
            start,
            now: start,
            hosts: Vec::new(),
            processes: Vec::new(),
            sent: Vec::new(),
            killed: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            flights: BinaryHeap::new(),
            order: 0,
        }
    }

    pub(super) fn host(&mut self) -> usize {
        let number = self.hosts.len() as u8 + 1;
        self.hosts.push(Ipv4Addr::new(10, 0, 0, number));
        self.hosts.len() - 1
    }

    pub(super) fn interfaces(&self, host: usize) -> Vec<Interface> {
        vec![Interface {
            id: 1,
            name: "eth0".into(),
            addresses: vec![(IpAddr::V4(self.hosts[host]), 24)],
            kind: LinkKind::Wired,
        }]
    }

    pub(super) fn add(&mut self, host: usize, mut process: Process) -> usize {
        let interfaces = self.interfaces(host);
        let number = self.processes.len();
        match &mut process {
            Process::Ours(ours) => {
                let mut options = MdnsOptions::new().with_dialect(ours.dialect);
                options.domain.clone_from(&ours.domain);
                let manner = Manner::new(&options, Arc::clone(&ours.namespace));
                let seed = self.random.u64(..);
                let mut engine = Dialects::new(ours.dialect, Config::default(), manner, seed);
                engine.set_interfaces(self.now, interfaces);
                ours.engine = Some(engine);
            }
            Process::Go(go) => {
                let seconds = [0, 1, 3].map(Duration::from_secs);
                go.announcements = seconds.map(|after| self.now + after).into();
            }
        }
        self.processes.push((host, process));
        if let Process::Go(go) = &self.processes[number].1 {
            let probes = go.nodes.iter().map(|(_, records)| {
                let mut probe = Message::query();
                probe.questions = vec![Ask::new(records.instance.clone(), kind::PTR)];
                probe.authorities = records.announcement().answers;
                probe
            });
            for probe in probes.collect::<Vec<_>>() {
                let payload = probe.encode().unwrap();
                self.send(number, Port::Standing, Destination::Multicast, payload);
            }
        }
        self.settle(number);
        number
    }

    fn engine(&mut self, number: usize) -> &mut Ours {
        match &mut self.processes[number].1 {
            Process::Ours(ours) => ours,
            Process::Go(_) => panic!("{number} is a Go process"),
        }
    }

    pub(super) fn go(&mut self, number: usize) -> &mut Go {
        match &mut self.processes[number].1 {
            Process::Go(go) => go,
            Process::Ours(_) => panic!("{number} is no Go process"),
        }
    }

    pub(super) fn ours(&mut self, number: usize, act: impl FnOnce(&mut Dialects, Instant)) {
        let now = self.now;
        act(self.engine(number).engine.as_mut().unwrap(), now);
        self.settle(number);
    }

    pub(super) fn register(&mut self, number: usize, service: &Service) {
        let clock = 1_700_000_000_000 + (self.now - self.start).as_millis() as u64;
        let now = self.now;
        let ours = self.engine(number);
        let engine = ours.engine.as_mut().unwrap();
        for one in engine.register(now, clock, &shared(service)).unwrap() {
            let key = under(&one.node.id, &under(&service.name, &service.namespace));
            ours.nodes.remove(&key);
            ours.keys.insert(key, one.key);
        }
        self.settle(number);
    }

    /// Ends everything that a process has registered.
    pub(super) fn close(&mut self, number: usize) {
        let now = self.now;
        let ours = self.engine(number);
        for key in std::mem::take(&mut ours.keys).into_values() {
            assert!(ours.engine.as_mut().unwrap().deregister(now, key));
        }
        self.settle(number);
    }

    /// Ends a process without a word.
    pub(super) fn kill(&mut self, number: usize) {
        self.killed.push(number);
    }

    /// A Go process says goodbye and ends.
    pub(super) fn stop_go(&mut self, number: usize) {
        let goodbyes = self.go(number).nodes.iter().map(|(_, node)| node.clone());
        let goodbyes: Vec<_> = goodbyes.map(NodeRecords::goodbye).collect();
        for goodbye in goodbyes {
            let payload = goodbye.encode().unwrap();
            self.send(number, Port::Standing, Destination::Multicast, payload);
        }
        self.kill(number);
    }

    pub(super) fn browse(&mut self, number: usize, name: &str) {
        let question = of(name);
        self.ours(number, |engine, now| engine.browse(now, question));
    }

    /// Looks a service up; how it ended, and after how many ms.
    pub(super) fn lookup(&mut self, number: usize, question: Question) -> (Outcome, u64) {
        let began = self.now;
        let mut id = None;
        self.ours(number, |engine, now| {
            id = Some(engine.lookup(now, question, Wait::Settled));
        });
        for _ in 0..4_000 {
            let done = self
                .engine(number)
                .events
                .iter()
                .find_map(|event| match event {
                    EngineEvent::LookupDone { id: done, outcome } if Some(*done) == id => {
                        Some(*outcome)
                    }
                    _ => None,
                });
            if let Some(outcome) = done {
                return (outcome, (self.now - began).as_millis() as u64);
            }
            self.run_ms(1);
        }
        panic!("the look-up never ends");
    }

    /// A Go process asks, and reads what comes back within its 100 ms.
    pub(super) fn go_asks(&mut self, number: usize, asked: &str) -> usize {
        self.go(number).asked = Some((asked.to_owned(), Reader::default()));
        self.go_question(number);
        self.run_ms(100);
        let (_, reader) = self.go(number).asked.take().unwrap();
        reader.followups
    }

    fn go_question(&mut self, number: usize) {
        let asked = self
            .go(number)
            .asked
            .as_ref()
            .map(|(asked, _)| asked.clone());
        let mut question = Message::query();
        question.id = self.random.u16(1..);
        let asked = name(&asked.unwrap()).unwrap();
        question.questions = vec![Ask::new(asked, kind::PTR)];
        let payload = question.encode().unwrap();
        self.send(number, Port::Query, Destination::Multicast, payload);
    }

    /// A stranger on the link says something to a process.
    pub(super) fn stranger(&mut self, number: usize, multicast: bool, payload: &[u8]) {
        let port = if multicast {
            Port::Standing
        } else {
            Port::Query
        };
        self.deliver(
            number,
            port,
            SocketAddr::from(([10, 0, 0, 99], PORT)),
            multicast,
            payload,
        );
    }

    /// A stranger asks a process something.
    pub(super) fn ask(&mut self, number: usize, question: &Message) {
        self.ask_from(number, 50_000, &question.encode().unwrap());
    }

    pub(super) fn ask_from(&mut self, number: usize, port: u16, payload: &[u8]) {
        let source = SocketAddr::from(([10, 0, 0, 98], port));
        self.deliver(number, Port::Standing, source, true, payload);
    }

    pub(super) fn events(&mut self, number: usize) -> Vec<EngineEvent> {
        std::mem::take(&mut self.engine(number).events)
    }

    /// What a process knows of others.
    pub(super) fn known(&mut self, number: usize) -> Vec<Service> {
        self.engine(number).nodes.values().cloned().collect()
    }

    pub(super) fn sent_in_go_dialect(&self, number: usize) -> Vec<Sent> {
        let sent = self.sent.iter();
        let of = sent.filter(|sent| sent.from == number && sent.is_go());
        of.cloned().collect()
    }

    /// The names that a process has asked for in the Go dialect.
    pub(super) fn asked_by(&self, number: usize) -> Vec<String> {
        let sent = self.sent_in_go_dialect(number).into_iter();
        let questions = sent.filter(|sent| !sent.message.response);
        questions
            .inspect(|sent| assert_eq!(sent.port, Port::Query, "never from the shared port"))
            .flat_map(|sent| sent.message.questions)
            .filter_map(|question| text(&question.name))
            .collect()
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
        self.now = end;
    }

    fn due(&self, number: usize) -> Option<Instant> {
        match &self.processes[number].1 {
            _ if self.killed.contains(&number) => None,
            Process::Ours(ours) => ours.engine.as_ref()?.poll_timeout(),
            Process::Go(go) => go.announcements.first().copied(),
        }
    }

    fn step(&mut self, end: Instant) -> bool {
        let flight = self.flights.peek().map(|flight| flight.at);
        let timeouts = (0..self.processes.len()).filter_map(|number| self.due(number));
        let next = flight.into_iter().chain(timeouts).min();
        let Some(next) = next.filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        if flight == Some(next) {
            if let Some(flight) = self.flights.pop() {
                self.deliver(
                    flight.to,
                    flight.port,
                    flight.source,
                    flight.multicast,
                    &flight.payload,
                );
            }
            return true;
        }
        for number in 0..self.processes.len() {
            if self.due(number).is_some_and(|at| at <= self.now) {
                self.timeout(number);
            }
        }
        true
    }

    fn timeout(&mut self, number: usize) {
        let now = self.now;
        let mut payloads = Vec::new();
        match &mut self.processes[number].1 {
            Process::Ours(ours) => ours.engine.as_mut().unwrap().handle_timeout(now),
            Process::Go(go) => {
                go.announcements.remove(0);
                let all = go.nodes.iter();
                payloads.extend(all.filter_map(|(_, node)| node.announcement().encode()));
            }
        }
        for payload in payloads {
            self.send(number, Port::Standing, Destination::Multicast, payload);
        }
        self.settle(number);
    }

    fn deliver(
        &mut self,
        to: usize,
        port: Port,
        source: SocketAddr,
        multicast: bool,
        payload: &[u8],
    ) {
        if self.killed.contains(&to) {
            return;
        }
        let now = self.now;
        let (mut answers, mut questions) = (Vec::new(), 0);
        match &mut self.processes[to].1 {
            Process::Ours(ours) => {
                let received = Received {
                    payload,
                    source,
                    interface: 1,
                    port,
                    multicast,
                };
                ours.engine.as_mut().unwrap().handle_packet(now, received);
            }
            Process::Go(go) => {
                let message = Message::decode(payload).unwrap();
                if port == Port::Query {
                    questions = go.read(&message);
                } else {
                    answers = go.answers(&message);
                    if message.response {
                        go.watched.extend(go.watch.watch(&message, "vine"));
                    }
                }
            }
        }
        for answer in answers {
            let payload = answer.encode().unwrap();
            self.send(to, Port::Standing, Destination::Unicast(source), payload);
        }
        for _ in 0..questions {
            self.go_question(to);
        }
        self.settle(to);
    }

    /// Takes out of our engine what it has to tell and to send.
    fn settle(&mut self, number: usize) {
        let Process::Ours(ours) = &mut self.processes[number].1 else {
            return;
        };
        let Some(engine) = &mut ours.engine else {
            return;
        };
        let mut packets = Vec::new();
        while let Some(packet) = engine.poll_transmit() {
            packets.push(packet);
        }
        while let Some(event) = engine.poll_event() {
            match &event {
                EngineEvent::Found(node) => {
                    let before = ours.nodes.insert(key(node), (*node.service).clone());
                    assert_eq!(before, None, "found twice");
                }
                EngineEvent::Changed(node) => {
                    let after = (*node.service).clone();
                    assert!(ours.nodes.insert(key(node), after).is_some(), "not known");
                }
                EngineEvent::Gone(node, _) => {
                    assert!(ours.nodes.remove(&key(node)).is_some(), "gone twice");
                }
                EngineEvent::Replaced(lost) | EngineEvent::Expired(lost) => {
                    ours.keys.retain(|_, key| key != lost);
                }
                _ => {}
            }
            ours.events.push(event);
        }
        for packet in packets {
            self.send(number, packet.port, packet.to, packet.payload);
        }
    }

    fn send(&mut self, from: usize, port: Port, to: Destination, payload: Vec<u8>) {
        let payload: Arc<[u8]> = payload.into();
        self.sent.push(Sent {
            at_ms: (self.now - self.start).as_millis() as u64,
            from,
            port,
            to,
            message: Message::decode(&payload).unwrap(),
            payload: Arc::clone(&payload),
        });
        let host = self.processes[from].0;
        let source_port = match port {
            Port::Standing => PORT,
            Port::Query => QUERY_PORT + from as u16,
        };
        let source = SocketAddr::new(self.hosts[host].into(), source_port);
        for (number, (its_host, _)) in self.processes.iter().enumerate() {
            let address = IpAddr::V4(self.hosts[*its_host]);
            let (port, multicast) = match to {
                Destination::Multicast => (Port::Standing, true),
                Destination::Unicast(target) if target.ip() != address => continue,
                // The worst case: everybody who shares the port gets it.
                Destination::Unicast(target) if target.port() == PORT => (Port::Standing, false),
                Destination::Unicast(target) if target.port() == QUERY_PORT + number as u16 => {
                    (Port::Query, false)
                }
                Destination::Unicast(_) => continue,
            };
            self.order += 1;
            self.flights.push(Flight {
                at: self.now + LATENCY,
                order: self.order,
                to: number,
                port,
                source,
                multicast,
                payload: Arc::clone(&payload),
            });
        }
    }
}

fn key(node: &crate::engine::Remote) -> String {
    let service = &node.service;
    under(&node.node.id, &under(&service.name, &service.namespace))
}

pub(super) fn of(name: &str) -> Question {
    Question::Service {
        namespace: "vine".into(),
        name: name.into(),
    }
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
