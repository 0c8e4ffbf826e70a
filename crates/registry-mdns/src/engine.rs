//! The mDNS engine: packets and calls in, packets, events and deadlines out.
//!
//! It knows no socket, no clock and no runtime. Its driver calls it like this:
//!
//! 1. After any call, send what [`Engine::poll_transmit`] gives and take what
//!    [`Engine::poll_event`] gives, each until there is nothing more. Packets are put together
//!    when they are polled, so that several calls in a row share packets.
//! 2. Then wait for a packet ([`Engine::handle_packet`]), for [`Engine::poll_timeout`]
//!    ([`Engine::handle_timeout`]), or for the next call.
//!
//! Time goes in as an argument and never goes back.

mod blobs;
mod cache;
mod dialects;
mod echoes;
mod event;
mod foreign;
mod go;
mod intake;
mod io;
mod lease;
mod links;
mod lookup;
mod outage;
mod outbox;
mod overheard;
mod own;
mod packing;
mod peers;
mod prober;
mod querier;
mod quota;
mod receipts;
mod reconfirm;
mod resolve;
mod responder;
mod timers;
mod trust;
mod version;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::BuildHasher,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use dialects::Dialects;
pub use event::{
    Config, Counters, Ending, EngineEvent, LookupId, NodeKey, Outcome, Question, Registered, Remote,
};
pub(crate) use go::{Manner, check_name, try_payload};
pub use io::{Destination, Family, Interface, LinkKind, Port, Received, Transmit};
use vine_registry::{Result, Service, Wait};

use self::{
    blobs::Blobs,
    cache::Cache,
    echoes::Echoes,
    intake::{Asked, Origin},
    lease::{Expiry, Source},
    links::Links,
    lookup::Lookup,
    outbox::Outbox,
    overheard::{Overheard, UNDER_WAY},
    own::{Goodbye, Registrations},
    peers::Peers,
    querier::MAX_JITTER,
    quota::Quota,
    responder::Deferred,
    timers::{Alarm, Timer, Timers},
    trust::Latest,
    version::Identity,
};
use crate::{
    codec::{Message, Name, Record},
    mapping::{Names, Writer},
};

/// One participant in mDNS: what it registers, what it asks for and what it knows.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    names: Names,
    random: fastrand::Rng,
    hasher: foldhash::fast::RandomState,
    /// Makes tokens that nobody can guess.
    secret: std::hash::RandomState,
    links: Links,
    own: Registrations,
    writer: Writer,
    cache: Cache,
    blobs: Blobs,
    /// With keys: the latest that was said of each instance.
    latest: HashMap<Name, Latest>,
    lookups: HashMap<LookupId, Lookup>,
    /// The one-shot questions that were asked of late, by id.
    asked: HashMap<u16, Asked>,
    deferred: HashMap<SocketAddr, Deferred>,
    goodbyes: Vec<Goodbye>,
    goodbye_alarm: Alarm,
    timers: Timers,
    echoes: Echoes,
    overheard: Overheard,
    peers: Peers,
    quota: Quota<Name>,
    /// Thousandths of their lifetime by which what is heard now is refreshed later than it could be.
    jitter: u32,
    batch: Batch,
    outbox: Outbox,
    events: VecDeque<EngineEvent>,
    counters: Counters,
    /// Look-ups for which something new came.
    stirred: BTreeSet<LookupId>,
    next_lookup: u64,
    last_stamp: u64,
    /// The latest time that was told.
    now: Option<Instant>,
    is_stale: bool,
    expiry: Expiry,
}

/// What has come together to be sent.
#[derive(Debug, Default)]
struct Batch {
    /// Standing questions for pointers, and from when on another's question does as well.
    topics: BTreeMap<Name, Option<Instant>>,
    /// Questions for other records.
    asks: BTreeSet<(Name, u16)>,
    probes: BTreeSet<NodeKey>,
    /// And whether the pointers go along.
    announcements: BTreeMap<NodeKey, bool>,
    goodbyes: Vec<Vec<Record>>,
}

