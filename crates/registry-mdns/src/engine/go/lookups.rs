//! Asking once, and knowing when the answer is complete.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use vine_registry::Wait;

use super::{Due, Go, Origin, questions::ASK_AGAIN_MS};
use crate::engine::{
    EngineEvent, LinkKind, LookupId, Outcome, Question,
    links::{LinkId, PLAUSIBLE},
    timers::Alarm,
    version::Identity,
};

/// When to ask, after the beginning, and whether also when something was found: each question
/// brings every answer again.
const ROUNDS: [(Duration, bool); 4] = [
    (Duration::ZERO, true),
    (Duration::from_millis(20), true),
    (Duration::from_millis(100), false),
    (Duration::from_millis(400), false),
];
/// When there is nobody.
const GIVE_UP: Duration = Duration::from_secs(1);
/// Where new nodes come all the time, what was found by then will do.
const ENOUGH: Duration = Duration::from_secs(3);

/// Each node is a packet of its own, so answers are spread more than those of DNS-SD.
const LEAST: Duration = Duration::from_millis(40);
/// So many nodes come in bursts, whose sender may be kept from the next one for a moment.
const CROWD: usize = 32;
const PACED: Duration = Duration::from_millis(100);

/// A look-up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) question: Question,
    wait: Wait,
    began: Instant,
    rounds: usize,
    found: bool,
    heard: HashSet<String>,
    /// How many were heard when a crowd was asked again.
    counted: usize,
    /// When something new came, by link.
    news: HashMap<LinkId, Instant>,
    pub(super) alarm: Alarm,
}

impl Go {
    /// Begins a look-up by this id; its end is told.
    pub(crate) fn lookup(&mut self, now: Instant, id: LookupId, question: Question, wait: Wait) {
        let now = self.advance(now);
        if self.links.is_empty() {
            self.finish(now, id, Outcome::Offline);
            return;
        }
        let is_own = self.own.iter().any(|own| own.identity.answers(&question));
        let found = is_own || self.has_found(&question);
        let lookup = Lookup {
            question: question.clone(),
            wait,
            began: now,
            rounds: 0,
            found,
            heard: HashSet::new(),
            counted: 0,
            news: HashMap::new(),
            alarm: Alarm::default(),
        };
        self.lookups.insert(id, lookup);
        self.begin(now, &question);
        self.look_at(now, id);
    }

    pub(crate) fn cancel_lookup(&mut self, now: Instant, id: LookupId) {
        let now = self.advance(now);
        if self.lookups.remove(&id).is_some() {
            self.release_topics(now);
        }
    }

    fn finish(&mut self, now: Instant, id: LookupId, outcome: Outcome) {
        self.events
            .push_back(EngineEvent::LookupDone { id, outcome });
        if self.lookups.remove(&id).is_some() {
            self.release_topics(now);
        }
    }

