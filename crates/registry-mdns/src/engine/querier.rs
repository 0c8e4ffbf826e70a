//! Asking for good (RFC 6762 section 5.2): standing questions, refreshes, what is missing.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    Destination, Ending, Engine, Port, Question, Transmit,
    cache::{Address, Instance, Topic},
    lease::Expiry,
    links::LinkId,
    packing::{Unit, pack, pack_question},
    timers::Timer,
};
use crate::codec::{Ask, Message, Name, Record, kind};

const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// Thousandths of a lifetime by which the refreshes of different hosts are spread. What is heard
/// together is refreshed together.
pub(super) const MAX_JITTER: u32 = 20;
const LAST_INTERVAL: Duration = Duration::from_secs(3_600);
/// When to ask for the SRV, TXT or address that a pointer came without, after the last time.
const MISSING: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

impl Engine {
    /// Where the pointers to the nodes that answer a question stand.
    pub(super) fn topic(&self, question: &Question) -> Option<Name> {
        match question {
            Question::All => Some(self.names.service_type.clone()),
            Question::Service { name, .. } => self.names.subtype(name),
        }
    }

    pub(super) fn begin_browse(&mut self, now: Instant, question: &Question) {
        let Some(name) = self.topic(question) else {
            return;
        };
        let topic = self.cache.topics.entry(name.clone()).or_default();
        topic.browses += 1;
        if topic.browses == 1 {
            self.ask_soon(now, &name);
        }
    }

    pub(super) fn stop_browse(&mut self, question: &Question) {
        let Some(name) = self.topic(question) else {
            return;
        };
        if let Some(topic) = self.cache.topics.get_mut(&name) {
            topic.browses = topic.browses.saturating_sub(1);
        }
        self.release_topic(&name);
    }

    /// Forgets a topic that nobody asks for any more, and what was known only for it.
    pub(super) fn release_topic(&mut self, name: &Name) {
        let unused = |topic: &Topic| topic.browses == 0 && topic.lookups.is_empty();
        if !self.cache.topics.get(name).is_some_and(unused) {
            return;
        }
        let topic = self.cache.topics.remove(name);
        let is_wide = topic.as_ref().is_some_and(|topic| topic.is_wide);
        for instance in topic.into_iter().flat_map(|topic| topic.instances) {
            let Some(known) = self.cache.instances.get_mut(&instance) else {
                continue;
            };
            known.pointers.retain(|(topic, _)| topic != name);
            if known.pointers.is_empty() {
                self.forget_instance(&instance, Ending::Lost);
            }
        }
        if is_wide {
            self.narrow();
        }
    }

    /// Asks a standing question after the delay of RFC 6762 section 5.2 and at growing intervals
    /// from then on, but never twice in a second.
    pub(super) fn ask_soon(&mut self, now: Instant, name: &Name) {
        let jitter = self.jitter();
        self.ask_within(now, name, jitter);
    }

