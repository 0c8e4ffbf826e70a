//! What is asked for good: names of services, and lists of them.

use std::time::{Duration, Instant};

use super::{
    Due, Go, Map,
    names::{LIST, name, under},
};
use crate::{
    codec::{Ask, Message, kind},
    engine::{Destination, Port, Question, links::LinkId, timers::Alarm},
};

const FIRST_INTERVAL: Duration = Duration::from_secs(1);
const LAST_INTERVAL: Duration = Duration::from_secs(3_600);
/// Within so many milliseconds everything is asked again.
pub(super) const ASK_AGAIN_MS: u64 = 100;
/// Questions for one thing that come together are one.
const TOGETHER: Duration = Duration::from_millis(5);
/// Entries of all lists: each is asked for, and whoever lists what does not exist shall not make much
/// of that.
const MAX_LISTED: usize = 1_024;

/// A name that is asked for.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) asked: Option<Instant>,
    interval: Duration,
    next: Option<Instant>,
    pub(super) alarm: Alarm,
}

/// What lists have: entries by list, each with the time until which it counts.
#[derive(Debug, Default)]
pub(super) struct Listed {
    lists: Map<String, Map<String, Instant>>,
    count: usize,
}

impl Listed {
    /// Takes an entry in; gives whether it is new.
    fn put(&mut self, list: &str, entry: &str, until: Instant) -> bool {
        if let Some(known) = self
            .lists
            .get_mut(list)
            .and_then(|list| list.get_mut(entry))
        {
            *known = until;
            return false;
        }
        if self.count >= MAX_LISTED {
            return false;
        }
        self.count += 1;
        let entries = self.lists.entry(list.to_owned()).or_default();
        entries.insert(entry.to_owned(), until);
        true
    }

    fn of(&self, list: &str) -> impl Iterator<Item = &str> {
        let entries = self.lists.get(list).into_iter().flatten();
        entries.map(|(entry, _)| entry.as_str())
    }

    /// Drops what has not been heard of for long.
    fn prune(&mut self, now: Instant) {
        for entries in self.lists.values_mut() {
            entries.retain(|_, until| *until > now);
        }
        self.lists.retain(|_, entries| !entries.is_empty());
        self.count = self.lists.values().map(Map::len).sum();
    }
}

impl Go {
    pub(crate) fn browse(&mut self, now: Instant, question: Question) {
        let now = self.advance(now);
        *self.browses.entry(question.clone()).or_default() += 1;
        self.begin(now, &question);
    }

    pub(crate) fn end_browse(&mut self, now: Instant, question: &Question) {
        let now = self.advance(now);
        if let Some(count) = self.browses.get_mut(question) {
            *count -= 1;
            if *count == 0 {
                self.browses.remove(question);
                self.release_topics(now);
            }
        }
    }

