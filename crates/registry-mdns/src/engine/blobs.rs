//! Blobs: what does not fit into TXT records.
//!
//! `held` answers for those of one's own registrations. This file knows which of others are wanted and
//! takes in what comes of them, `asking` asks for it, and `delivery` gives what is whole to those who
//! wait for it.

mod asking;
mod delivery;
pub(super) mod held;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    Engine,
    intake::Origin,
    lease::Source,
    links::LinkId,
    timers::{Alarm, Timer},
};
use crate::{
    codec::{Data, Message, Name, Record},
    mapping::{BlobRef, Digest, chunk_bytes, parse_chunk_name},
};

/// Chunks of one blob that are asked for at a time.
const WINDOW: usize = 4;
/// Blobs that are fetched at a time; the others wait.
const MAX_ACTIVE: usize = 16;
/// Holders that are remembered of a blob.
const MAX_HOLDERS: usize = 8;
/// So often a blob may turn out to be something else.
const SPOILED: u32 = 3;
/// When it is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How long an answer is waited for, at first; each time that none comes, twice as long.
const PATIENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(30)..=Duration::from_millis(400);

/// The blobs that are wanted.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    wants: HashMap<Digest, Want>,
    active: usize,
    /// Those that wait, by the host that named them, each of which gets its turn, and by their places.
    queue: BTreeMap<(u32, u64), Digest>,
    last_place: u64,
    last_served: u32,
    /// When something came, or was begun.
    progress: Option<Instant>,
    /// To be looked at before the next packet goes out.
    stirred: BTreeSet<Digest>,
}

#[derive(Debug)]
struct Want {
    reference: BlobRef,
    /// A hash of the address of who named it first.
    host: u32,
    /// The instances that wait for it.
    users: HashSet<Name, foldhash::fast::RandomState>,
    holders: SmallVec<[(Name, LinkId); 1]>,
    /// Which of the holders is asked.
    turn: usize,
    stage: Stage,
    /// How often in a row nothing came.
    attempts: u32,
    /// How often what came was not what it should be.
    spoiled: u32,
    /// When something came, or it began.
    progress: Instant,
    /// Others want it, too.
    is_crowded: bool,
    alarm: Alarm,
}

#[derive(Debug)]
enum Stage {
    /// Its turn is still to come.
    Queued { place: u64 },
    Active {
        chunks: Vec<Chunk>,
        /// Until when others may ask first, once that is decided.
        defer: Option<Instant>,
    },
    /// Nobody who holds it can be asked: there is an outage.
    CutOff,
    /// It could not be had.
    Failed { retry: Instant },
    /// It was had, but there was no room for it.
    NoRoom { retry: Instant },
}

#[derive(Clone, Debug)]
enum Chunk {
    Missing,
    Asked { until: Instant },
    Here(Box<[u8]>),
}

impl Blobs {
    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }

    /// How many are in the queue.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn alarm(&self, digest: Digest) -> Option<Alarm> {
        self.wants.get(&digest).map(|want| want.alarm)
    }

    /// When the last of a blob came, or of those before it; none if it is not to be waited for.
    pub(super) fn progress(&self, digest: Digest) -> Option<Instant> {
        let want = self.wants.get(&digest)?;
        match want.stage {
            Stage::Queued { .. } => Some(want.progress.max(self.progress?)),
            Stage::Active { .. } => Some(want.progress),
            Stage::CutOff | Stage::Failed { .. } | Stage::NoRoom { .. } => None,
        }
    }

    /// Whether a blob may still be had, so that who waits for it stays what he was.
    pub(super) fn may_come(&self, digest: Digest) -> bool {
        let want = self.wants.get(&digest);
        want.is_some_and(|want| !matches!(want.stage, Stage::Failed { .. }))
    }

    fn start(&mut self, now: Instant, digest: Digest) {
        let Some(want) = self.wants.get_mut(&digest) else {
            return;
        };
        if self.active >= MAX_ACTIVE {
            self.last_place += 1;
            let place = self.last_place;
            want.stage = Stage::Queued { place };
            self.queue.insert((want.host, place), digest);
            return;
        }
        self.active += 1;
        want.progress = now;
        self.progress = Some(now);
        (want.attempts, want.spoiled) = (0, 0);
        want.stage = Stage::begin(want.reference);
        self.stirred.insert(digest);
    }

    /// The network is back: what could not be asked for is asked for now.
    pub(super) fn resume(&mut self, now: Instant) {
        let paused = |want: &Want| matches!(want.stage, Stage::CutOff);
        let wants = self.wants.iter().filter(|(_, want)| paused(want));
        let mut digests: Vec<_> = wants.map(|(digest, _)| *digest).collect();
        digests.sort_unstable();
        for digest in digests {
            self.start(now, digest);
        }
    }

    /// One that was active is so no longer.
    fn stop(&mut self, now: Instant) {
        self.active -= 1;
        if let Some(next) = self.next_queued() {
            self.start(now, next);
        }
    }

    fn next_queued(&mut self) -> Option<Digest> {
        let later = (self.last_served.saturating_add(1), 0);
        let mut later = self.queue.range(later..);
        let next = later.next().or_else(|| self.queue.first_key_value());
        let next = next.map(|(next, _)| *next)?;
        self.last_served = next.0;
        self.queue.remove(&next)
    }

    fn remove(&mut self, now: Instant, digest: Digest) -> Option<Want> {
        let want = self.wants.remove(&digest)?;
        match want.stage {
            Stage::Active { .. } => self.stop(now),
            Stage::Queued { place } => drop(self.queue.remove(&(want.host, place))),
            _ => {}
        }
        Some(want)
    }
}

