//! When nothing can be heard, and when somebody is not heard of: as the engine of DNS-SD takes it.

use std::time::{Duration, Instant};

use vine_registry::NodeRef;

use super::{Go, cache::Known};
use crate::engine::{EngineEvent, Interface, Question};

/// How long after an outage nothing expires.
const RECOVERY: Duration = Duration::from_secs(10);
/// When to ask, after somebody could not reach a node.
const ROUNDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
];
/// Who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(2);

/// A node that may be gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    began: Instant,
    asked: usize,
}

impl Trial {
    /// When to look after it again.
    pub(super) fn next(&self) -> Instant {
        self.began + ROUNDS.get(self.asked).copied().unwrap_or(SILENCE)
    }
}

impl Go {
    pub(crate) fn set_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let now = self.advance(now);
        let had = (self.links.had_network(), self.links.had_loopback());
        let is_new = self.links.replace(interfaces);
        let loopback = self.links.loopback();
        self.expiry.loopback_id = loopback.or(self.expiry.loopback_id);
        let resumes = now + RECOVERY;
        let (network, local) = (&mut self.expiry.network, &mut self.expiry.loopback);
        network.follow(self.links.has_network(), had.0, resumes);
        local.follow(loopback.is_some(), had.1, resumes);
        if self.links.is_empty() {
            self.finish_lookups();
        } else if is_new {
            self.begin_anew(now);
        }
        let is_stale = self.links.is_cut_off();
        if is_stale != std::mem::replace(&mut self.is_stale, is_stale) {
            self.events.push_back(match is_stale {
                true => EngineEvent::Stale,
                false => EngineEvent::Live,
            });
        }
    }

    /// The machine slept for so long, and the clock with it.
    pub(crate) fn wake(&mut self, now: Instant, slept: Duration) {
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        let resumes = now + RECOVERY;
        self.expiry.network.raise(resumes);
        self.expiry.loopback.raise(resumes);
        for known in self.nodes.values_mut() {
            known.lease.age(slept);
        }
        self.begin_anew(now);
    }

    fn begin_anew(&mut self, now: Instant) {
        self.arm_all_nodes();
        self.announce_all(now);
        self.ask_again(now);
    }

    /// Whether an answer can be given for certain: always but in an outage, and then for what is
    /// on this very host alone.
    pub(crate) fn is_certain(&self, question: &Question) -> bool {
        let own = self.own.iter().map(|own| &own.identity);
        let is_any = || {
            self.has_found(question) || own.into_iter().any(|identity| identity.answers(question))
        };
        !self.is_stale || self.is_all_near(question) && is_any()
    }

    /// Whether nothing of others can be heard.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether all that answers a question was heard from this very host.
    pub(crate) fn is_all_near(&self, question: &Question) -> bool {
        let mut known = self.nodes.iter();
        known.all(|(identity, known)| known.is_near || !identity.answers(question))
    }

    /// Somebody could not reach a node: asks whether it is still there, unless nothing can be heard.
    pub(crate) fn reconfirm(&mut self, now: Instant, node: &NodeRef) {
        let now = self.advance(now);
        let identity = Self::identity(node);
        if let Some(known) = self.nodes.get_mut(&identity)
            && !known.lease.is_cut_off(&self.expiry)
        {
            known.trial.get_or_insert(Trial {
                began: now,
                asked: 0,
            });
            self.arm_node(&identity);
        }
    }
}

impl Known {
    /// Does what is due for a node that may be gone: gives whether to ask, or that it is gone.
    pub(super) fn try_it(&mut self, now: Instant) -> Verdict {
        let Some(trial) = self.trial.filter(|trial| trial.next() <= now) else {
            return Verdict::Wait;
        };
        let asked = trial.asked + 1;
        if asked > ROUNDS.len() {
            return Verdict::Gone;
        }
        self.trial = Some(Trial { asked, ..trial });
        Verdict::Ask
    }
}

/// What to do about a node that may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait,
    Ask,
    Gone,
}