    /// Asks everything again soon: packets may have been lost.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        let now = self.advance(now);
        let topics: Vec<_> = self.topics.keys().cloned().collect();
        for topic in topics {
            let jitter = Duration::from_millis(self.random.u64(0..=ASK_AGAIN_MS));
            if let Some(known) = self.topics.get_mut(&topic) {
                known.interval = FIRST_INTERVAL;
            }
            self.ask_by(now + jitter, &topic);
        }
    }

    /// Where the answers to a question are asked for.
    pub(super) fn topics_of(&self, question: &Question) -> Vec<String> {
        match question {
            Question::Service { namespace, name } => vec![under(name, &self.domain(namespace))],
            Question::All => {
                let mut topics = Vec::new();
                for domain in self.domains() {
                    let list = under(LIST, &domain);
                    topics.extend(self.listed.of(&list).map(|entry| under(entry, &domain)));
                    topics.push(list);
                }
                if self.manner.domain.is_none() {
                    topics.push(LIST.to_owned());
                }
                topics
            }
        }
    }

    /// The domains that are known: one, or those of the namespaces of which something was heard.
    fn domains(&self) -> Vec<String> {
        if let Some(domain) = &self.manner.domain {
            return vec![domain.to_string()];
        }
        let own = self.own.iter().map(|own| &*own.domain);
        let mut domains: Vec<String> = [&*self.manner.namespace]
            .into_iter()
            .chain(own)
            .chain(self.listed.of(LIST))
            .map(str::to_owned)
            .collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    pub(super) fn wants_all(&self) -> bool {
        let mut looked_up = self.lookups.values().map(|lookup| &lookup.question);
        self.browses.contains_key(&Question::All) || looked_up.any(|one| *one == Question::All)
    }

    pub(super) fn is_wanted(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Sees to it that everything is asked for that a question needs.
    pub(super) fn begin(&mut self, now: Instant, question: &Question) {
        for topic in self.topics_of(question) {
            self.add_topic(now, topic);
        }
    }

    fn add_topic(&mut self, now: Instant, topic: String) {
        if !self.topics.contains_key(&topic) {
            let fresh = Topic {
                interval: FIRST_INTERVAL,
                ..Topic::default()
            };
            self.topics.insert(topic.clone(), fresh);
            self.stir_all(now);
            self.ask_by(now, &topic);
        }
    }

    /// Stops asking for what nobody wants any more, and forgets it.
    pub(super) fn release_topics(&mut self, now: Instant) {
        self.listed.prune(now);
        let questions = self.browses.keys();
        let questions = questions.chain(self.lookups.values().map(|lookup| &lookup.question));
        let wanted: std::collections::HashSet<String> = questions
            .flat_map(|question| self.topics_of(question))
            .collect();
        self.topics.retain(|topic, _| wanted.contains(topic));
        self.forget_unwanted();
    }

    /// Hears of an entry of a list.
    pub(super) fn hear_entry(&mut self, now: Instant, list: &str, target: &str, ttl: u32) {
        let entry = target
            .strip_suffix(list)
            .and_then(|rest| rest.strip_suffix('.'));
        let Some(entry) = entry.filter(|entry| !entry.is_empty() && ttl != 0) else {
            return;
        };
        if !self.topics.contains_key(list) {
            return;
        }
        if list == LIST {
            self.learn_domain(now, entry, ttl);
        } else if let Some(domain) = list.strip_prefix("_services.") {
            self.learn_topic(now, entry, domain, ttl);
        }
    }

    /// Asks for a service of a domain that was heard of, if all are wanted.
    pub(super) fn learn_topic(&mut self, now: Instant, service: &str, domain: &str, ttl: u32) {
        if !self.wants_all() {
            return;
        }
        let until = now + Duration::from_secs(ttl.into());
        if self.listed.put(&under(LIST, domain), service, until) {
            self.learn_domain(now, domain, ttl);
            self.add_topic(now, under(service, domain));
        }
    }

    fn learn_domain(&mut self, now: Instant, domain: &str, ttl: u32) {
        if self.manner.domain.is_none()
            && self.wants_all()
            && self
                .listed
                .put(LIST, domain, now + Duration::from_secs(ttl.into()))
        {
            self.add_topic(now, under(LIST, domain));
        }
    }

    /// Asks for a topic now, unless it was asked for within `pause`.
    pub(super) fn ask_soon(&mut self, now: Instant, topic: &str, pause: Duration) {
        let asked = self.topics.get(topic).and_then(|topic| topic.asked);
        self.ask_by(asked.map_or(now, |asked| now.max(asked + pause)), topic);
    }

    fn ask_by(&mut self, at: Instant, topic: &str) {
        if let Some(known) = self.topics.get_mut(topic) {
            let at = known.next.map_or(at, |next| next.min(at));
            known.next = Some(at);
            self.timers
                .set(&mut known.alarm, at, || Due::Topic(topic.to_owned()));
        }
    }

    pub(super) fn topic_due(&mut self, now: Instant, at: Instant, topic: &str) {
        let Some(known) = self.topics.get_mut(topic) else {
            return;
        };
        if !known.alarm.rings(at) {
            return;
        }
        let is_due = known.next.is_some_and(|next| next <= now);
        if is_due {
            // Spread, so that processes that began together do not go on together.
            let jitter = Duration::from_millis(self.random.u64(0..=250));
            known.next = Some(now + known.interval + jitter);
            known.interval = (known.interval * 2).min(LAST_INTERVAL);
            let links = self.links.ids();
            self.ask(now, topic, &links);
            if topic.starts_with(LIST) {
                self.listed.prune(now);
            }
        }
        if let Some(known) = self.topics.get_mut(topic)
            && let Some(next) = known.next
        {
            self.timers
                .set(&mut known.alarm, next, || Due::Topic(topic.to_owned()));
        }
    }

    /// Asks, from ports that are not shared.
    pub(super) fn ask(&mut self, now: Instant, topic: &str, links: &[LinkId]) {
        let Some(known) = self.topics.get_mut(topic) else {
            return;
        };
        if known.asked.is_some_and(|asked| now < asked + TOGETHER) {
            return;
        }
        known.asked = Some(now);
        let Some(asked) = name(topic) else {
            return;
        };
        let mut message = Message::query();
        message.questions = vec![Ask::new(asked, kind::PTR)];
        for link in links {
            message.id = self.random.u16(1..);
            self.send(now, *link, Port::Query, Destination::Multicast, &message);
        }
    }
}