    /// RFC 6762 section 5.2.
    fn jitter(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(20..=120))
    }

    fn ask_within(&mut self, now: Instant, name: &Name, jitter: Duration) {
        let Some(topic) = self
            .cache
            .topics
            .get_mut(name)
            .filter(|topic| topic.browses > 0)
        else {
            return;
        };
        let soon = topic
            .asked
            .map_or(now, |asked| now.max(asked + FIRST_INTERVAL))
            + jitter;
        topic.interval = FIRST_INTERVAL;
        topic.plan(soon, now);
        self.arm_topic(name);
    }

    /// Asks a standing question by a time, even if others do.
    pub(super) fn ask_by(&mut self, name: &Name, at: Instant) {
        if let Some(topic) = self
            .cache
            .topics
            .get_mut(name)
            .filter(|topic| topic.browses > 0)
        {
            topic.plan(at, at + FIRST_INTERVAL);
            self.arm_topic(name);
        }
    }

    /// Asks all standing questions, together (RFC 6762 section 5.3).
    pub(super) fn ask_all_soon(&mut self, now: Instant) {
        let jitter = self.jitter();
        let topics: Vec<_> = self.cache.topics.keys().cloned().collect();
        for name in topics {
            self.ask_within(now, &name, jitter);
        }
    }

    pub(super) fn arm_topic(&mut self, name: &Name) {
        if let Some(topic) = self.cache.topics.get_mut(name)
            && let Some(next) = topic.next
        {
            self.timers
                .set(&mut topic.alarm, next, || Timer::Topic(name.clone()));
        }
    }

    pub(super) fn topic_due(&mut self, now: Instant, at: Instant, name: &Name) {
        let links = self.links.ids();
        let Some(topic) = self.cache.topics.get_mut(name) else {
            return;
        };
        if !topic.alarm.rings(at) || topic.browses == 0 {
            return;
        }
        if topic.next.is_some_and(|next| next <= now) {
            let served = topic
                .served_from
                .and_then(|from| topic.served(&links, from));
            if served.is_none() {
                self.batch.ask_pointers(name, topic.served_from);
            }
            let asked = served.unwrap_or(now);
            topic.asked = Some(asked);
            topic.next = Some(now.max(asked + topic.interval));
            topic.served_from = Some(asked + topic.interval / 2);
            topic.interval = (topic.interval * 2).min(LAST_INTERVAL);
        }
        self.arm_topic(name);
    }

    /// Looks after an instance: what is over goes, what is about to be over is asked for.
    pub(super) fn instance_due(&mut self, now: Instant, at: Instant, name: &Name) {
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        if !instance.alarm.rings(at) || self.links.is_empty() {
            return;
        }
        let ending = instance.ending(now, &self.expiry);
        let host = instance.srv.as_ref().map(|(srv, _)| srv.target.clone());
        let disturbed = instance.end_leases(now, &self.expiry);
        let left = host.filter(|_| instance.srv.is_none());
        let is_gone = instance.pointers.is_empty();
        self.batch.ask(now, instance.take_refreshes(now, name));
        if let Some(host) = left {
            self.cache.leave_host(&host, name);
        }
        for topic in disturbed {
            self.ask_soon(now, &topic);
        }
        if is_gone || self.try_instance(now, name) {
            self.forget_instance(name, ending);
            return;
        }
        let missing = self
            .cache
            .instances
            .get(name)
            .and_then(|known| known.ask_at);
        if missing.is_some_and(|ask_at| ask_at <= now) {
            self.ask_missing(now, name);
        }
        self.follow(now, name);
    }

    pub(super) fn host_due(&mut self, now: Instant, at: Instant, name: &Name) {
        let expiry = self.expiry;
        let Some(host) = self.cache.hosts.get_mut(name) else {
            return;
        };
        if !host.alarm.rings(at) || self.links.is_empty() {
            return;
        }
        let before = host.addresses.len();
        host.addresses
            .retain(|known| !known.lease.is_over(now, &expiry));
        let users = match host.addresses.len() < before {
            true => host.users.iter().cloned().collect(),
            false => Vec::new(),
        };
        let due = |known: &mut Address| known.lease.take_refresh(now).then(|| known.kind());
        let kinds: Vec<_> = host.addresses.iter_mut().filter_map(due).collect();
        let asks = kinds.into_iter().map(|kind| (name.clone(), kind));
        self.batch.ask(now, asks);
        self.arm_host(name);
        for user in users {
            if let Some(instance) = self.cache.instances.get_mut(&user) {
                instance.is_dirty = true;
            }
            self.follow(now, &user);
        }
    }

    /// What an instance lacks to be a node.
    fn missing(&self, name: &Name, instance: &Instance) -> Vec<(Name, u16)> {
        if instance.node.is_some() || instance.pointers.is_empty() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        if instance.srv.is_none() {
            missing.push((name.clone(), kind::SRV));
        }
        if instance.txt.is_none() {
            missing.push((name.clone(), kind::TXT));
        }
        if let (Some((srv, _)), Some(txt)) = (&instance.srv, &instance.txt)
            && txt
                .facts
                .as_ref()
                .is_some_and(|facts| facts.address.is_none())
        {
            missing.push((srv.target.clone(), kind::A));
            missing.push((srv.target.clone(), kind::AAAA));
        }
        missing
    }

    /// Plans to ask for what is missing: it may be in the next packet.
    pub(super) fn ask_for_missing(&mut self, now: Instant, name: &Name) {
        let Some(instance) = self.cache.instances.get(name) else {
            return;
        };
        let is_complete = self.missing(name, instance).is_empty();
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        if is_complete {
            instance.asked = 0;
            instance.ask_at = None;
        } else if instance.ask_at.is_none()
            && let Some(delay) = MISSING.get(instance.asked as usize)
        {
            instance.ask_at = Some(now + *delay);
        }
    }

    fn ask_missing(&mut self, now: Instant, name: &Name) {
        let Some(instance) = self.cache.instances.get(name) else {
            return;
        };
        let missing = self.missing(name, instance);
        let is_looked_up = instance.pointers.iter().any(|(topic, _)| {
            let topic = self.cache.topics.get(topic);
            topic.is_some_and(|topic| !topic.lookups.is_empty())
        });
        // Those who wait for the answer ask from the query sockets, too: that is answered at once,
        // and may be repeated within a second.
        if is_looked_up && !missing.is_empty() {
            let asks = missing
                .iter()
                .map(|(name, kind)| Ask::new(name.clone(), *kind))
                .collect();
            let links = self.links.ids();
            self.ask_once(now, asks, [Vec::new(), Vec::new()], &links, true);
        }
        self.batch.ask(now, missing);
        if let Some(instance) = self.cache.instances.get_mut(name) {
            instance.asked += 1;
            instance.ask_at = None;
        }
    }

    /// Sends the standing questions that have come together, but for those that others have just
    /// asked (RFC 6762 section 7.3).
    pub(super) fn flush_questions(&mut self, now: Instant) {
        let topics = std::mem::take(&mut self.batch.topics);
        let others = std::mem::take(&mut self.batch.asks);
        if topics.is_empty() && others.is_empty() {
            return;
        }
        self.jitter = self.random.u32(0..=MAX_JITTER);
        let mut packets = Packets::default();
        for link in self.links.ids() {
            let topics = topics
                .iter()
                .filter(|(name, from)| !from.is_some_and(|from| self.is_served(link, name, from)));
            let topics: Vec<_> = topics.map(|(name, _)| name.clone()).collect();
            let others = others
                .iter()
                .filter(|(name, kind)| !self.overheard.is_asked(now, link, name, *kind));
            let others: Vec<_> = others.cloned().collect();
            for payload in packets.of(self, now, topics, others) {
                self.echoes.expect(now, link, &payload);
                self.send(now, link, Port::Standing, Destination::Multicast, payload);
            }
        }
    }

    /// The pointers of a topic that need not be told again (RFC 6762 section 7.1). Those of own
    /// nodes are among them, since nobody answers himself: so others can tell what this question
    /// will not tell them. Their lifetime is too short to keep another holder from answering.
    fn known_answers(&self, now: Instant, topic: &Name) -> Vec<Record> {
        let mut own = Vec::new();
        self.each_pointer(topic, |answer| {
            self.own.records(&self.names, answer, None, &mut own)
        });
        let own = own.into_iter().map(|record| Record { ttl: 1, ..record });
        self.cache
            .known_answers(now, topic)
            .into_iter()
            .chain(own)
            .collect()
    }

    fn is_served(&self, link: LinkId, topic: &Name, from: Instant) -> bool {
        let topic = self.cache.topics.get(topic);
        topic.is_some_and(|topic| topic.served_on(link, from).is_some())
    }

    /// Sends a packet, but not before `at`; false if its destination has been sent too much.
    pub(super) fn send_at(&mut self, now: Instant, at: Instant, transmit: Transmit) -> bool {
        let is_near = self.is_near(transmit.to);
        self.outbox.allow_for(self.own.len());
        let goes = self.outbox.push(now, at, is_near, transmit);
        self.arm_outbox();
        goes
    }

    /// Sends a token, also to who has been sent too much otherwise.
    pub(super) fn send_token_at(&mut self, now: Instant, at: Instant, transmit: Transmit) {
        let is_near = self.is_near(transmit.to);
        self.outbox.push_token(now, at, is_near, transmit);
        self.arm_outbox();
    }

    /// Whether a host has been sent all that it may be sent at present.
    pub(super) fn is_spent(&mut self, now: Instant, host: IpAddr) -> bool {
        self.outbox.allow_for(self.own.len());
        !self.links.is_own(host.to_canonical()) && self.outbox.is_spent(now, host)
    }

    fn is_near(&self, to: Destination) -> bool {
        match to {
            Destination::Multicast => false,
            Destination::Unicast(to) => self.links.is_own(to.ip().to_canonical()),
        }
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        (interface, family): LinkId,
        port: Port,
        to: Destination,
        payload: Vec<u8>,
    ) {
        let transmit = Transmit {
            payload,
            interface,
            family,
            port,
            to,
        };
        self.send_at(now, now, transmit);
    }
}