impl Stage {
    fn begin(reference: BlobRef) -> Self {
        Self::Active {
            chunks: vec![Chunk::Missing; reference.chunks.into()],
            defer: None,
        }
    }
}

impl Want {
    fn holder(&self) -> Option<&(Name, LinkId)> {
        self.holders.get(self.turn % self.holders.len().max(1))
    }

    /// Whether this is so of the links of all who hold it.
    fn are_holders(&self, so: impl Fn(LinkId) -> bool) -> bool {
        !self.holders.is_empty() && self.holders.iter().all(|(_, link)| so(*link))
    }

    fn add_holder(&mut self, target: &Name, link: LinkId) {
        let holder = (target.clone(), link);
        if self.holders.len() < MAX_HOLDERS && !self.holders.contains(&holder) {
            self.holders.push(holder);
        }
    }

    /// Whether nothing came of what was asked for by now, and is to be asked for again.
    fn time_out(&mut self, now: Instant) -> bool {
        let Stage::Active { chunks, .. } = &mut self.stage else {
            return false;
        };
        let mut timed_out = false;
        for chunk in chunks {
            if matches!(chunk, Chunk::Asked { until } if *until <= now) {
                *chunk = Chunk::Missing;
                timed_out = true;
            }
        }
        timed_out
    }

    /// Which chunks to ask for next; none if enough are asked for.
    fn next_chunks(&self) -> SmallVec<[u16; WINDOW]> {
        let Stage::Active { chunks, .. } = &self.stage else {
            return SmallVec::new();
        };
        let asked = chunks
            .iter()
            .filter(|chunk| matches!(chunk, Chunk::Asked { .. }));
        let free = WINDOW.saturating_sub(asked.count());
        let missing = (0..).zip(chunks);
        let missing = missing.filter(|(_, chunk)| matches!(chunk, Chunk::Missing));
        let next: SmallVec<[u16; WINDOW]> = missing.map(|(index, _)| index).take(free).collect();
        // Several in one question, rather than one in each.
        match next.len() < 2 && free < WINDOW - 1 {
            true => SmallVec::new(),
            false => next,
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Queued { .. } | Stage::CutOff => None,
            Stage::Failed { retry } | Stage::NoRoom { retry } => Some(*retry),
            Stage::Active { chunks, defer } => {
                let asked = chunks.iter().filter_map(|chunk| match chunk {
                    Chunk::Asked { until } => Some(*until),
                    _ => None,
                });
                asked.chain(*defer).min()
            }
        }
    }

    /// The whole, if all of it is here.
    fn whole(&self) -> Option<Vec<u8>> {
        let Stage::Active { chunks, .. } = &self.stage else {
            return None;
        };
        let mut whole = Vec::new();
        for chunk in chunks {
            match chunk {
                Chunk::Here(bytes) => whole.extend(bytes),
                _ => return None,
            }
        }
        Some(whole)
    }
}

impl Engine {
    /// After an instance's records changed: fetches the blob that it names, if it is not here.
    pub(super) fn follow_blob(&mut self, now: Instant, name: &Name, by: Source) {
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        let facts = instance.txt.as_ref().and_then(|txt| txt.facts.as_ref());
        let missing = facts.and_then(|facts| facts.missing);
        let wanted = missing.map(|blob| blob.digest);
        if instance.awaits != wanted
            && let Some(before) = std::mem::replace(&mut instance.awaits, wanted)
        {
            self.leave_blob(now, before, name);
        }
        let Some(reference) = missing else {
            return;
        };
        let target = self
            .cache
            .instances
            .get(name)
            .and_then(|known| known.srv.as_ref());
        let target = target.map(|(srv, _)| srv.target.clone());
        let is_new = !self.blobs.wants.contains_key(&reference.digest);
        let turn = self.random.usize(..MAX_HOLDERS);
        let want = self
            .blobs
            .wants
            .entry(reference.digest)
            .or_insert_with(|| Want {
                reference,
                host: by.host,
                users: HashSet::default(),
                holders: SmallVec::new(),
                turn,
                stage: Stage::Queued { place: 0 },
                attempts: 0,
                spoiled: 0,
                progress: now,
                is_crowded: false,
                alarm: Alarm::default(),
            });
        want.users.insert(name.clone());
        if let Some(target) = target {
            want.add_holder(&target, by.link);
        }
        // Perhaps somebody who can be asked.
        let is_paused = matches!(want.stage, Stage::CutOff);
        if is_new || is_paused {
            self.blobs.start(now, reference.digest);
        }
    }

