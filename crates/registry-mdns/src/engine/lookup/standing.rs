//! When the answer to a look-up is complete.

use std::time::{Duration, Instant};

use vine_registry::Wait;

use super::super::{Engine, Outcome};
use super::{Lookup, asking::MAX_KNOWN};

/// When there is nobody.
const GIVE_UP: Duration = Duration::from_secs(1);
/// When somebody was heard of, but not all that makes a node: packets get lost.
const GIVE_UP_HEARD: Duration = Duration::from_secs(3);
/// How long nodes that were heard of may stay silent.
const SILENCE: Duration = Duration::from_millis(300);
/// How long the blobs of nodes that were heard of may take, as long as something comes.
const FETCHING: Duration = Duration::from_secs(3);
/// How long the rest of an answer of several packets is waited for when nothing new comes, before it
/// counts as lost.
const REST: Duration = Duration::from_millis(100);
/// How often a question is asked again for that at most.
const MAX_REPEATS: u8 = 8;
/// After a long answer, so long after the last that is new those who were not heard as a whole are asked
/// again, whether anything shows that packets were lost or not, and so often at most.
const LULL: Duration = Duration::from_millis(5);
pub(super) const MAX_CONFIRMATIONS: u8 = 16;
/// After that, what there is has to do: the rest comes as news.
const ENOUGH: Duration = Duration::from_secs(2);

/// How a look-up stands.
pub(super) enum Standing {
    Done(Outcome),
    /// To be looked at again then.
    Open(Instant),
    /// Nothing came for a while after a long answer: those who were not heard as a whole are asked.
    Confirm,
    /// Settled, but for one more question on links where packets get lost.
    AskAgain,
}

impl Engine {
    /// Whether a node is known that answers the question.
    pub(super) fn has_found(&self, lookup: &Lookup) -> bool {
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

    /// Whether somebody was heard of who is no node yet, for want of records or of blobs.
    fn is_waiting(&self, lookup: &Lookup) -> bool {
        self.blobs_until(lookup).is_some() || !self.is_complete(lookup)
    }

    pub(super) fn standing(&self, now: Instant, lookup: &Lookup) -> Standing {
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
        let enough = lookup.began + ENOUGH;
        let is_late = enough <= now;
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
        // Where new nodes come all the time it never gets quiet.
        let quiet = quiet.max().unwrap_or(now).min(enough);
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
}