/// Questions as packets: most often the same for each link.
#[derive(Default)]
struct Packets {
    topics: Vec<Name>,
    others: Vec<(Name, u16)>,
    payloads: Vec<Vec<u8>>,
}

impl Packets {
    fn of(
        &mut self,
        engine: &Engine,
        now: Instant,
        topics: Vec<Name>,
        others: Vec<(Name, u16)>,
    ) -> Vec<Vec<u8>> {
        if self.topics != topics || self.others != others {
            self.payloads.clear();
            if !topics.is_empty() {
                let known = topics
                    .iter()
                    .flat_map(|topic| engine.known_answers(now, topic));
                let asks = topics
                    .iter()
                    .map(|topic| Ask::new(topic.clone(), kind::PTR));
                self.payloads.extend(pack_question(
                    0,
                    asks.collect(),
                    known.collect(),
                    Vec::new(),
                ));
            }
            let units = others.iter().map(|(name, kind)| Unit {
                questions: vec![Ask::new(name.clone(), *kind)],
                ..Unit::default()
            });
            self.payloads
                .extend(pack(&Message::query(), units.collect()));
            (self.topics, self.others) = (topics, others);
        }
        self.payloads.clone()
    }
}

impl Topic {
    /// When others asked on each of the links since `from`.
    fn served(&self, links: &[LinkId], from: Instant) -> Option<Instant> {
        let served = links.iter().map(|link| self.served_on(*link, from));
        served.min().flatten()
    }

