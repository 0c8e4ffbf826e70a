//! One's own questions, which come back by multicast like those of others.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    time::{Duration, Instant},
};

use super::links::LinkId;

/// An echo comes at once, if it comes at all.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_EXPECTED: usize = 1_024;

/// The questions whose echo is still to come.
///
/// Another engine on this host may ask the very same question from the same address and port. So
/// each echo is expected once: which of the two is then answered makes no difference.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    hasher: foldhash::fast::RandomState,
    expected: HashMap<(LinkId, u64), Expected>,
}

#[derive(Debug)]
struct Expected {
    count: u32,
    until: Instant,
}

impl Echoes {
    pub(super) fn expect(&mut self, now: Instant, link: LinkId, payload: &[u8]) {
        if self.expected.len() >= MAX_EXPECTED {
            self.expected.retain(|_, expected| expected.until > now);
        }
        let key = (link, self.hasher.hash_one(payload));
        let expected = self.expected.entry(key).or_insert(Expected {
            count: 0,
            until: now,
        });
        expected.count = if expected.until > now {
            expected.count + 1
        } else {
            1
        };
        expected.until = now + PATIENCE;
    }

    /// Whether a packet from this host is an echo.
    pub(super) fn take(&mut self, now: Instant, link: LinkId, payload: &[u8]) -> bool {
        let key = (link, self.hasher.hash_one(payload));
        let Some(expected) = self.expected.get_mut(&key) else {
            return false;
        };
        let is_echo = expected.until > now;
        expected.count -= 1;
        if expected.count == 0 {
            self.expected.remove(&key);
        }
        is_echo
    }
}
