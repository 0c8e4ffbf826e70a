//! Answering questions (RFC 6762 section 6).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Destination, Engine, Interface, NodeKey, Port, Transmit,
    links::LinkId,
    lookup::MAX_KNOWN,
    own::{Answer, Own, Owner, TYPES_TTL},
    packing::{Unit, pack},
    receipts::MAX_TOKENS,
    timers::{Alarm, Timer},
    version::Version,
};
use crate::{
    codec::{self, Ask, Data, Message, Name, Record, kind},
    mapping::decode,
};

/// RFC 6762 section 6: a record is multicast once a second, in defence four times.
pub(super) const RATE: Duration = Duration::from_secs(1);
const DEFENCE_RATE: Duration = Duration::from_millis(250);
/// RFC 6762 section 6.7.
const LEGACY_TTL: u32 = 10;
/// Questions in several packets that are waited for at a time, and what all of them hold.
const MAX_DEFERRED: usize = 64;
const MAX_HELD: usize = 32_768;

/// A question with more known answers than fit into its packet (RFC 6762 section 7.2).
#[derive(Debug)]
pub(super) struct Deferred {
    message: Message,
    link: LinkId,
    is_public: bool,
    alarm: Alarm,
}

impl Deferred {
    /// All of it, when it is answered: to go through what is held with each packet would cost too much.
    fn whole(mut self) -> Message {
        self.message.merge_questions();
        self.message
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.message.len()
    }

    pub(super) fn alarm(&self) -> Alarm {
        self.alarm
    }
}

/// Who asks, and how.
#[derive(Clone, Copy)]
struct Asker {
    source: SocketAddr,
    link: LinkId,
    /// Whether it is none that speaks mDNS, but one that waits for one unicast answer.
    is_legacy: bool,
    /// Whether everybody was asked, and not just this host.
    is_public: bool,
}

impl Asker {
    /// A packet for him alone.
    fn is_sent(&self, payload: Vec<u8>) -> Transmit {
        Transmit {
            payload,
            interface: self.link.0,
            family: self.link.1,
            port: Port::Standing,
            to: Destination::Unicast(self.source),
        }
    }
}

impl Engine {
    /// Takes a question in.
    pub(super) fn take_query(
        &mut self,
        now: Instant,
        mut message: Message,
        source: SocketAddr,
        link: LinkId,
        is_public: bool,
    ) {
        // A small packet can ask for the same a thousand times.
        message.merge_questions();
        let asker = Asker {
            source,
            link,
            is_legacy: source.port() != self.config.port,
            is_public,
        };
        self.overhear_chunks(now, &message, source);
        if asker.is_legacy {
            self.answer_legacy(now, &message, asker);
        } else if !message.authorities.is_empty() {
            self.meet_probe(now, &message, asker);
        } else {
            self.answer_in_time(now, message, asker);
        }
    }

    /// Waits for the rest of a question that comes in several packets.
    fn answer_in_time(&mut self, now: Instant, message: Message, asker: Asker) {
        let is_open = message.truncated;
        let held = self
            .deferred
            .values()
            .map(|deferred| deferred.message.len());
        let fits = held.sum::<usize>() + message.len() <= MAX_HELD;
        let has_room = fits && self.deferred.len() < MAX_DEFERRED;
        let known = self.deferred.get_mut(&asker.source);
        let whole = match known.filter(|deferred| deferred.link == asker.link) {
            Some(deferred) => {
                if fits {
                    deferred.message.questions.extend(message.questions);
                    deferred.message.answers.extend(message.answers);
                }
                if is_open {
                    return;
                }
                self.deferred.remove(&asker.source).map(Deferred::whole)
            }
            None if is_open && has_room => {
                let wait = Duration::from_millis(self.random.u64(400..=500));
                let mut deferred = Deferred {
                    message,
                    link: asker.link,
                    is_public: asker.is_public,
                    alarm: Alarm::default(),
                };
                let timer = || Timer::Deferred(asker.source);
                self.timers.set(&mut deferred.alarm, now + wait, timer);
                self.deferred.insert(asker.source, deferred);
                return;
            }
            None => Some(message),
        };
        if let Some(whole) = whole {
            self.answer(now, &whole, asker, false);
        }
    }