    /// Plans to ask by `at`; what others ask from `served_from` on does as well.
    fn plan(&mut self, at: Instant, served_from: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        self.served_from = self.served_from.max(Some(served_from));
    }
}

impl Instance {
    /// How it has ended if its pointers are over now. That nobody says otherwise within a second makes a
    /// goodbye without SRV one (RFC 6762 section 10.1).
    fn ending(&self, now: Instant, expiry: &Expiry) -> Ending {
        let mut pointers = self.pointers.iter();
        match pointers.any(|(_, lease)| lease.is_said() && lease.is_over(now, expiry)) {
            true => Ending::Said,
            false => Ending::Lost,
        }
    }

    /// Drops what is over; gives the topics that missed it, if anything was.
    fn end_leases(&mut self, now: Instant, expiry: &Expiry) -> Vec<Name> {
        if !self.leases().any(|lease| lease.is_over(now, expiry)) {
            return Vec::new();
        }
        let topics = self
            .pointers
            .iter()
            .map(|(topic, _)| topic.clone())
            .collect();
        self.pointers
            .retain(|(_, lease)| !lease.is_over(now, expiry));
        self.srv.take_if(|(_, lease)| lease.is_over(now, expiry));
        self.txt.take_if(|txt| txt.lease.is_over(now, expiry));
        self.is_dirty = true;
        topics
    }

    /// What to ask for so that it does not end. Who answers for a pointer sends the rest along.
    fn take_refreshes(&mut self, now: Instant, name: &Name) -> Vec<(Name, u16)> {
        let mut wanted = Vec::new();
        for (topic, lease) in &mut self.pointers {
            if lease.take_refresh(now) {
                wanted.push((topic.clone(), kind::PTR));
            }
        }
        let by_pointer = !wanted.is_empty();
        let srv = self
            .srv
            .as_mut()
            .is_some_and(|(_, lease)| lease.take_refresh(now));
        let txt = self
            .txt
            .as_mut()
            .is_some_and(|txt| txt.lease.take_refresh(now));
        if srv && !by_pointer {
            wanted.push((name.clone(), kind::SRV));
        }
        if txt && !by_pointer {
            wanted.push((name.clone(), kind::TXT));
        }
        wanted
    }
}
