//! What answers tell look-ups: who was heard of, and whether more is to follow.

use std::{
    collections::HashSet,
    hash::BuildHasher,
    time::{Duration, Instant},
};

use super::super::{
    Engine,
    intake::Origin,
    lease::Source,
    links::PLAUSIBLE,
    receipts::{self, MAX_RECEIPTS},
};
use crate::codec::{Data, Message, Name};

/// Of so many at a time it is remembered that their answers are not whole.
const MAX_UNFINISHED: usize = 256;

impl Engine {
    /// An instance was heard of in an answer; `is_new` if it was not known.
    pub(in crate::engine) fn heard(
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
                let answers = Duration::from_millis(20)..PLAUSIBLE;
                if let Some(delay) = delay.filter(|delay| answers.contains(delay)) {
                    link.delays.observe(delay);
                }
            }
        }
    }

    /// A packet of an answer to a one-shot question came; notes whether more are to follow.
    pub(in crate::engine) fn note_whole(&mut self, message: &Message, by: Source) {
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
                    lookup.tokens.insert(target, *token);
                    if !message.truncated && lookup.unconfirmed.remove(*target) {
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
}