    pub(super) fn deferred_due(&mut self, now: Instant, at: Instant, source: SocketAddr) {
        let rings = |deferred: &mut Deferred| deferred.alarm.rings(at);
        if !self.deferred.get_mut(&source).is_some_and(rings) {
            return;
        }
        if let Some(deferred) = self.deferred.remove(&source) {
            let asker = Asker {
                source,
                link: deferred.link,
                is_legacy: false,
                is_public: deferred.is_public,
            };
            self.answer(now, &deferred.whole(), asker, false);
        }
    }

    /// Somebody is about to take names (RFC 6762 section 8.1): sees whether they are one's own.
    fn meet_probe(&mut self, now: Instant, message: &Message, asker: Asker) {
        if target_of(message.authorities.iter())
            .is_some_and(|target| self.own.is_own_target(target))
        {
            return;
        }
        let names: HashSet<&Name> = message.questions.iter().map(|ask| &ask.name).collect();
        for name in names {
            let Some((key, own)) = self.own.at(name) else {
                continue;
            };
            let is_established = own.established;
            let is_held = match self.proposed(name, &message.authorities) {
                Some(version) if !self.is_late(now, name, &version) => {
                    !self.yields(now, key, &version)
                }
                _ => true,
            };
            if is_held && is_established {
                self.plan(now, asker.link, Answer::Instance(key), now, DEFENCE_RATE);
            }
        }
        let mut rest = message.clone();
        rest.questions
            .retain(|ask| !matches!(self.own.owner(&ask.name), Some(Owner::Instance(_))));
        self.answer(now, &rest, asker, true);
    }

    /// The version of the node that a probe proposes.
    fn proposed(&mut self, name: &Name, authorities: &[Record]) -> Option<Version> {
        let records = || authorities.iter().filter(|record| record.name == *name);
        let target = target_of(records())?.clone();
        let facts = records().find_map(|record| match &record.data {
            Data::Txt(bytes) => decode(bytes, &mut self.cache.extras).ok(),
            _ => None,
        });
        Some(Version::new(facts?.stamp, Some(target)))
    }

    /// The answers to the questions of a packet that are not known to the asker.
    fn answers(
        &self,
        message: &Message,
        interface: Option<&Interface>,
        legacy: bool,
    ) -> Vec<(Answer, Ask)> {
        let is_spared = legacy && self.names.spares_subtypes(&message.additionals);
        let known = Known::new(&message.answers);
        let mut answers = Vec::new();
        for ask in &message.questions {
            if is_spared && ask.name == self.names.service_type {
                continue;
            }
            self.each_answer(ask, interface, |answer| {
                if !self.is_known(&known, answer, legacy) {
                    answers.push((answer, ask.clone()));
                }
            });
        }
        answers
    }

    fn each_answer(&self, ask: &Ask, interface: Option<&Interface>, mut give: impl FnMut(Answer)) {
        if ask.wants(kind::PTR) {
            self.each_pointer(&ask.name, &mut give);
        }
        match self.own.owner(&ask.name) {
            Some(Owner::Instance(key)) if ask.wants(kind::SRV) || ask.wants(kind::TXT) => {
                give(Answer::Instance(key));
            }
            Some(Owner::Instance(key)) => give(Answer::OnlyInstance(key)),
            Some(Owner::Host(key)) if self.own.has_address(key, ask.kind, interface) => {
                give(Answer::Host(key));
            }
            Some(Owner::Host(key)) => give(Answer::OnlyHost(key)),
            None if ask.wants(kind::TXT) => {
                self.own_chunk(&ask.name).into_iter().for_each(give);
            }
            None => {}
        }
    }

    /// The pointers of own nodes that stand at a name.
    pub(super) fn each_pointer(&self, name: &Name, mut give: impl FnMut(Answer)) {
        if *name == self.names.service_type {
            let keys = self.own.keys().into_iter();
            keys.map(Answer::Listed).for_each(&mut give);
        } else if *name == self.names.types && !self.own.is_empty() {
            give(Answer::Types);
        }
        let named = self.own.named(name).iter().copied();
        named.map(Answer::Named).for_each(&mut give);
    }

    /// Known-answer suppression (RFC 6762 section 7.1).
    fn is_known(&self, known: &Known<'_>, answer: Answer, legacy: bool) -> bool {
        if known.0.is_empty() {
            return false;
        }
        let mut records = Vec::new();
        self.own.records(&self.names, answer, None, &mut records);
        !records.is_empty()
            && records.iter().all(|record| {
                let ttl = if legacy {
                    record.ttl.min(LEGACY_TTL)
                } else {
                    record.ttl
                };
                known.has(record, ttl)
            })
    }

