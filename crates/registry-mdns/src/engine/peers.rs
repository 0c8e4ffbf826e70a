//! How many others there are, so that they don't all answer at the same moment.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    time::Duration,
};

use super::own::Registrations;
use crate::codec::{Data, Message, Name};

/// For each peer that may answer the same one-shot question.
const SPREAD: Duration = Duration::from_micros(20);
const MAX_SPREAD: Duration = Duration::from_millis(120);
/// For each packet more of such an answer: who asks can read about so many.
const SPREAD_A_PACKET: Duration = Duration::from_micros(40);
/// Who has much to say does not wait for longer.
const MAX_SPREAD_OF_PACKETS: Duration = Duration::from_millis(20);
/// Below that, a timer would cost more than it spreads.
const WORTHWHILE: Duration = Duration::from_millis(1);
const MAX_SEEN: usize = 16_384;

/// The processes that have nodes at the same names as this one, as far as they were heard.
#[derive(Debug, Default)]
pub(super) struct Peers {
    hasher: foldhash::fast::RandomState,
    /// Hashes of their host names.
    at: HashMap<Name, HashSet<u64, foldhash::fast::RandomState>, foldhash::fast::RandomState>,
    seen: usize,
}

impl Peers {
    /// Sees who answers where `own` answers, too.
    pub(super) fn see(&mut self, message: &Message, own: &Registrations, all: &Name) {
        if own.is_empty() {
            return;
        }
        let records = || message.answers.iter().chain(&message.additionals);
        let mut targets: HashMap<&Name, (u64, bool), foldhash::fast::RandomState> =
            HashMap::default();
        for record in records() {
            if let Data::Srv(srv) = &record.data
                && !own.is_own_target(&srv.target)
            {
                let target = self.hasher.hash_one(&srv.target);
                targets.insert(&record.name, (target, record.ttl > 0));
            }
        }
        for record in records() {
            let Data::Ptr(instance) = &record.data else {
                continue;
            };
            let is_shared = record.name == *all || !own.named(&record.name).is_empty();
            match targets.get(instance) {
                Some((target, true)) if is_shared => self.insert(&record.name, *target, own, all),
                Some((target, false)) => self.remove(&record.name, *target),
                _ => {}
            }
        }
    }

    fn insert(&mut self, name: &Name, target: u64, own: &Registrations, all: &Name) {
        if self.seen >= MAX_SEEN {
            self.at
                .retain(|name, _| name == all || !own.named(name).is_empty());
            self.seen = self.at.values().map(HashSet::len).sum();
        }
        if self.seen < MAX_SEEN {
            let seen = self.at.entry(name.clone()).or_default();
            self.seen += usize::from(seen.insert(target));
        }
    }

    fn remove(&mut self, name: &Name, target: u64) {
        if let Some(seen) = self.at.get_mut(name) {
            self.seen -= usize::from(seen.remove(&target));
        }
    }

    /// Within which time to answer a question for these names in so many packets; none if at once.
    pub(super) fn spread<'a>(
        &self,
        names: impl Iterator<Item = &'a Name>,
        packets: usize,
    ) -> Option<Duration> {
        let seen = names.filter_map(|name| self.at.get(name).map(HashSet::len));
        let seen = u32::try_from(seen.max()?).unwrap_or(u32::MAX);
        let more = u32::try_from(packets.saturating_sub(1)).unwrap_or(u32::MAX);
        let for_packets = SPREAD_A_PACKET.saturating_mul(seen.saturating_mul(more));
        let most = SPREAD.saturating_mul(seen) + for_packets.min(MAX_SPREAD_OF_PACKETS);
        let most = MAX_SPREAD.min(most);
        Some(most).filter(|most| *most >= WORTHWHILE)
    }
}
