//! Asking for blobs: for a few chunks at a time, one of the hosts that hold them, and another one when
//! that is silent.
//!
//! Whoever waits for a look-up asks at once, and is answered at once, by unicast. Whoever merely
//! watches waits a little, asks for all by multicast, and leaves the asking to others who were
//! sooner (RFC 6762 section 7.3); and so does everybody as soon as it shows that many want the same.

use std::time::{Duration, Instant};

use super::{Chunk, PATIENCE, Stage};
use crate::{
    codec::{Ask, Message, kind},
    engine::{Destination, Engine, Port, links::LinkId},
    mapping::{Digest, chunk_name},
};

/// So often in a row nothing may come before a blob counts as not to be had, and so often while
/// others wait for their turn: whoever names blobs that nobody has must not keep them waiting.
const ATTEMPTS: u32 = 6;
const HASTY_ATTEMPTS: u32 = 1;
/// How long others may go first.
const CROWD: u64 = 100;

impl Engine {
    /// Asks for what is wanted next.
    pub(in crate::engine) fn flush_blobs(&mut self, now: Instant) {
        while let Some(digest) = self.blobs.stirred.pop_first() {
            self.pump_blob(now, digest);
            self.arm_blob(digest);
        }
    }

    fn pump_blob(&mut self, now: Instant, digest: Digest) {
        let is_waited_for = self.is_looked_up(digest);
        let expiry = self.expiry;
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        let is_active = matches!(want.stage, Stage::Active { .. });
        if is_active && want.are_holders(|link| expiry.is_cut_off(link)) {
            want.stage = Stage::CutOff;
            return self.blobs.stop(now);
        }
        if want.time_out(now) {
            want.turn += 1;
            want.attempts += 1;
            let attempts = match self.blobs.queue.is_empty() {
                true => ATTEMPTS,
                false => HASTY_ATTEMPTS,
            };
            let is_spared = want.are_holders(|link| expiry.spares(now, link));
            if want.attempts > attempts && !is_spared {
                return self.fail_blob(now, digest);
            }
        }
        let next = want.next_chunks();
        let is_eager = is_waited_for && !want.is_crowded;
        let Stage::Active { defer, .. } = &mut want.stage else {
            return;
        };
        if next.is_empty() {
            *defer = None;
            return;
        }
        if !is_eager {
            let wait = Duration::from_millis(self.random.u64(0..=CROWD));
            if *defer.get_or_insert(now + wait) > now {
                return;
            }
        }
        *defer = None;
        self.ask_chunks(now, digest, &next, is_eager);
    }

    /// Whether somebody waits for the nodes that wait for this.
    fn is_looked_up(&self, digest: Digest) -> bool {
        let topics = &self.cache.topics;
        let want = self.blobs.wants.get(&digest);
        let mut users = want.into_iter().flat_map(|want| &want.users);
        users.any(|name| {
            let instance = self.cache.instances.get(name);
            let mut pointers = instance.into_iter().flat_map(|known| &known.pointers);
            pointers.any(|(topic, _)| {
                let topic = topics.get(topic);
                topic.is_some_and(|topic| !topic.lookups.is_empty())
            })
        })
    }

    fn ask_chunks(&mut self, now: Instant, digest: Digest, indices: &[u16], is_eager: bool) {
        let patience = self.patience(digest);
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        let until = now + patience * (1 << want.attempts.min(4));
        if let Stage::Active { chunks, .. } = &mut want.stage {
            for index in indices {
                if let Some(chunk) = chunks.get_mut(usize::from(*index)) {
                    *chunk = Chunk::Asked { until };
                }
            }
        }
        let is_repeated = want.attempts > 0;
        let Some((target, link)) = want.holder().cloned() else {
            return;
        };
        let names = indices
            .iter()
            .filter_map(|index| chunk_name(*index, digest, &target));
        let asks: Vec<_> = names.map(|name| Ask::new(name, kind::TXT)).collect();
        let links = match self.links.get_mut(link) {
            Some(_) => vec![link],
            None => self.links.ids(),
        };
        // Where a firewall lets only multicast in, answers come to the standing port alone.
        if !is_eager || is_repeated {
            self.ask_all(now, &asks, &links);
        }
        if is_eager {
            self.ask_once(now, asks, [Vec::new(), Vec::new()], &links, is_repeated);
        }
    }

    fn patience(&mut self, digest: Digest) -> Duration {
        let want = self.blobs.wants.get(&digest);
        let link = want.and_then(|want| want.holder()).map(|(_, link)| *link);
        let link = link.and_then(|link| self.links.get_mut(link));
        let quiet = link.map_or(*PATIENCE.end(), |link| link.quiet());
        (2 * quiet).clamp(*PATIENCE.start(), *PATIENCE.end())
    }

    /// Asks from the standing port, so that the answers are for all.
    fn ask_all(&mut self, now: Instant, asks: &[Ask], links: &[LinkId]) {
        let mut message = Message::query();
        message.questions = asks.to_vec();
        let Some(payload) = message.encode() else {
            return;
        };
        for link in links {
            self.echoes.expect(now, *link, &payload);
            let to = Destination::Multicast;
            self.send(now, *link, Port::Standing, to, payload.clone());
        }
    }
}
