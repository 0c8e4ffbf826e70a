//! What has come is given to those who wait for it, as far as there is room.

use std::time::Instant;

use super::{RETRY, Stage};
use crate::{
    codec::Name,
    engine::{Ending, Engine, quota::taken},
    mapping::{Digest, Unread, decode},
};

impl Engine {
    /// All of a blob is here: if it is what it should be, those who wait for it are nodes now.
    pub(super) fn complete_blob(&mut self, now: Instant, digest: Digest) {
        let Some(want) = self.blobs.wants.get(&digest) else {
            return;
        };
        let (host, Some(whole)) = (want.host, want.whole()) else {
            return;
        };
        if Digest::of(&whole) != digest {
            return self.spoil_blob(now, digest);
        }
        // Who holds it need not be who has others want it.
        self.cache.extras.come_from(host);
        match self.cache.extras.inflate(digest, &whole) {
            Err(Unread::NoRoom) => return self.postpone_blob(now, digest),
            Err(Unread::Nonsense) => self.counters.unreadable += 1,
            Ok(_) => {}
        }
        self.deliver_blob(now, digest);
    }

    /// There is no room for a blob at present.
    fn postpone_blob(&mut self, now: Instant, digest: Digest) {
        if let Some(want) = self.blobs.wants.get_mut(&digest) {
            self.counters.refused += 1;
            want.stage = Stage::NoRoom { retry: now + RETRY };
            self.blobs.stirred.insert(digest);
            self.blobs.stop(now);
            self.look_at_lookups(now);
        }
    }

    /// A blob is here, as far as it can be understood: gives it to those who wait for it. For whom
    /// there is no room, he goes on as what he was.
    pub(super) fn deliver_blob(&mut self, now: Instant, digest: Digest) {
        let Some(mut want) = self.blobs.remove(now, digest) else {
            return;
        };
        let users = std::mem::take(&mut want.users).into_iter();
        let waiting: Vec<_> = users
            .filter(|name| !self.deliver_to(now, name, want.host))
            .collect();
        let instances = &self.cache.instances;
        let waits = |name: &Name| {
            instances
                .get(name)
                .is_some_and(|known| known.awaits == Some(digest))
        };
        want.users = waiting.into_iter().filter(waits).collect();
        if !want.users.is_empty() {
            want.stage = Stage::NoRoom { retry: now + RETRY };
            self.blobs.wants.insert(digest, want);
            self.blobs.stirred.insert(digest);
        }
    }

    /// Takes a blob in for one who waits for it; false if he has to wait on, for room.
    fn deliver_to(&mut self, now: Instant, name: &Name, host: u32) -> bool {
        let Some(instance) = self.cache.instances.get(name) else {
            return true;
        };
        let is_shown = instance.node.is_some();
        let by = instance.charge.host().unwrap_or(host);
        let txt = instance.txt.as_ref().map(|txt| &txt.bytes);
        // What is deflated in the record itself is in use: there is room for it.
        let facts = txt.and_then(|txt| decode(txt, &mut self.cache.extras).ok());
        let bytes = taken(txt.map_or(0, |txt| txt.len()), facts.as_ref());
        if !self.recharge(now, name, by, bytes) {
            if !is_shown {
                self.forget_instance(name, Ending::Lost);
            }
            return !is_shown;
        }
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return true;
        };
        instance.awaits = None;
        instance.is_dirty = true;
        if let Some(txt) = &mut instance.txt {
            txt.facts = facts.map(Into::into);
        }
        let target = instance.srv.as_ref().map(|(srv, _)| srv.target.clone());
        self.cache.follow_host(name, target.as_ref());
        self.follow(now, name);
        true
    }
}
