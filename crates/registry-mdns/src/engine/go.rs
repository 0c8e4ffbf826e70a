//! The dialect of Vine for Go and of go-micro: other names, other records and other rules than
//! DNS-SD, on the same port.
//!
//! It is a state machine as [`Engine`](super::Engine) is, and is driven in the same way. What it
//! takes care of, since readers and responders written in Go are easily upset:
//!
//! - Questions leave from the query sockets alone. From the standing port they would have Go
//!   processes answer each other's answers for seconds.
//! - A packet that is an answer is never answered, whatever questions it holds.
//! - Every answer has SRV, an address and TXT, in this order, of one node and with one lifetime: a
//!   Go reader asks for what is missing at once, again and again, and of two nodes keeps the last.
//! - There are no probes: they are questions from the standing port, and nobody reads them.
//!
//! Go processes neither refresh their announcements nor say when they are killed, so everything is
//! asked for again before its lifetime ends.

mod answers;
mod cache;
mod lookups;
mod names;
mod outage;
mod own;
mod packets;
mod payload;
mod questions;
mod room;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::NodeRef;

use self::{
    cache::{Known, Tombs},
    lookups::Lookup,
    own::Own,
    payload::Payloads,
    questions::{Listed, Topic},
};
pub(crate) use self::{names::check as check_name, payload::try_payload};
use super::{
    Config, Destination, EngineEvent, Family, LookupId, NodeKey, Port, Question, Received,
    Transmit,
    lease::{Expiry, Source},
    links::{LinkId, Links},
    outbox::Outbox,
    quota::Quota,
    timers::Timers,
    version::Identity,
};
use crate::{
    codec::Message,
    options::{Dialect, MdnsOptions},
};

/// The lifetime of a record, unless a registration has a shorter ttl.
const TTL: u32 = 120;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How this dialect is spoken.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// The domain of all namespaces; without one, each namespace is a domain.
    pub(crate) domain: Option<Arc<str>>,
    /// The namespace of who says none.
    pub(crate) namespace: Arc<str>,
    /// Whether this dialect alone decides who holds an id; beside DNS-SD it does not.
    pub(crate) leads: bool,
}

impl Manner {
    pub(crate) fn new(options: &MdnsOptions, namespace: Arc<str>) -> Self {
        Self {
            domain: options.domain.as_deref().map(Arc::from),
            namespace,
            leads: options.dialect == Dialect::Vine,
        }
    }
}

/// Something that has a deadline.
#[derive(Clone, Debug)]
enum Due {
    Own(NodeKey),
    Node(Identity),
    Topic(String),
    Lookup(LookupId),
    Outbox,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    by: Source,
    /// Whether the sender is on this host.
    is_near: bool,
}

/// One participant that speaks the Go dialect.
#[derive(Debug)]
pub(crate) struct Go {
    config: Config,
    manner: Manner,
    seed: u64,
    random: fastrand::Rng,
    hasher: foldhash::fast::RandomState,
    links: Links,
    own: Own,
    nodes: Map<Identity, Known>,
    tombs: Tombs,
    payloads: Payloads,
    quota: Quota<Identity>,
    topics: Map<String, Topic>,
    listed: Listed,
    browses: HashMap<Question, usize>,
    lookups: HashMap<LookupId, Lookup>,
    stirred: HashSet<LookupId>,
    timers: Timers<Due>,
    outbox: Outbox,
    events: VecDeque<EngineEvent>,
    now: Option<Instant>,
    is_stale: bool,
    expiry: Expiry,
}

