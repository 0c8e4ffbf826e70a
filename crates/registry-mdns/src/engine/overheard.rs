//! What the questions of others tell: what need not be asked again (RFC 6762 section 7.3), and
//! what is gone, since it does not answer (section 10.5).

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    Engine,
    cache::{Instance, Topic},
    lease::{APART, Lease, Source},
    links::LinkId,
};
use crate::codec::{Ask, Message, Name, Record, kind};

/// So long after a question its answers may still be on their way.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(200);
const MAX_OVERHEARD: usize = 1_024;

/// The questions of others for the pointers of a name, on one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    link: LinkId,
    /// When the last one was asked that counts as unanswered if it stays so.
    counted: Instant,
    /// When the last one was asked whose answers serve here as well.
    covering: Option<Instant>,
}

/// The questions of others for single records: what, where and when.
#[derive(Debug, Default)]
pub(super) struct Overheard(HashMap<(LinkId, Name, u16), Instant, foldhash::fast::RandomState>);

impl Overheard {
    fn note(&mut self, now: Instant, link: LinkId, name: &Name, kind: u16) {
        if self.0.len() >= MAX_OVERHEARD {
            self.0.retain(|_, at| *at + UNDER_WAY > now);
        }
        if self.0.len() < MAX_OVERHEARD {
            self.0.insert((link, name.clone(), kind), now);
        }
    }

    pub(super) fn is_asked(&self, now: Instant, link: LinkId, name: &Name, kind: u16) -> bool {
        let key = (link, name.clone(), kind);
        self.0.get(&key).is_some_and(|at| *at + UNDER_WAY > now)
    }
}

impl Engine {
    /// Hears a question that was put to everybody, to be answered by multicast.
    pub(super) fn overhear(&mut self, now: Instant, message: &Message, asker: Source) {
        for ask in message.questions.iter().filter(|ask| !ask.unicast) {
            match ask.kind {
                kind::PTR => self.overhear_pointers(now, message, &ask.name, asker),
                kind::SRV | kind::TXT | kind::A | kind::AAAA => {
                    self.overhear_record(now, message, ask, asker);
                }
                _ => {}
            }
        }
    }

    fn overhear_pointers(&mut self, now: Instant, message: &Message, name: &Name, asker: Source) {
        let Some(topic) = self.cache.topics.get(name) else {
            return;
        };
        let listed: HashSet<&Name, foldhash::fast::RandomState> = message.pointers(name).collect();
        let knows = |instance: &&Name| {
            let known = || self.cache.instances.get(*instance);
            self.own.at(instance).is_some() || known().is_some_and(|known| known.is_fresh(now))
        };
        let is_covered = topic.browses > 0 && listed.iter().all(knows);
        let counted = topic.heard.iter().find(|heard| heard.link == asker.link);
        let counts = counted.is_none_or(|heard| heard.counted + APART <= now);
        let unlisted: Vec<_> = match counts {
            true => topic
                .instances
                .iter()
                .filter(|name| !listed.contains(name))
                .cloned()
                .collect(),
            false => Vec::new(),
        };
        for instance in &unlisted {
            self.doubt(now, instance, asker, |known| known.pointer_mut(name));
        }
        if let Some(topic) = self.cache.topics.get_mut(name) {
            let heard = topic.heard(asker.link, now);
            heard.counted = if counts { now } else { heard.counted };
            heard.covering = if is_covered {
                Some(now)
            } else {
                heard.covering
            };
        }
    }

    fn overhear_record(&mut self, now: Instant, message: &Message, ask: &Ask, asker: Source) {
        let answers = |record: &&Record| record.name == ask.name && record.data.kind() == ask.kind;
        if message.answers.iter().any(|record| answers(&record)) {
            return;
        }
        if let Some(host) = self.cache.hosts.get_mut(&ask.name) {
            for known in host
                .addresses
                .iter_mut()
                .filter(|known| known.kind() == ask.kind)
            {
                known.lease.doubt(now, asker);
            }
            self.arm_host(&ask.name);
        } else if self.cache.instances.contains_key(&ask.name) {
            self.doubt(now, &ask.name, asker, |known| match ask.kind {
                kind::SRV => known.srv.as_mut().map(|(_, lease)| lease),
                _ => known.txt.as_mut().map(|txt| &mut txt.lease),
            });
        } else {
            return;
        }
        self.overheard.note(now, asker.link, &ask.name, ask.kind);
    }

    /// Counts a question that a record has to answer.
    fn doubt(
        &mut self,
        now: Instant,
        name: &Name,
        asker: Source,
        lease: impl FnOnce(&mut Instance) -> Option<&mut Lease>,
    ) {
        let lease = self.cache.instances.get_mut(name).and_then(lease);
        if lease.is_some_and(|lease| lease.doubt(now, asker)) {
            self.arm_instance(name);
        }
    }
}

impl Topic {
    /// Forgets what was asked on other links than these.
    pub(super) fn keep_links(&mut self, links: &[LinkId]) {
        self.heard.retain(|heard| links.contains(&heard.link));
    }

    /// When others asked on a link last, since `from`, and knew no more than is known here.
    pub(super) fn served_on(&self, link: LinkId, from: Instant) -> Option<Instant> {
        let mut heard = self.heard.iter().filter(|heard| heard.link == link);
        let covering = heard.next().and_then(|heard| heard.covering);
        covering.filter(|at| *at >= from)
    }

    fn heard(&mut self, link: LinkId, now: Instant) -> &mut Heard {
        let known = self.heard.iter().position(|heard| heard.link == link);
        let at = known.unwrap_or_else(|| {
            self.heard.push(Heard {
                link,
                counted: now,
                covering: None,
            });
            self.heard.len() - 1
        });
        &mut self.heard[at]
    }
}
