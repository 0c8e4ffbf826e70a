//! Asking once, at once (RFC 6762 section 5.1), and knowing when the answer is complete.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    time::{Duration, Instant},
};

use vine_registry::Wait;

use super::{
    Destination, Engine, EngineEvent, LinkKind, LookupId, Outcome, Port, Question,
    intake::{Asked, Origin},
    lease::Source,
    links::LinkId,
    packing::pack_question,
    receipts::{self, MAX_RECEIPTS, Tokens},
    timers::{Alarm, Timer},
};
use crate::codec::{Ask, Data, Message, Name, Record};

/// When to ask, after the beginning, and on which condition.
const ROUNDS: [(Duration, Round); 7] = [
    (Duration::ZERO, Round::Always),
    (Duration::from_millis(5), Round::Found),
    (Duration::from_millis(10), Round::Found),
    (Duration::from_millis(20), Round::Unproven),
    (Duration::from_millis(50), Round::Found),
    (Duration::from_millis(100), Round::NothingFound),
    (Duration::from_millis(400), Round::NothingFound),
];
/// When there is nobody.
const GIVE_UP: Duration = Duration::from_secs(1);
/// When somebody was heard of, but not all that makes a node: packets get lost.
const GIVE_UP_HEARD: Duration = Duration::from_secs(3);
/// How long nodes that were heard of may stay silent.
const SILENCE: Duration = Duration::from_millis(300);
/// How long the blobs of nodes that were heard of may take, as long as something comes.
const FETCHING: Duration = Duration::from_secs(3);
/// How long answers to a one-shot question are taken.
const ANSWERABLE: Duration = Duration::from_secs(2);
const MAX_ASKED: usize = 4_096;

/// How long the rest of an answer of several packets is waited for when nothing new comes, before it
/// counts as lost.
const REST: Duration = Duration::from_millis(100);
/// How often a question is asked again for that at most.
const MAX_REPEATS: u8 = 8;
/// After a long answer, so long after the last that is new those who were not heard as a whole are asked
/// again, whether anything shows that packets were lost or not, and so often at most.
const LULL: Duration = Duration::from_millis(5);
const MAX_CONFIRMATIONS: u8 = 16;
/// After that, what there is has to do: the rest comes as news.
const ENOUGH: Duration = Duration::from_secs(2);
/// Of so many at a time it is remembered that their answers are not whole.
const MAX_UNFINISHED: usize = 256;

/// On which condition a question is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Always,
    /// Somebody answered: others may have been lost. Who was heard is named, and does not answer
    /// again.
    Found,
    /// Nothing was found, or nobody has ever answered on a link.
    Unproven,
    NothingFound,
}

/// A look-up.
#[derive(Debug)]
pub(super) struct Lookup {
    question: Question,
    topic: Name,
    wait: Wait,
    began: Instant,
    rounds: usize,
    found: bool,
    /// The instances that answered.
    heard: HashSet<Name, foldhash::fast::RandomState>,
    /// When something new came, by link.
    news: HashMap<LinkId, Instant>,
    /// Who has begun an answer of several packets, and not ended it: which process of a host.
    unfinished: Vec<(Source, u64)>,
    tokens: Tokens,
    /// When something new came last, and how often it was asked since the beginning whether that is all.
    heard_at: Option<Instant>,
    confirmed_at: Instant,
    confirmations: u8,
    /// The host names of those who have told much and have not said yet that it is all.
    unconfirmed: HashSet<Name, foldhash::fast::RandomState>,
    /// How often the question was asked again before settling, because packets get lost.
    repeats: u8,
    /// How many instances had answered when it was asked last.
    heard_before: usize,
    /// Whether packets were lost since then.
    has_lost: bool,
    alarm: Alarm,
}

impl Lookup {
    pub(super) fn alarm(&self) -> Alarm {
        self.alarm
    }
}

/// How a look-up stands.
enum Standing {
    Done(Outcome),
    /// To be looked at again then.
    Open(Instant),
    /// Nothing came for a while after a long answer: those who were not heard as a whole are asked.
    Confirm,
    /// Settled, but for one more question on links where packets get lost.
    AskAgain,
}

