//! Asking once, at once (RFC 6762 section 5.1), and knowing when the answer is complete.

mod asking;
mod hearing;
mod standing;

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use vine_registry::Wait;

pub(super) use self::asking::MAX_KNOWN;
use self::standing::{MAX_CONFIRMATIONS, Standing};
use super::{
    Engine, EngineEvent, LookupId, Outcome, Question,
    lease::Source,
    links::LinkId,
    receipts::Tokens,
    timers::{Alarm, Timer},
};
use crate::codec::Name;

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

impl Engine {
    pub(super) fn begin_lookup(
        &mut self,
        now: Instant,
        question: Question,
        wait: Wait,
    ) -> LookupId {
        self.next_lookup += 1;
        let id = LookupId(self.next_lookup);
        if self.links.is_empty() {
            self.finish(id, Outcome::Offline);
            return id;
        }
        // What no name can be made of is nobody's, and to ask again would not help.
        let Some(topic) = self.topic(&question) else {
            self.finish(id, Outcome::NotFound);
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
                        lookup.unconfirmed.extend(lookup.tokens.targets().cloned());
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
}
