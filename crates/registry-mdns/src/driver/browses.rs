use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vine_registry::{Wait, view::Topic};

use super::{Driver, Settle, shared::Usage};
use crate::{
    engine::{LookupId, Outcome, Question},
    registry::TELEMETRY,
};

/// A browse that nobody has asked for this long, and nobody watches, ends.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// How often to look for idle browses.
const LOOK: Duration = Duration::from_secs(10);

/// The standing browses, and the look-ups that somebody waits for.
#[derive(Debug)]
pub(super) struct Browses {
    open: HashMap<Question, Browse>,
    lookups: HashMap<LookupId, Lookup>,
    /// Those who wait for an outage to end.
    parked: Vec<Settle>,
    next_look: Instant,
}

#[derive(Debug)]
struct Browse {
    usage: Arc<Usage>,
    last_used: Instant,
    /// Whether everything there was to know is known, and stays so.
    settled: bool,
    /// The watches that live by it.
    topics: Vec<Topic>,
}

#[derive(Debug)]
struct Lookup {
    question: Question,
    wait: Wait,
    /// It began before something happened after which all must be asked again.
    is_outdated: bool,
    waiting: Vec<Settle>,
}

impl Lookup {
    /// Whether who asks the same now may wait for its end.
    fn is_for(&self, question: &Question, wait: Wait) -> bool {
        !self.is_outdated && self.question == *question && self.wait == wait
    }
}

impl Browses {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            open: HashMap::new(),
            lookups: HashMap::new(),
            parked: Vec::new(),
            next_look: now + LOOK,
        }
    }

    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Keeps the browse for as long as the topic has watchers.
    pub(super) fn watched(&mut self, question: &Question, topic: &Topic) {
        if let Some(browse) = self.open.get_mut(question)
            && !browse.topics.contains(topic)
        {
            browse.topics.push(topic.clone());
        }
    }

    #[cfg(test)]
    pub(super) fn is_open(&self, question: &Question) -> bool {
        self.open.contains_key(question)
    }

    fn is_settled(&self, question: &Question) -> bool {
        let settled = |question| self.open.get(question).is_some_and(|browse| browse.settled);
        settled(question) || settled(&Question::All)
    }
}

impl Driver {
    /// Sees to it that a question is asked for good.
    pub(super) fn browse(&mut self, question: &Question) {
        let now = Instant::now();
        match self.browses.open.entry(question.clone()) {
            hash_map::Entry::Occupied(browse) => browse.into_mut().last_used = now,
            hash_map::Entry::Vacant(free) => {
                free.insert(Browse {
                    usage: Arc::default(),
                    last_used: now,
                    settled: false,
                    topics: Vec::new(),
                });
                self.engine.browse(now.into_std(), question.clone());
            }
        }
    }

    /// Answers as soon as the question is answered as well as is wanted.
    pub(super) fn settle(&mut self, settle: Settle) {
        if self.interfaces.is_empty() {
            if let Some(browse) = self.browses.open.get_mut(&settle.question) {
                browse.last_used = Instant::now();
            }
            self.answer(settle);
            return;
        }
        self.browse(&settle.question);
        if self.browses.is_settled(&settle.question) {
            self.answer(settle);
        } else if settle.wait == Wait::First && self.has_any(&settle.question) {
            self.look_up(&settle.question, Wait::Settled);
            self.answer(settle);
        } else {
            let lookup = self.look_up(&settle.question, settle.wait);
            if let Some(lookup) = self.browses.lookups.get_mut(&lookup) {
                lookup.waiting.push(settle);
            }
        }
    }

    fn has_any(&self, question: &Question) -> bool {
        match question {
            Question::All => self.view.iter().next().is_some(),
            Question::Service { namespace, name } => {
                self.view.nodes(namespace, name).next().is_some()
            }
        }
    }