impl Engine {
    pub(super) fn begin_lookup(
        &mut self,
        now: Instant,
        question: Question,
        wait: Wait,
    ) -> LookupId {
        self.next_lookup += 1;
        let id = LookupId(self.next_lookup);
        let topic = self.topic(&question).filter(|_| !self.links.is_empty());
        let Some(topic) = topic else {
            self.finish(id, Outcome::Offline);
            return id;
        };
        let asked = self.cache.topics.entry(topic.clone()).or_default();
        asked.lookups.push(id);
        if asked.is_wide
            && let Some(whole) = self.cache.topics.get_mut(&self.names.service_type)
        {
            whole.lookups.push(id);
        }
        let mut lookup = Lookup {
            found: self.own.answers(&self.names, &question),
            question,
            topic,
            wait,
            began: now,
            rounds: 0,
            heard: HashSet::default(),
            news: HashMap::new(),
            unfinished: Vec::new(),
            tokens: Tokens::default(),
            heard_at: None,
            confirmed_at: now,
            confirmations: 0,
            unconfirmed: HashSet::default(),
            repeats: 0,
            heard_before: 0,
            has_lost: false,
            alarm: Alarm::default(),
        };
        lookup.found = lookup.found || self.has_found(&lookup);
        self.lookups.insert(id, lookup);
        self.look_at(now, id);
        id
    }

    pub(super) fn end_lookup(&mut self, id: LookupId) {
        if let Some(lookup) = self.lookups.remove(&id) {
            for name in [&lookup.topic, &self.names.service_type] {
                if let Some(topic) = self.cache.topics.get_mut(name) {
                    topic.lookups.retain(|other| *other != id);
                }
            }
            self.release_topic(&lookup.topic);
        }
    }

    fn finish(&mut self, id: LookupId, outcome: Outcome) {
        self.events
            .push_back(EngineEvent::LookupDone { id, outcome });
        self.end_lookup(id);
    }

