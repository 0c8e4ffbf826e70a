//! When a look-up asks, and what.

use std::time::{Duration, Instant};

use super::super::{
    Destination, Engine, LinkKind, LookupId, Port, intake::Asked, links::LinkId,
    packing::pack_question,
};
use crate::codec::{Ask, Record};

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
/// How long answers to a one-shot question are taken.
const ANSWERABLE: Duration = Duration::from_secs(2);
const MAX_ASKED: usize = 4_096;

/// Known answers in a question that is asked again: as many as surely fit into one packet. Of more there
/// are receipts.
pub(in crate::engine) const MAX_KNOWN: usize = 12;

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

impl Engine {
    /// Asks as far as it is time to; gives when to ask next.
    pub(super) fn ask_due_rounds(&mut self, now: Instant, id: LookupId) -> Option<Instant> {
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

    pub(super) fn ask_round(&mut self, now: Instant, id: LookupId, links: &[LinkId]) {
        let Some(lookup) = self.lookups.get(&id) else {
            return;
        };
        let topic = lookup.topic.clone();
        let is_repeated = lookup.rounds > 1;
        let (asks, mut along) = self.one_shot(&topic);
        let mut known = Vec::new();
        if is_repeated && lookup.heard.len() <= MAX_KNOWN && lookup.tokens.is_empty() {
            known = self.cache.known_answers(now, &topic);
            known.truncate(MAX_KNOWN);
        } else if is_repeated {
            along.extend(self.receipts(&topic, &lookup.tokens, true));
        }
        self.ask_once(now, asks, [known, along], links, is_repeated);
    }

    /// Asks one-shot questions, with an id of its own on each link: with known answers, and with what goes
    /// along.
    pub(in crate::engine) fn ask_once(
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
    pub(in crate::engine) fn asked(&self, now: Instant, id: u16) -> Option<&Asked> {
        self.asked
            .get(&id)
            .filter(|asked| asked.at + ANSWERABLE > now)
    }
}