    pub(super) fn finish_lookups(&mut self) {
        let mut ids: Vec<_> = self.lookups.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(now) = self.now {
                self.finish(now, id, Outcome::Offline);
            }
        }
    }

    /// A node or an entry of a list was heard of.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        topic: &str,
        what: &str,
        identity: &Identity,
        origin: Origin,
    ) {
        let link = origin.by.link;
        let asked = self.topics.get(topic).and_then(|topic| topic.asked);
        let most = self.config.max_nodes;
        let mut is_news = false;
        for (id, lookup) in &mut self.lookups {
            if identity.answers(&lookup.question) {
                lookup.found = true;
                self.stirred.insert(*id);
                if lookup.heard.len() < most && lookup.heard.insert(what.to_owned()) {
                    let last = lookup.news.entry(link).or_insert(now);
                    *last = now.max(*last);
                    is_news = true;
                }
            }
        }
        if is_news
            && !origin.is_near
            && let Some(delay) = asked.map(|asked| now.saturating_duration_since(asked))
            && delay < PLAUSIBLE
            && let Some(link) = self.links.get_mut(link)
        {
            link.delays.observe(delay);
        }
    }

    /// Packets were lost here for want of room, and everything is about to be
    /// [asked again](Self::ask_again): no look-up ends before that was answered.
    pub(crate) fn overflowed(&mut self, now: Instant, until: Duration) {
        let links = self.links.ids();
        let until = now + until + Duration::from_millis(ASK_AGAIN_MS);
        for lookup in self.lookups.values_mut() {
            lookup.news.extend(links.iter().map(|link| (*link, until)));
        }
    }

    /// Something new is to be asked for: what comes of it is waited for.
    pub(super) fn stir_all(&mut self, now: Instant) {
        let links = self.links.ids();
        for (id, lookup) in &mut self.lookups {
            if lookup.question == Question::All {
                lookup.news.extend(links.iter().map(|link| (*link, now)));
                self.stirred.insert(*id);
            }
        }
    }

    pub(super) fn look_at_lookups(&mut self, now: Instant) {
        let mut stirred: Vec<_> = self.stirred.drain().collect();
        stirred.sort_unstable();
        for id in stirred {
            self.look_at(now, id);
        }
    }

    pub(super) fn lookup_due(&mut self, now: Instant, at: Instant, id: LookupId) {
        let lookup = self.lookups.get_mut(&id);
        if lookup.is_some_and(|lookup| lookup.alarm.rings(at)) {
            self.look_at(now, id);
        }
    }

    fn look_at(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.get(&id) else {
            return;
        };
        let end = |wait: Duration, outcome| {
            // A wait too long to be counted is looked at again now and then.
            let at = lookup.began.checked_add(wait);
            (
                at.unwrap_or_else(|| now + Duration::from_secs(3_600)),
                outcome,
            )
        };
        let (until, outcome) = match (lookup.wait, lookup.found) {
            (Wait::First, true) => (now, Outcome::First),
            (Wait::For(wait), true) => end(wait, Outcome::Elapsed),
            (Wait::For(wait), false) => end(wait, Outcome::NotFound),
            (_, false) => end(GIVE_UP, Outcome::NotFound),
            (_, true) => (self.quiet_at(lookup), Outcome::Settled),
        };
        if until <= now {
            if outcome != Outcome::Settled || !self.ask_crowd(now, id) {
                self.finish(now, id, outcome);
            }
            return;
        }
        let next = self.ask_due_rounds(now, id);
        let at = next.map_or(until, |next| next.min(until));
        if let Some(lookup) = self.lookups.get_mut(&id) {
            self.timers.set(&mut lookup.alarm, at, || Due::Lookup(id));
        }
    }

    /// Of a crowd that answers at once, the last may get lost, and nothing tells of that: asks again
    /// as long as that brings more. Gives whether it does.
    fn ask_crowd(&mut self, now: Instant, id: LookupId) -> bool {
        let links = self.links.ids();
        let Some(lookup) = self.lookups.get_mut(&id) else {
            return false;
        };
        let count = lookup.heard.len();
        if count < CROWD || count == lookup.counted || now >= lookup.began + ENOUGH {
            return false;
        }
        lookup.counted = count;
        lookup.news.extend(links.iter().map(|link| (*link, now)));
        let question = lookup.question.clone();
        for topic in self.topics_of(&question) {
            self.ask(now, &topic, &links);
        }
        self.look_at(now, id);
        true
    }

    /// When nothing new is to be expected any more.
    fn quiet_at(&self, lookup: &Lookup) -> Instant {
        let least = match lookup.heard.len() < CROWD {
            true => LEAST,
            false => PACED,
        };
        let quiet = self.links.iter().map(|link| {
            let last = lookup.news.get(&link.id).copied().unwrap_or(lookup.began);
            last + link.quiet().max(least)
        });
        let quiet = quiet.max().unwrap_or(lookup.began);
        quiet.min(lookup.began + ENOUGH)
    }

    fn ask_due_rounds(&mut self, now: Instant, id: LookupId) -> Option<Instant> {
        loop {
            let lookup = self.lookups.get_mut(&id)?;
            let (delay, always) = ROUNDS.get(lookup.rounds)?;
            let at = lookup.began + *delay;
            if at > now {
                return Some(at);
            }
            let is_first = lookup.rounds == 0;
            lookup.rounds += 1;
            if lookup.found && !always {
                continue;
            }
            let question = lookup.question.clone();
            // What loopback did not bring the first time does not exist.
            let links = self.links.iter();
            let links = links.filter(|link| is_first || link.kind != LinkKind::Loopback);
            let links: Vec<_> = links.map(|link| link.id).collect();
            for topic in self.topics_of(&question) {
                self.ask(now, &topic, &links);
            }
        }
    }
}
