//! The blobs of one's own registrations, and answering for their chunks.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    codec::{Ask, Name},
    engine::{
        Engine,
        links::LinkId,
        own::{Answer, HostKey},
        responder::RATE,
    },
    mapping::{Blob, Digest, chunk_name, parse_chunk_name},
};

/// So often a second a chunk is sent to one asker at once; who asks after that gets it with all
/// the others, by multicast, which it is once a second.
const DIRECT: u32 = 4;
/// Blobs that nothing names any more: somebody may still be fetching them.
const LINGERING: usize = 8;

/// A chunk, as one of the host names of this engine offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::engine) struct ChunkKey {
    blob: u32,
    index: u16,
    host: HostKey,
}

/// The blobs that are answered for.
#[derive(Debug, Default)]
pub(in crate::engine) struct Holdings {
    keys: HashMap<Digest, u32>,
    blobs: HashMap<u32, Held>,
    lingering: VecDeque<u32>,
    next: u32,
    /// What was sent to single askers: since when, and how often.
    direct: HashMap<ChunkKey, (Instant, u32)>,
}

#[derive(Debug)]
struct Held {
    blob: Blob,
    users: usize,
}

impl Holdings {
    /// Answers for a blob from now on, once more.
    pub(in crate::engine) fn hold(&mut self, blob: &Blob) {
        if let Some(held) = self
            .keys
            .get(&blob.digest)
            .and_then(|key| self.blobs.get_mut(key))
        {
            held.users += 1;
            return;
        }
        self.next += 1;
        self.keys.insert(blob.digest, self.next);
        let held = Held {
            blob: blob.clone(),
            users: 1,
        };
        self.blobs.insert(self.next, held);
    }

    /// The opposite of [`hold`](Self::hold).
    pub(in crate::engine) fn release(&mut self, digest: Digest) {
        let Some(key) = self.keys.get(&digest).copied() else {
            return;
        };
        if let Some(held) = self.blobs.get_mut(&key) {
            held.users -= 1;
            if held.users == 0 {
                self.lingering.push_back(key);
            }
        }
    }

    pub(in crate::engine) fn get(&self, digest: Digest) -> Option<Blob> {
        let held = self.blobs.get(self.keys.get(&digest)?)?;
        Some(held.blob.clone())
    }

    /// Forgets what has lingered long enough, and gives its keys.
    fn tidy(&mut self) -> Vec<u32> {
        let mut dropped = Vec::new();
        while self.lingering.len() > LINGERING
            && let Some(key) = self.lingering.pop_front()
        {
            let is_unused = |held: &Held| held.users == 0;
            // It may be in use again, or linger once more since.
            if self.lingering.contains(&key) || !self.blobs.get(&key).is_some_and(is_unused) {
                continue;
            }
            if let Some(held) = self.blobs.remove(&key) {
                self.keys.remove(&held.blob.digest);
                dropped.push(key);
            }
        }
        dropped
    }

    /// The chunk of this digest and number, if it is held.
    pub(in crate::engine) fn find(
        &self,
        digest: Digest,
        index: u16,
        host: HostKey,
    ) -> Option<ChunkKey> {
        let blob = *self.keys.get(&digest)?;
        let held = self.blobs.get(&blob)?;
        (index < held.blob.reference().chunks).then_some(ChunkKey { blob, index, host })
    }

    /// Where a chunk stands below a host name, and its TXT record.
    pub(in crate::engine) fn record(
        &self,
        key: ChunkKey,
        target: &Name,
    ) -> Option<(Name, Arc<[u8]>)> {
        let blob = &self.blobs.get(&key.blob)?.blob;
        let name = chunk_name(key.index, blob.digest, target)?;
        Some((name, blob.chunk(key.index)?))
    }

    /// Whether one more asker may have this chunk for himself.
    fn may_direct(&mut self, now: Instant, key: ChunkKey) -> bool {
        let (since, count) = self.direct.entry(key).or_insert((now, 0));
        if now >= *since + Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= DIRECT
    }

    /// How many there are.
    #[cfg(test)]
    pub(in crate::engine) fn len(&self) -> usize {
        self.blobs.len()
    }

    fn forget(&mut self, dropped: &[u32]) {
        self.direct.retain(|key, _| !dropped.contains(&key.blob));
    }
}

impl ChunkKey {
    pub(in crate::engine) fn host(self) -> HostKey {
        self.host
    }
}

impl Engine {
    /// The chunk of one's own that stands at a name.
    pub(in crate::engine) fn own_chunk(&self, name: &Name) -> Option<Answer> {
        let (index, digest, holder) = parse_chunk_name(name)?;
        let target = Name::from_labels([holder, b"local"])?;
        let host = self.own.host_at(&target)?;
        self.own.blobs.find(digest, index, host).map(Answer::Chunk)
    }

    /// Leaves out the chunks that too many ask for; they go to all at once.
    pub(in crate::engine) fn spare_chunks(
        &mut self,
        now: Instant,
        link: LinkId,
        mut answers: Vec<(Answer, Ask)>,
    ) -> Vec<(Answer, Ask)> {
        let mut wanted = Vec::new();
        answers.retain(|(answer, _)| match answer {
            Answer::Chunk(key) if !self.own.blobs.may_direct(now, *key) => {
                wanted.push(*answer);
                false
            }
            _ => true,
        });
        for answer in wanted {
            self.plan(now, link, answer, now, RATE);
        }
        answers
    }

    /// Forgets blobs that nobody should want any more.
    pub(in crate::engine) fn tidy_blobs(&mut self) {
        let dropped = self.own.blobs.tidy();
        if dropped.is_empty() {
            return;
        }
        self.own.blobs.forget(&dropped);
        let is_kept = |answer: &Answer| match answer {
            Answer::Chunk(key) => !dropped.contains(&key.blob),
            _ => true,
        };
        for link in self.links.iter_mut() {
            link.pending.retain(|answer, _| is_kept(answer));
            link.sent.retain(|answer, _| is_kept(answer));
        }
    }
}