    /// Begins a look-up, or joins one that runs.
    fn look_up(&mut self, question: &Question, wait: Wait) -> LookupId {
        let running = self
            .browses
            .lookups
            .iter()
            .find(|(_, lookup)| lookup.is_for(question, wait));
        if let Some((id, _)) = running {
            return *id;
        }
        let now = Instant::now().into_std();
        let id = self.engine.lookup(now, question.clone(), wait);
        let lookup = Lookup {
            question: question.clone(),
            wait,
            is_outdated: false,
            waiting: Vec::new(),
        };
        self.browses.lookups.insert(id, lookup);
        id
    }

    /// Hears how a look-up ended.
    pub(super) fn looked_up(&mut self, id: LookupId, outcome: Outcome) {
        let Some(lookup) = self.browses.lookups.remove(&id) else {
            return;
        };
        TELEMETRY.requests("lookup", outcome != Outcome::Offline, 1);
        let is_to_be_asked_again = match outcome {
            // Who says how long to wait does not want to wait for longer.
            Outcome::NotFound => lookup.is_outdated && !matches!(lookup.wait, Wait::For(_)),
            Outcome::Offline => true,
            Outcome::Settled | Outcome::First | Outcome::Elapsed => false,
        };
        if is_to_be_asked_again {
            lookup.waiting.into_iter().for_each(|one| self.settle(one));
            return;
        }
        // Within a time that somebody chose there may have been no answer, but there may be one.
        let has_settled = match lookup.wait {
            Wait::For(_) => false,
            _ => matches!(outcome, Outcome::Settled | Outcome::NotFound),
        };
        if !has_settled || lookup.is_outdated {
            // The next one shall not have to wait.
            self.look_up(&lookup.question, Wait::Settled);
        } else if let Some(browse) = self.browses.open.get_mut(&lookup.question) {
            browse.settled = true;
            self.shared.learn(&lookup.question, &browse.usage);
        }
        for settle in lookup.waiting {
            self.answer(settle);
        }
    }

    /// After this nothing counts as known before it was asked for again: where nobody answered
    /// before, somebody may now.
    pub(super) fn unsettle(&mut self) {
        for (question, browse) in &mut self.browses.open {
            if std::mem::take(&mut browse.settled) {
                self.shared.forget(question);
            }
        }
        for lookup in self.browses.lookups.values_mut() {
            lookup.is_outdated = true;
        }
    }

    /// Says that the answer is there, or why there can't be any: in an outage, only what is on
    /// this very host is known for certain. That nobody waits for it any more is fine.
    fn answer(&mut self, settle: Settle) {
        let stale = self.shared.staleness();
        let stale = stale.filter(|_| !self.engine.is_certain(&settle.question));
        match stale {
            Some(_) if settle.patient => {
                self.browses.parked.retain(|other| !other.reply.is_closed());
                self.browses.parked.push(settle);
            }
            Some(error) => drop(settle.reply.send(Err(error))),
            None => drop(settle.reply.send(Ok(()))),
        }
    }

    /// Goes on after an outage.
    pub(super) fn resume(&mut self) {
        for settle in std::mem::take(&mut self.browses.parked) {
            self.settle(settle);
        }
    }

    pub(super) fn end_idle_browses(&mut self, now: Instant) {
        if now < self.browses.next_look {
            return;
        }
        self.browses.next_look = now + LOOK;
        let is_stale = self.shared.staleness().is_some();
        let mut idle = Vec::new();
        for (question, browse) in &mut self.browses.open {
            browse.topics.retain(|topic| self.view.watchers(topic) > 0);
            if browse.usage.take() || !browse.topics.is_empty() {
                browse.last_used = now;
            } else if now - browse.last_used >= IDLE {
                idle.push(question.clone());
            }
        }
        // What is known in an outage can't be had again before its end.
        idle.retain(|question| !is_stale || !self.has_any(question));
        for question in idle {
            tracing::debug!(?question, "nobody asks any more");
            self.shared.forget(&question);
            self.browses.open.remove(&question);
            self.engine.end_browse(now.into_std(), &question);
        }
    }
}