    /// Hears the answers of others: those that are the very same as one's own need not be said
    /// again (RFC 6762 section 7.4). All but one name who says them.
    pub(super) fn hear_answers(&mut self, now: Instant, message: &Message, link: LinkId) {
        let is_same = |record: &Record| {
            record.name == self.names.types
                && record.ttl >= TYPES_TTL
                && matches!(&record.data, Data::Ptr(name) if *name == self.names.service_type)
        };
        if message.answers.iter().any(is_same)
            && let Some(link) = self.links.get_mut(link)
        {
            link.pending.remove(&Answer::Types);
            link.sent.insert(Answer::Types, now);
        }
    }

    /// Answers by multicast, or by unicast where that was asked for and others need not hear it.
    fn answer(&mut self, now: Instant, message: &Message, asker: Asker, is_probe: bool) {
        if asker.is_public && !is_probe {
            let by = self.source(asker.link, asker.source.ip());
            self.overhear(now, message, by);
        }
        let answers = self.answers(message, self.links.interface(asker.link.0), false);
        let mut direct = Vec::new();
        let delay = Duration::from_millis(self.random.u64(20..=120));
        for (answer, ask) in answers {
            if ask.unicast && self.was_multicast_recently(now, asker.link, answer) {
                direct.push((answer, ask));
                continue;
            }
            let is_shared = matches!(answer, Answer::Types | Answer::Listed(_) | Answer::Named(_));
            let due = if is_shared { now + delay } else { now };
            let rate = if is_probe { DEFENCE_RATE } else { RATE };
            self.plan(now, asker.link, answer, due, rate);
        }
        if !direct.is_empty() {
            let units = self.units(direct.iter().map(|(answer, _)| *answer), asker.link);
            for payload in pack(&Message::answer(), units) {
                let to = Destination::Unicast(asker.source);
                self.send(now, asker.link, Port::Standing, to, payload);
            }
        }
    }

    /// RFC 6762 section 5.4: within the last quarter of its lifetime.
    fn was_multicast_recently(&mut self, now: Instant, link: LinkId, answer: Answer) -> bool {
        let ttl = match answer {
            Answer::Listed(key)
            | Answer::Named(key)
            | Answer::Instance(key)
            | Answer::OnlyInstance(key) => self.own.get(key).map_or(0, |own| own.ttl),
            Answer::Host(_) | Answer::OnlyHost(_) => 120,
            Answer::Types => TYPES_TTL,
            // Not for one alone, unless he says that he speaks no mDNS.
            Answer::Chunk(_) => 0,
        };
        let quarter = Duration::from_secs(u64::from(ttl)) / 4;
        let sent = self
            .links
            .get_mut(link)
            .and_then(|link| link.sent.get(&answer).copied());
        sent.is_some_and(|sent| sent + quarter > now)
    }