impl Go {
    pub(crate) fn new(config: Config, manner: Manner, seed: u64) -> Self {
        Self {
            config,
            manner,
            seed,
            random: fastrand::Rng::with_seed(seed),
            links: Links::default(),
            own: Own::default(),
            nodes: Map::default(),
            tombs: Tombs::default(),
            payloads: Payloads::default(),
            quota: Quota::default(),
            topics: Map::default(),
            listed: Listed::default(),
            browses: HashMap::new(),
            lookups: HashMap::new(),
            stirred: HashSet::new(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            now: None,
            is_stale: false,
            expiry: Expiry::default(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// What is due is done when the packet has been taken in: it may be what was waited for.
    pub(crate) fn handle_packet(&mut self, now: Instant, received: Received<'_>) {
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        let Ok(message) = Message::decode(received.payload) else {
            return;
        };
        let source = received.source.ip().to_canonical();
        let link = (received.interface, Family::of(source));
        let is_on_link = self.links.is_on_link(received.interface, source);
        if !message.plain || self.links.get_mut(link).is_none() {
            return;
        }
        if message.response {
            let is_multicast = received.multicast && self.config.knows_destinations;
            if received.source.port() == self.config.port && (is_multicast || is_on_link) {
                let origin = Origin {
                    is_near: self.links.is_own(source),
                    by: Source {
                        link,
                        host: self.hasher.hash_one(source) as u32,
                    },
                };
                self.take_response(now, &message, origin);
            }
        } else if is_on_link && received.port == Port::Standing && received.source.port() != 0 {
            self.take_query(now, &message, received.source, link);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(now) = self.now {
            self.run_timers(now);
        }
        self.outbox.pop()
    }

    /// See [`Engine::went_out`](super::Engine::went_out).
    pub(crate) fn went_out(&mut self, now: Instant) {
        self.outbox.went_out(now);
    }

    pub(crate) fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Whether packets wait for their turn.
    pub(super) fn has_waiting(&self) -> bool {
        self.outbox.has_waiting()
    }

    /// How long nothing new must come before nothing new is to be expected, on any link.
    pub(super) fn quiet(&self) -> Duration {
        self.links.quiet()
    }

    /// The domain of a namespace.
    fn domain(&self, namespace: &Arc<str>) -> Arc<str> {
        Arc::clone(self.manner.domain.as_ref().unwrap_or(namespace))
    }

    /// The namespace of what is in a domain and says itself to be in another, perhaps in none.
    fn namespace(&self, domain: &str, said: Option<&Arc<str>>) -> Arc<str> {
        match (&self.manner.domain, said.filter(|said| !said.is_empty())) {
            (None, _) => domain.into(),
            (Some(_), Some(said)) => Arc::clone(said),
            (Some(_), None) => Arc::clone(&self.manner.namespace),
        }
    }

    fn send(
        &mut self,
        now: Instant,
        (interface, family): LinkId,
        port: Port,
        to: Destination,
        message: &Message,
    ) {
        let Some(payload) = message.encode() else {
            return;
        };
        let transmit = Transmit {
            payload,
            interface,
            family,
            port,
            to,
        };
        let is_near = match to {
            Destination::Multicast => false,
            Destination::Unicast(to) => self.links.is_own(to.ip().to_canonical()),
        };
        self.outbox.allow_for(self.own.len());
        self.outbox.push(now, now, is_near, transmit);
        self.arm_outbox();
    }

    fn arm_outbox(&mut self) {
        if let Some(next) = self.outbox.next() {
            self.timers
                .set(&mut self.outbox.alarm, next, || Due::Outbox);
        }
    }

    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        self.run_timers(now);
        self.tidy_timers();
        now
    }

    /// Whoever makes things come and go must not fill the memory with their deadlines.
    fn tidy_timers(&mut self) {
        const FEW: usize = 4_096;
        let things = self.nodes.len() + self.topics.len() + self.lookups.len() + self.own.len();
        if self.timers.len() > FEW + 4 * things {
            let mut timers = std::mem::take(&mut self.timers);
            timers.retain(|at, due| {
                let alarm = match due {
                    Due::Own(key) => self.own.get(*key).map(|own| own.alarm),
                    Due::Node(identity) => self.nodes.get(identity).map(|known| known.alarm),
                    Due::Topic(name) => self.topics.get(name).map(|topic| topic.alarm),
                    Due::Lookup(id) => self.lookups.get(id).map(|lookup| lookup.alarm),
                    Due::Outbox => Some(self.outbox.alarm),
                };
                alarm.is_some_and(|alarm| alarm.is_set(at))
            });
            self.timers = timers;
        }
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((at, due)) = self.timers.pop(now) {
            match due {
                Due::Own(key) => self.own_due(now, at, key),
                Due::Node(identity) => self.node_due(now, at, &identity),
                Due::Topic(name) => self.topic_due(now, at, &name),
                Due::Lookup(id) => self.lookup_due(now, at, id),
                Due::Outbox => {
                    if self.outbox.alarm.rings(at) {
                        self.outbox.advance(now);
                        self.arm_outbox();
                    }
                }
            }
        }
    }

    /// Who a node is, as this dialect counts.
    fn identity(node: &NodeRef) -> Identity {
        Identity::new(&node.namespace, &node.service, &node.id)
    }
}

#[cfg(test)]
mod tests;