impl Batch {
    fn ask(&mut self, now: Instant, questions: impl IntoIterator<Item = (Name, u16)>) {
        for (name, kind) in questions {
            if kind == crate::codec::kind::PTR {
                self.ask_pointers(&name, now.checked_sub(UNDER_WAY));
            } else {
                self.asks.insert((name, kind));
            }
        }
    }

    /// Asks, unless somebody else asks or has asked at `served_from` or later.
    fn ask_pointers(&mut self, name: &Name, served_from: Option<Instant>) {
        let planned = self.topics.entry(name.clone()).or_insert(served_from);
        *planned = planned.zip(served_from).map(|(one, other)| one.max(other));
    }
}

impl Engine {
    /// An engine without interfaces: it sends nothing until [`set_interfaces`](Self::set_interfaces).
    ///
    /// `seed` must differ between engines, in one process too: delays, ids of questions and the
    /// host names of the registered nodes come from it.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            config,
            names: Names::new(),
            jitter: random.u32(0..=MAX_JITTER),
            random,
            hasher: foldhash::fast::RandomState::default(),
            secret: std::hash::RandomState::new(),
            links: Links::default(),
            own: Registrations::new(seed),
            writer: Writer::default(),
            cache: Cache::default(),
            blobs: Blobs::default(),
            latest: HashMap::new(),
            lookups: HashMap::new(),
            asked: HashMap::new(),
            deferred: HashMap::new(),
            goodbyes: Vec::new(),
            goodbye_alarm: Alarm::default(),
            timers: Timers::default(),
            echoes: Echoes::default(),
            overheard: Overheard::default(),
            peers: Peers::default(),
            quota: Quota::default(),
            batch: Batch::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            stirred: BTreeSet::new(),
            next_lookup: 0,
            last_stamp: 0,
            now: None,
            is_stale: false,
            expiry: Expiry::default(),
        }
    }

    /// Says which interfaces there are to use. Call it again whenever that changes.
    ///
    /// On new ones, registrations are announced and questions asked again. Once there was a
    /// network, to be left with none, or with loopback alone, is an outage
    /// ([`EngineEvent::Stale`]): what was heard there does not expire until ten seconds after it is
    /// over ([`EngineEvent::Live`]). What is on this very host goes on by loopback; without any
    /// interface, look-ups end at once.
    pub fn set_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let now = self.advance(now);
        self.follow_interfaces(now, interfaces);
    }

    /// The machine slept for so long, during which the clock that `now` is of stood still: what is
    /// known may be over, and what is registered here forgotten. So it is asked for and announced
    /// again, and nothing expires for ten seconds.
    ///
    /// Call it before anything else that tells the time after it.
    pub fn wake(&mut self, now: Instant, slept: Duration) {
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        self.wake_up(now, slept);
    }

    /// Somebody could not reach a node: asks whether it is still there at once, after 250 ms and
    /// after a second, and has it [gone](EngineEvent::Gone) after two seconds without an answer
    /// (RFC 6762 section 10.4). In an outage nothing can be asked, and nothing is done.
    pub fn reconfirm(
        &mut self,
        now: Instant,
        namespace: &Arc<str>,
        name: &Arc<str>,
        id: &Arc<str>,
    ) {
        let now = self.advance(now);
        self.begin_trial(now, &Identity::new(namespace, name, id));
    }

    /// Whether an answer can be given for certain: always but in an outage, and then for what is
    /// known to be on this very host alone.
    #[must_use]
    pub fn is_certain(&self, question: &Question) -> bool {
        self.is_known_for_certain(question)
    }

    /// Takes a packet in.
    pub fn handle_packet(&mut self, now: Instant, received: Received<'_>) {
        let now = self.advance(now);
        let Ok(mut message) = Message::decode(received.payload) else {
            self.counters.malformed += 1;
            return;
        };
        let source = received.source.ip().to_canonical();
        let link = (received.interface, Family::of(source));
        let is_on_link = self.links.is_on_link(received.interface, source);
        let by = self.source(link, received.source.ip());
        self.cache.extras.come_from(by.host);
        if !message.plain || self.links.get_mut(link).is_none() {
            self.counters.ignored += 1;
        } else if !message.response {
            let is_near = received.port == Port::Standing && self.links.is_own(source);
            if is_near && self.echoes.take(now, link, received.payload) {
                return;
            }
            // RFC 6762 section 11: never answer off the link.
            if is_on_link && received.port == Port::Standing && received.source.port() != 0 {
                self.vet_probe(&mut message);
                self.take_query(now, message, received.source, link, received.multicast);
            } else {
                self.counters.ignored += 1;
            }
        } else if let Some(origin) = self.origin(now, &message, &received, link)
            && (received.multicast && self.config.knows_destinations || is_on_link)
        {
            self.vet(now, &mut message);
            self.take_response(now, &message, &origin);
        } else {
            self.counters.ignored += 1;
        }
    }

    /// Where an answer comes from; none if it answers nothing (RFC 6762 section 6).
    fn origin(
        &self,
        now: Instant,
        message: &Message,
        received: &Received<'_>,
        link: links::LinkId,
    ) -> Option<Origin> {
        if received.source.port() != self.config.port {
            return None;
        }
        let asked = match received.port {
            Port::Standing => None,
            Port::Query => Some(self.asked(now, message.id)?.clone()),
        };
        Some(Origin {
            by: self.source(link, received.source.ip()),
            is_near: self.links.is_own(received.source.ip().to_canonical()),
            asked,
        })
    }

    fn source(&self, link: links::LinkId, address: IpAddr) -> Source {
        let hash = self.hasher.hash_one(address.to_canonical());
        Source {
            link,
            host: hash as u32,
        }
    }

    /// Does what is due. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(now) = self.now {
            self.run_timers(now);
            self.flush_registrations(now);
            self.flush_blobs(now);
            self.flush_questions(now);
        }
        self.outbox.pop()
    }

    /// What was [polled](Self::poll_transmit) went out at `now`, from when on the next packets to the same
    /// destinations are paced. Needs to be told only if that was later than what they answer.
    pub fn went_out(&mut self, now: Instant) {
        self.outbox.went_out(now);
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Registers the nodes of `service`, or changes them, or renews them: all of them or, on an
    /// error, none.
    ///
    /// `service` has its namespace and its effective ttl filled in; with a ttl, each of its nodes
    /// ends by itself unless it is registered or [renewed](Self::renew) again in time. A node
    /// whose id was registered under another version moves. `unix_ms` is the wall clock.
    ///
    /// A node of that id that somebody else registered is not [told](EngineEvent::Found) from then
    /// on, and not told as gone either.
    ///
    /// # Errors
    /// [`TooLarge`](vine_registry::Error::TooLarge) when a node does not fit into a record;
    /// [`InvalidService`](vine_registry::Error::InvalidService) when an address does not parse.
    pub fn register(
        &mut self,
        now: Instant,
        unix_ms: u64,
        service: &Arc<Service>,
    ) -> Result<Vec<Registered>> {
        let now = self.advance(now);
        self.register_nodes(now, unix_ms, service)
    }

    /// Begins the ttl of a registration anew. False if there is none by this key.
    pub fn renew(&mut self, now: Instant, key: NodeKey) -> bool {
        let now = self.advance(now);
        self.renew_node(now, key)
    }

    /// Ends a registration with a goodbye (RFC 6762 section 10.1). False if there is none by this
    /// key.
    pub fn deregister(&mut self, now: Instant, key: NodeKey) -> bool {
        let now = self.advance(now);
        self.deregister_node(now, key)
    }

    /// Begins to ask for nodes for good (RFC 6762 section 5.2). Browses are counted: each wants
    /// its [`end_browse`](Self::end_browse).
    ///
    /// Nodes of other namespaces, and of other names that are spelled alike, may be told as well.
    pub fn browse(&mut self, now: Instant, question: Question) {
        let now = self.advance(now);
        self.begin_browse(now, &question);
    }

    /// Ends a browse. Nodes that nobody asks for any more are told as gone.
    pub fn end_browse(&mut self, now: Instant, question: &Question) {
        self.advance(now);
        self.stop_browse(question);
    }

    /// Asks for nodes once, and tells when the answer is [complete](EngineEvent::LookupDone). The
    /// nodes that this engine has registered itself count as found.
    ///
    /// Begin a [browse](Self::browse) before it, or what it finds is forgotten when it is done.
    pub fn lookup(&mut self, now: Instant, question: Question, wait: Wait) -> LookupId {
        let now = self.advance(now);
        self.begin_lookup(now, question, wait)
    }

    /// Gives a look-up up; its end is not told.
    pub fn cancel_lookup(&mut self, now: Instant, id: LookupId) {
        self.advance(now);
        self.end_lookup(id);
    }

    /// Packets were lost before they could be read: look-ups ask again before they settle.
    pub fn lose_packets(&mut self) {
        self.lookups_lost_packets();
        for link in self.links.iter_mut() {
            link.delays.lossy = true;
        }
    }

    /// Asks every browse's question again soon: packets may have been lost, as when a socket's
    /// buffer was full.
    pub fn ask_again(&mut self, now: Instant) {
        let now = self.advance(now);
        self.ask_all_soon(now);
    }

    /// Moves time on, which never goes back, and does what is due.
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
        let things = self.cache.instances.len()
            + self.cache.hosts.len()
            + self.cache.topics.len()
            + self.lookups.len()
            + self.blobs.len()
            + self.own.len();
        if self.timers.len() > FEW + 4 * things {
            let mut timers = std::mem::take(&mut self.timers);
            timers.retain(|at, timer| self.is_set(at, timer));
            self.timers = timers;
        }
    }

    fn is_set(&self, at: Instant, timer: &Timer) -> bool {
        let alarm = match timer {
            Timer::Own(key) => self.own.get(*key).map(|own| own.alarm),
            Timer::Goodbyes => Some(self.goodbye_alarm),
            Timer::Instance(name) => self.cache.instances.get(name).map(|known| known.alarm),
            Timer::Host(name) => self.cache.hosts.get(name).map(|known| known.alarm),
            Timer::Topic(name) => self.cache.topics.get(name).map(|known| known.alarm),
            Timer::Lookup(id) => self.lookups.get(id).map(|lookup| lookup.alarm()),
            Timer::Answers(id) => {
                let mut links = self.links.iter();
                links.find(|link| link.id == *id).map(|link| link.alarm)
            }
            Timer::Deferred(source) => self.deferred.get(source).map(Deferred::alarm),
            Timer::Blob(digest) => self.blobs.alarm(*digest),
            Timer::Outbox => Some(self.outbox.alarm),
        };
        alarm.is_some_and(|alarm| alarm.is_set(at))
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.pop(now) {
            match timer {
                Timer::Own(key) => self.own_due(now, at, key),
                Timer::Goodbyes => self.goodbyes_due(now, at),
                Timer::Instance(name) => self.instance_due(now, at, &name),
                Timer::Host(name) => self.host_due(now, at, &name),
                Timer::Topic(name) => self.topic_due(now, at, &name),
                Timer::Lookup(id) => self.lookup_due(now, at, id),
                Timer::Answers(link) => self.answers_due(now, at, link),
                Timer::Deferred(source) => self.deferred_due(now, at, source),
                Timer::Blob(digest) => self.blob_due(now, at, digest),
                Timer::Outbox => {
                    if self.outbox.alarm.rings(at) {
                        self.outbox.advance(now);
                        self.arm_outbox();
                    }
                }
            }
        }
    }

    fn arm_outbox(&mut self) {
        if let Some(next) = self.outbox.next() {
            self.timers
                .set(&mut self.outbox.alarm, next, || Timer::Outbox);
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sent: self.outbox.sent,
            throttled: self.outbox.throttled,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests;