    /// Plans to multicast an answer, not before its rate allows it.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        link: LinkId,
        answer: Answer,
        due: Instant,
        rate: Duration,
    ) {
        let Some(link) = self.links.get_mut(link) else {
            return;
        };
        let allowed = link.sent.get(&answer).map_or(now, |sent| *sent + rate);
        let due = due.max(allowed);
        let planned = link.pending.entry(answer).or_insert(due);
        *planned = (*planned).min(due);
        let (at, id) = (*planned, link.id);
        self.timers.set(&mut link.alarm, at, || Timer::Answers(id));
    }

    /// Multicasts the answers whose time has come, and others that may go along (section 6.4).
    pub(super) fn answers_due(&mut self, now: Instant, at: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.alarm.rings(at) {
            return;
        }
        let mut due = Vec::new();
        if link.pending.values().any(|at| *at <= now) {
            let sent = &link.sent;
            link.pending.retain(|answer, at| {
                let goes = *at <= now || sent.get(answer).is_none_or(|sent| *sent + RATE <= now);
                if goes {
                    due.push(*answer);
                }
                !goes
            });
        }
        if let Some(next) = link.pending.values().min().copied() {
            self.timers
                .set(&mut link.alarm, next, || Timer::Answers(id));
        }
        due.sort_unstable();
        self.multicast(now, id, &due);
    }

    /// Multicasts answers on a link at once.
    pub(super) fn multicast(&mut self, now: Instant, id: LinkId, answers: &[Answer]) {
        let units = self.units(answers.iter().copied(), id);
        if let Some(link) = self.links.get_mut(id) {
            for answer in answers {
                link.sent.insert(*answer, now);
                link.pending.remove(answer);
            }
        }
        for payload in pack(&Message::answer(), units) {
            self.send(now, id, Port::Standing, Destination::Multicast, payload);
        }
    }

    /// The records of answers, and what goes with them (RFC 6762 section 6.2, RFC 6763 section
    /// 12): whoever hears of a node hears all of it.
    fn units(&self, answers: impl Iterator<Item = Answer>, link: LinkId) -> Vec<Unit> {
        let interface = self.links.interface(link.0);
        let mut nodes: BTreeMap<NodeKey, Unit> = BTreeMap::new();
        let mut others = Vec::new();
        let mut told = HashSet::new();
        // SRV and TXT of a node are one, and may have been asked for one by one.
        let mut seen = HashSet::new();
        for answer in answers.filter(|answer| seen.insert(*answer)) {
            let unit = match answer {
                Answer::Listed(key) | Answer::Named(key) | Answer::Instance(key) => {
                    if matches!(answer, Answer::Instance(_)) {
                        told.insert(key);
                    }
                    nodes.entry(key).or_default()
                }
                _ => {
                    others.push(Unit::default());
                    let last = others.len() - 1;
                    &mut others[last]
                }
            };
            self.own
                .records(&self.names, answer, interface, &mut unit.answers);
            if let Answer::Host(key) = answer {
                let only = Answer::OnlyHost(key);
                self.own
                    .records(&self.names, only, interface, &mut unit.additionals);
            }
        }
        for (key, unit) in &mut nodes {
            if !told.contains(key) {
                let instance = Answer::Instance(*key);
                self.own
                    .records(&self.names, instance, interface, &mut unit.additionals);
            }
            if let Some(own) = self.own.get(*key) {
                let host = Answer::Host(own.host);
                self.own
                    .records(&self.names, host, interface, &mut unit.additionals);
            }
        }
        nodes.into_values().chain(others).collect()
    }

    /// RFC 6762 section 6.7: one unicast answer, that looks like one of unicast DNS. If it takes several
    /// packets, all but the last one say that they are not the whole (section 18.5).
    fn answer_legacy(&mut self, now: Instant, message: &Message, asker: Asker) {
        let is_own = self.asked(now, message.id).is_some() && self.links.is_own(asker.source.ip());
        if is_own {
            return;
        }
        let interface = self.links.interface(asker.link.0);
        let mut answers = self.answers(message, interface, true);
        let receipts = self.heed_receipts(message, asker.source.ip(), &mut answers);
        if receipts == Some(true) {
            self.outbox.settle(asker.source.ip());
        }
        // What is on its way is not sent again.
        let is_known = answers.is_empty();
        if receipts.is_some() && !is_known && self.outbox.is_answering(asker.link, asker.source) {
            return;
        }
        let answers = self.spare_chunks(now, asker.link, answers);
        if answers.is_empty() && receipts.is_none() {
            return;
        }
        let is_long = answers.len() > MAX_KNOWN;
        if is_long && self.is_spent(now, asker.source.ip()) {
            self.outbox.throttled += 1;
            let delay = self.delay(&answers, 1);
            return self.answer_by_token(now, now + delay, message, asker);
        }
        let mut units = self.units(answers.iter().map(|(answer, _)| *answer), asker.link);
        for record in units
            .iter_mut()
            .flat_map(|unit| unit.answers.iter_mut().chain(&mut unit.additionals))
        {
            record.ttl = record.ttl.min(LEGACY_TTL);
            record.flush = false;
        }
        if is_long || receipts.is_some() {
            units.extend(self.tokens_for(asker.source.ip(), message, MAX_TOKENS));
        }
        let mut payloads = pack(&answer_to(message), units);
        let delay = self.delay(&answers, payloads.len());
        let before_last = payloads.len().saturating_sub(1);
        for payload in payloads.iter_mut().take(before_last) {
            codec::set_truncated(payload);
        }
        let mut is_all = true;
        for payload in payloads {
            is_all &= self.send_at(now, now + delay, asker.is_sent(payload));
        }
        if !is_all {
            self.answer_by_token(now, now + delay, message, asker);
        }
    }

    /// Others of the asker's host have used up what it may be sent: tells how to prove that this one asked.
    /// Then he gets the rest when he asks again.
    fn answer_by_token(&mut self, now: Instant, at: Instant, message: &Message, asker: Asker) {
        let token = self.tokens_for(asker.source.ip(), message, 1);
        for mut payload in pack(&answer_to(message), token.into_iter().collect()) {
            codec::set_truncated(&mut payload);
            self.send_token_at(now, at, asker.is_sent(payload));
        }
    }

    /// How long an answer of so many packets waits, for others who answer as well.
    fn delay(&mut self, answers: &[(Answer, Ask)], packets: usize) -> Duration {
        let names = answers.iter().map(|(_, ask)| &ask.name);
        let spread = self.peers.spread(names, packets).unwrap_or_default();
        Duration::from_micros(self.random.u64(0..=spread.as_micros() as u64))
    }

    /// Sends what the registrations have to say on all links.
    pub(super) fn flush_registrations(&mut self, now: Instant) {
        let announcements = std::mem::take(&mut self.batch.announcements);
        let probes = std::mem::take(&mut self.batch.probes);
        let goodbyes = std::mem::take(&mut self.batch.goodbyes);
        if announcements.is_empty() && probes.is_empty() && goodbyes.is_empty() {
            return;
        }
        let answers: Vec<_> = announcements
            .into_iter()
            .flat_map(|(key, is_whole)| {
                let pointers = [Answer::Listed(key), Answer::Named(key)];
                let pointers = pointers.into_iter().filter(move |_| is_whole);
                pointers.chain([Answer::Instance(key)])
            })
            .collect();
        let goodbyes = goodbyes.into_iter().map(|answers| Unit {
            answers,
            ..Unit::default()
        });
        let goodbyes = pack(&Message::answer(), goodbyes.collect());
        let probes = probes.iter().filter_map(|key| self.own.get(*key));
        let probes = pack(
            &Message::query(),
            probes.map(|own| self.probe(own)).collect(),
        );
        for link in self.links.ids() {
            self.send_all(now, link, &goodbyes);
            // Whoever held a node before hears who holds it now, and then the claim: for him, too,
            // it is never gone.
            self.multicast(now, link, &answers);
            self.send_all(now, link, &probes);
        }
    }

    fn send_all(&mut self, now: Instant, link: LinkId, payloads: &[Vec<u8>]) {
        for payload in payloads {
            let to = Destination::Multicast;
            self.send(now, link, Port::Standing, to, payload.clone());
        }
    }

    /// RFC 6762 section 8.1: the question, and in the authority section what it is asked for.
    fn probe(&self, own: &Own) -> Unit {
        let mut authorities = self.own.instance(own);
        for record in &mut authorities {
            record.flush = false;
        }
        Unit {
            questions: vec![Ask::new(own.instance.clone(), kind::ANY)],
            authorities,
            ..Unit::default()
        }
    }
}