    /// An instance waits for a blob no longer.
    pub(super) fn leave_blob(&mut self, now: Instant, digest: Digest, name: &Name) {
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        want.users.remove(name);
        if want.users.is_empty() {
            self.blobs.remove(now, digest);
        }
    }

    /// Takes in what a packet has of the blobs that are wanted.
    pub(super) fn take_chunks<'a>(
        &mut self,
        now: Instant,
        records: impl Iterator<Item = &'a Record>,
        origin: &Origin,
    ) {
        if self.blobs.active == 0 {
            return;
        }
        for record in records {
            if let Data::Txt(txt) = &record.data
                && let Some((index, digest, _)) = parse_chunk_name(&record.name)
                && let Some(bytes) = chunk_bytes(txt)
                && self.take_chunk(now, digest, index, bytes, origin)
            {
                self.complete_blob(now, digest);
            }
        }
    }

    /// Gives whether it was the last one.
    fn take_chunk(
        &mut self,
        now: Instant,
        digest: Digest,
        index: u16,
        bytes: Vec<u8>,
        origin: &Origin,
    ) -> bool {
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return false;
        };
        let Stage::Active { chunks, .. } = &mut want.stage else {
            return false;
        };
        match chunks.get_mut(usize::from(index)) {
            None | Some(Chunk::Here(_)) => return false,
            Some(chunk) => *chunk = Chunk::Here(bytes.into()),
        }
        let is_last = chunks.iter().all(|chunk| matches!(chunk, Chunk::Here(_)));
        want.progress = now;
        self.blobs.progress = Some(now);
        want.attempts = 0;
        want.is_crowded |= origin.asked.is_none();
        self.blobs.stirred.insert(digest);
        is_last
    }

    /// Somebody has sent something else: begins again, with another holder.
    fn spoil_blob(&mut self, now: Instant, digest: Digest) {
        self.counters.damaged += 1;
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        want.turn += 1;
        want.spoiled += 1;
        if want.spoiled > SPOILED {
            return self.fail_blob(now, digest);
        }
        want.stage = Stage::begin(want.reference);
        self.blobs.stirred.insert(digest);
    }

    /// Somebody else asks: others want the same, and who asks by multicast asks for all.
    pub(super) fn overhear_chunks(&mut self, now: Instant, message: &Message, source: SocketAddr) {
        let is_standing = source.port() == self.config.port;
        let is_own = |source: SocketAddr| self.links.is_own(source.ip().to_canonical());
        let is_echo = !is_standing && self.asked(now, message.id).is_some() && is_own(source);
        if self.blobs.active == 0 || is_echo {
            return;
        }
        for ask in &message.questions {
            let Some((index, digest, _)) = parse_chunk_name(&ask.name) else {
                continue;
            };
            let Some(want) = self.blobs.wants.get_mut(&digest) else {
                continue;
            };
            want.is_crowded = true;
            if let Stage::Active { chunks, .. } = &mut want.stage
                && let Some(chunk @ Chunk::Missing) = chunks.get_mut(usize::from(index))
                && is_standing
            {
                let until = now + *PATIENCE.end();
                *chunk = Chunk::Asked { until };
                self.blobs.stirred.insert(digest);
            }
        }
    }

    pub(super) fn blob_due(&mut self, now: Instant, at: Instant, digest: Digest) {
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        if !want.alarm.rings(at) {
            return;
        }
        // Before the next packet goes out it is looked at, and its alarm is set again.
        match want.stage {
            Stage::NoRoom { retry } if retry <= now && self.cache.extras.get(digest).is_some() => {
                self.deliver_blob(now, digest);
            }
            Stage::Failed { retry } | Stage::NoRoom { retry } if retry <= now => {
                self.blobs.start(now, digest);
            }
            _ => drop(self.blobs.stirred.insert(digest)),
        }
    }

    fn arm_blob(&mut self, digest: Digest) {
        if let Some(want) = self.blobs.wants.get_mut(&digest)
            && let Some(at) = want.next_timeout()
        {
            self.timers.set(&mut want.alarm, at, || Timer::Blob(digest));
        }
    }

    /// A blob can't be had for now: what was known before of those who wait for it counts no more.
    fn fail_blob(&mut self, now: Instant, digest: Digest) {
        let Some(want) = self.blobs.wants.get_mut(&digest) else {
            return;
        };
        self.counters.missed += 1;
        want.stage = Stage::Failed { retry: now + RETRY };
        let users: Vec<_> = want.users.iter().cloned().collect();
        self.blobs.stop(now);
        for name in users {
            if let Some(instance) = self.cache.instances.get_mut(&name) {
                instance.is_dirty = true;
            }
            self.follow(now, &name);
        }
        self.look_at_lookups(now);
    }
}