    /// Ends every look-up: the last interface is gone.
    pub(super) fn finish_lookups(&mut self) {
        let mut ids: Vec<_> = self.lookups.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.finish(id, Outcome::Offline);
        }
    }

    /// Packets were lost, which may have been answers.
    pub(super) fn lookups_lost_packets(&mut self) {
        self.lookups
            .values_mut()
            .for_each(|lookup| lookup.has_lost = true);
    }

    pub(super) fn lookup_due(&mut self, now: Instant, at: Instant, id: LookupId) {
        let lookup = self.lookups.get_mut(&id);
        if lookup.is_some_and(|lookup| lookup.alarm.rings(at)) {
            self.look_at(now, id);
        }
    }

    /// An instance was heard of in an answer; `is_new` if it was not known.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        topic: &Name,
        instance: &Name,
        is_new: bool,
        origin: &Origin,
    ) {
        let Some(topic) = self.cache.topics.get(topic) else {
            return;
        };
        let (asked, mut is_news) = (topic.asked, topic.lookups.is_empty() && is_new);
        for id in &topic.lookups {
            if let Some(lookup) = self.lookups.get_mut(id)
                && lookup.heard.insert(instance.clone())
            {
                is_news = true;
                lookup.news.insert(origin.by.link, now);
                lookup.heard_at = Some(now);
                self.stirred.insert(*id);
            }
        }
        if origin.is_near {
            return;
        }
        let Some(link) = self.links.get_mut(origin.by.link) else {
            return;
        };
        // Who answers by IPv4 and by IPv6 is no news the second time, but shows how long answers take.
        let is_first = origin.asked.is_some() && link.is_unproven();
        if !is_news && !is_first {
            return;
        }
        match &origin.asked {
            Some(asked) => {
                link.delays.observe(now.saturating_duration_since(asked.at));
                link.delays.lossy |= is_news && asked.is_repeated;
            }
            // Where only answers to the standing port get through; what comes sooner may be an
            // announcement.
            None => {
                let delay = asked.map(|asked| now.saturating_duration_since(asked));
                let answers = Duration::from_millis(20)..Duration::from_millis(500);
                if let Some(delay) = delay.filter(|delay| answers.contains(delay)) {
                    link.delays.observe(delay);
                }
            }
        }
    }

    /// A packet of an answer to a one-shot question came; notes whether more are to follow.
    pub(super) fn note_whole(&mut self, message: &Message, by: Source) {
        // Others that go along are asked of those who have no subtypes.
        let asked = message.questions.first();
        let records = message.answers.iter().chain(&message.additionals);
        let targets = records.filter_map(|record| match &record.data {
            Data::Srv(srv) => Some(&srv.target),
            _ => None,
        });
        let tokens: Vec<_> = receipts::tokens(message).take(MAX_RECEIPTS).collect();
        let targets = targets.chain(tokens.iter().map(|(target, _)| *target));
        let targets: HashSet<u64> = targets.map(|name| self.hasher.hash_one(name)).collect();
        let process = targets.iter().min().copied().unwrap_or_default();
        if let Some(topic) = asked.and_then(|ask| self.cache.topics.get(&ask.name)) {
            for id in &topic.lookups {
                let Some(lookup) = self.lookups.get_mut(id) else {
                    continue;
                };
                for (target, token) in &tokens {
                    lookup.tokens.insert((*target).clone(), *token);
                    if lookup.unconfirmed.remove(*target) {
                        self.stirred.insert(*id);
                    }
                }
                let before = lookup.unfinished.len();
                if !message.truncated {
                    lookup.unfinished.retain(|(other, process)| {
                        *other != by || *process != 0 && !targets.contains(process)
                    });
                } else if before < MAX_UNFINISHED && !lookup.unfinished.contains(&(by, process)) {
                    lookup.unfinished.push((by, process));
                }
                if lookup.unfinished.len() < before {
                    self.stirred.insert(*id);
                }
            }
        }
    }

    /// Looks at the look-ups for which something new came.
    pub(super) fn look_at_lookups(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.stirred) {
            let Some(lookup) = self.lookups.get(&id) else {
                continue;
            };
            let found = lookup.found || self.has_found(lookup);
            if let Some(lookup) = self.lookups.get_mut(&id) {
                lookup.found = found;
            }
            self.look_at(now, id);
        }
    }

    /// Whether a node is known that answers the question.
    fn has_found(&self, lookup: &Lookup) -> bool {
        let whole = self.is_wide(&lookup.topic);
        let whole = whole.then_some(&self.names.service_type);
        let topics = [Some(&lookup.topic), whole].into_iter().flatten();
        let topics = topics.filter_map(|name| self.cache.topics.get(name));
        let mut instances = topics.flat_map(|topic| &topic.instances);
        instances.any(|name| {
            let node = self
                .cache
                .instances
                .get(name)
                .and_then(|known| known.node.as_ref());
            node.is_some_and(|claim| claim.identity.answers(&lookup.question))
        })
    }

    /// Whether all that was heard of is known by now, or can't be understood.
    fn is_complete(&self, lookup: &Lookup) -> bool {
        lookup.heard.iter().all(|name| {
            let known = self.cache.instances.get(name);
            known.is_none_or(|known| {
                let is_no_node = known.txt.as_ref().is_some_and(|txt| match &txt.facts {
                    Some(facts) => !lookup.question.is_about(&facts.namespace, &facts.name),
                    None => true,
                });
                if is_no_node {
                    return true;
                }
                let awaits = known.awaits.map(|digest| self.blobs.progress(digest));
                match awaits {
                    Some(progress) => progress.is_none(),
                    None => known.node.is_some(),
                }
            })
        })
    }

    /// Until when blobs of what was heard of may still come: as long as something comes, but not
    /// for ever.
    fn blobs_until(&self, lookup: &Lookup) -> Option<Instant> {
        let awaited = lookup.heard.iter().filter_map(|name| {
            let awaits = self.cache.instances.get(name)?.awaits?;
            self.blobs.progress(awaits)
        });
        let until = awaited.max()? + SILENCE;
        Some(until.min(lookup.began + FETCHING))
    }

    fn look_at(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.get(&id) else {
            return;
        };
        match self.standing(now, lookup) {
            Standing::Done(outcome) => self.finish(id, outcome),
            Standing::AskAgain => {
                let is_unfinished = |link| {
                    lookup
                        .unfinished
                        .iter()
                        .any(|(source, _)| source.link == link)
                };
                let links = self.links.iter();
                let links = links.filter(|link| link.delays.lossy || is_unfinished(link.id));
                let links: Vec<_> = links.map(|link| link.id).collect();
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.unfinished.clear();
                    lookup.repeats += 1;
                    lookup.heard_before = lookup.heard.len();
                    lookup.has_lost = false;
                    lookup.news.extend(links.iter().map(|link| (*link, now)));
                }
                self.ask_round(now, id, &links);
                self.look_at(now, id);
            }
            Standing::Confirm => {
                let is_worth_it = self
                    .receipts(&lookup.topic, &lookup.tokens, false)
                    .is_some();
                let links = match is_worth_it {
                    true => self.links.ids(),
                    false => Vec::new(),
                };
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.confirmed_at = now;
                    lookup.confirmations = match is_worth_it {
                        true => lookup.confirmations + 1,
                        false => MAX_CONFIRMATIONS,
                    };
                    lookup.unconfirmed.clear();
                    if is_worth_it {
                        lookup.unconfirmed.extend(lookup.tokens.keys().cloned());
                    }
                    lookup.news.extend(links.iter().map(|link| (*link, now)));
                }
                if is_worth_it {
                    self.ask_round(now, id, &links);
                }
                self.look_at(now, id);
            }
            Standing::Open(until) => {
                let next = self.ask_due_rounds(now, id);
                let at = next.map_or(until, |next| next.min(until));
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    self.timers.set(&mut lookup.alarm, at, || Timer::Lookup(id));
                }
            }
        }
    }

    /// Whether somebody was heard of who is no node yet, for want of records or of blobs.
    fn is_waiting(&self, lookup: &Lookup) -> bool {
        self.blobs_until(lookup).is_some() || !self.is_complete(lookup)
    }

    fn standing(&self, now: Instant, lookup: &Lookup) -> Standing {
        let or_open = |wait: Duration, outcome| {
            // A wait too long to be counted is looked at again now and then.
            let at = lookup.began.checked_add(wait);
            let at = at.unwrap_or_else(|| now + Duration::from_secs(3_600));
            match at <= now {
                true => Standing::Done(outcome),
                false => Standing::Open(at),
            }
        };
        match (lookup.wait, lookup.found) {
            (Wait::First, true) => Standing::Done(Outcome::First),
            (Wait::For(wait), true) => or_open(wait, Outcome::Elapsed),
            (Wait::For(wait), false) => or_open(wait, Outcome::NotFound),
            (_, false) => {
                let patience = match self.is_waiting(lookup) {
                    true => GIVE_UP_HEARD,
                    false => GIVE_UP,
                };
                let blobs = self.blobs_until(lookup).map(|until| until - lookup.began);
                or_open(blobs.unwrap_or_default().max(patience), Outcome::NotFound)
            }
            (_, true) => self.settling(now, lookup),
        }
    }

    fn settling(&self, now: Instant, lookup: &Lookup) -> Standing {
        let is_late = lookup.began + ENOUGH <= now;
        if lookup.heard.len() > MAX_KNOWN
            && !is_late
            && lookup.confirmations < MAX_CONFIRMATIONS
            && let Some(heard_at) = lookup.heard_at.filter(|at| *at >= lookup.confirmed_at)
        {
            return match heard_at + LULL {
                at if at > now => Standing::Open(at),
                _ => Standing::Confirm,
            };
        }
        let quiet = self.links.iter().map(|link| {
            let last = lookup.news.get(&link.id).copied().unwrap_or(lookup.began);
            last + link.quiet()
        });
        let quiet = quiet.max().unwrap_or(now);
        if quiet > now {
            return Standing::Open(quiet);
        }
        // Who has told much is asked whether that is all, and says so even if it is.
        let confirmed = lookup.confirmed_at + SILENCE;
        if !lookup.unconfirmed.is_empty() && confirmed > now && !is_late {
            return Standing::Open(confirmed);
        }
        let is_whole = lookup.unfinished.is_empty();
        let rest = quiet + if is_whole { Duration::ZERO } else { REST };
        if rest > now {
            return Standing::Open(rest);
        }
        // As long as repeating brings what was lost before, there may be more of it.
        let is_worth_it = match lookup.repeats {
            0 => self.links.iter().any(|link| link.delays.lossy),
            MAX_REPEATS.. => false,
            _ => lookup.heard.len() > lookup.heard_before,
        };
        let has_lost = !is_whole || lookup.has_lost;
        if !is_late && (is_worth_it || has_lost && lookup.repeats < MAX_REPEATS) {
            return Standing::AskAgain;
        }
        let until = self
            .blobs_until(lookup)
            .unwrap_or(quiet)
            .max(quiet + SILENCE);
        if until > now && !self.is_complete(lookup) {
            return Standing::Open(until);
        }
        Standing::Done(Outcome::Settled)
    }

    /// Asks as far as it is time to; gives when to ask next.
    fn ask_due_rounds(&mut self, now: Instant, id: LookupId) -> Option<Instant> {
        loop {
            let lookup = self.lookups.get_mut(&id)?;
            let (delay, round) = ROUNDS.get(lookup.rounds)?;
            let at = lookup.began + *delay;
            if at > now {
                return Some(at);
            }
            let found = lookup.found;
            let is_first = lookup.rounds == 0;
            lookup.rounds += 1;
            let few = lookup.heard.len() <= MAX_KNOWN;
            let links = self.links.iter().filter(|link| match round {
                Round::Always => true,
                Round::Found => found && few && link.kind != LinkKind::Loopback,
                Round::Unproven => !found || few && link.is_unproven(),
                Round::NothingFound => !found,
            });
            let links: Vec<_> = links.map(|link| link.id).collect();
            if is_first {
                self.ask_standing(now, id);
            }
            if !links.is_empty() {
                self.ask_round(now, id, &links);
            }
        }
    }

    /// The same question from the standing port: some firewalls let only that answer in.
    fn ask_standing(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.get(&id) else {
            return;
        };
        let name = lookup.topic.clone();
        let Some(topic) = self.cache.topics.get_mut(&name) else {
            return;
        };
        let second = Duration::from_secs(1);
        if topic.asked.is_some_and(|asked| asked + second > now) {
            return;
        }
        topic.asked = Some(now);
        if topic.browses > 0 {
            topic.interval = 2 * second;
            topic.next = Some(now + second);
            topic.served_from = Some(now + second / 2);
        }
        self.batch.ask_pointers(&name, None);
        self.arm_topic(&name);
    }

    fn ask_round(&mut self, now: Instant, id: LookupId, links: &[LinkId]) {
        let Some(lookup) = self.lookups.get(&id) else {
            return;
        };
        let topic = lookup.topic.clone();
        let is_repeated = lookup.rounds > 1;
        let (asks, mut along) = self.one_shot(&topic);
        let mut known = Vec::new();
        if is_repeated && lookup.heard.len() <= MAX_KNOWN {
            known = self.cache.known_answers(now, &topic);
            known.truncate(MAX_KNOWN);
        } else if is_repeated {
            along.extend(self.receipts(&topic, &lookup.tokens, true));
        }
        self.ask_once(now, asks, [known, along], links, is_repeated);
    }

    /// Asks one-shot questions, with an id of its own on each link: with known answers, and with what goes
    /// along.
    pub(super) fn ask_once(
        &mut self,
        now: Instant,
        asks: Vec<Ask>,
        [known, along]: [Vec<Record>; 2],
        links: &[LinkId],
        is_repeated: bool,
    ) {
        if self.asked.len() + links.len() > MAX_ASKED {
            self.asked.retain(|_, asked| asked.at + ANSWERABLE > now);
            if self.asked.len() + links.len() > MAX_ASKED {
                return;
            }
        }
        let count = links.len() as u64;
        self.counters.asked += count;
        self.counters.asked_again += if is_repeated { count } else { 0 };
        let payloads = pack_question(0, asks, known, along);
        for link in links {
            let id = self.random.u16(1..);
            let asked = Asked {
                at: now,
                is_repeated,
            };
            self.asked.insert(id, asked);
            for payload in &payloads {
                let mut payload = payload.clone();
                payload[..2].copy_from_slice(&id.to_be_bytes());
                self.send(now, *link, Port::Query, Destination::Multicast, payload);
            }
        }
    }

    /// The one-shot question that an answer with this id is for.
    pub(super) fn asked(&self, now: Instant, id: u16) -> Option<&Asked> {
        self.asked
            .get(&id)
            .filter(|asked| asked.at + ANSWERABLE > now)
    }
}

/// Known answers in a question that is asked again: as many as surely fit into one packet. Of more there
/// are receipts.
pub(super) const MAX_KNOWN: usize = 12;