/// One answer as unicast DNS has it, to be filled.
fn answer_to(message: &Message) -> Message {
    Message {
        id: message.id,
        questions: message.questions.clone(),
        ..Message::answer()
    }
}

fn target_of<'a>(mut records: impl Iterator<Item = &'a Record>) -> Option<&'a Name> {
    records.find_map(|record| match &record.data {
        Data::Srv(srv) => Some(&srv.target),
        _ => None,
    })
}

/// The known answers of a question, by name.
struct Known<'a>(HashMap<&'a Name, Vec<&'a Record>, foldhash::fast::RandomState>);

impl<'a> Known<'a> {
    fn new(records: &'a [Record]) -> Self {
        let mut known: HashMap<_, Vec<_>, _> = HashMap::default();
        for record in records {
            // Pointers of a name are many; each is looked for by where it points.
            let name = match &record.data {
                Data::Ptr(target) => target,
                _ => &record.name,
            };
            known.entry(name).or_default().push(record);
        }
        Self(known)
    }

    fn has(&self, record: &Record, ttl: u32) -> bool {
        let name = match &record.data {
            Data::Ptr(target) => target,
            _ => &record.name,
        };
        let known = self.0.get(name).into_iter().flatten();
        known
            .filter(|known| known.name == record.name && known.data == record.data)
            .any(|known| u64::from(known.ttl) * 2 >= u64::from(ttl))
    }
}
