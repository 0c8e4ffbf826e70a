use xxhash_rust::xxh3::xxh3_64;

use super::{Arrangement, Call, Strategy};
use crate::Peers;

/// Calls with the same key go to the same node, in every process that knows the same nodes. When a
/// node comes or goes, only the keys that it gets or had move. Calls without a key go anywhere.
///
/// Each node has 32 places on a ring, and a key 4; it belongs to the node whose place comes the
/// closest behind one of its own. That spreads keys as evenly as hundreds of places for each node
/// would. Source: B. Appleton and M. O'Reilly, Multi-Probe Consistent Hashing, 2015.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsistentHash;

const PLACES: u64 = 32;
const PROBES: u64 = 4;

impl Strategy for ConsistentHash {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(Ring::new(peers))
    }
}

/// The places round the ring, spread over twice as many slots: each as near as may be to where its
/// height on the ring would have it, never before that, and all in their order. A slot that none needs
/// repeats the next place, and behind all stands the first one again. So whoever looks for a place finds
/// it in one or two steps, on a line of the processor's cache or two.
struct Ring {
    slots: Box<[Place]>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Place {
    at: u32,
    owner: u32,
}

impl Ring {
    fn new(peers: &Peers) -> Self {
        let ids: Vec<_> = peers.iter().map(|peer| &*peer.node().id).collect();
        let mut places: Vec<_> = ids
            .iter()
            .zip(0..)
            .flat_map(|(id, owner)| {
                let id = xxh3_64(id.as_bytes());
                (0..PLACES).map(move |place| pack(nth(id, place), owner))
            })
            .collect();
        places.sort_unstable();
        // Ties by id, not by where the node stands in this process.
        let id = |place: u64| ids[low(place) as usize];
        for same in places.chunk_by_mut(|a, b| high(*a) == high(*b)) {
            same.sort_unstable_by(|a, b| id(*a).cmp(id(*b)));
        }
        let bits = (2 * places.len()).next_power_of_two().ilog2().clamp(1, 31);
        let shift = u32::BITS - bits;
        let mut slots = Vec::with_capacity((1 << bits) + 1);
        for place in &places {
            let (at, owner) = (high(*place), low(*place));
            let home = (at >> shift) as usize;
            let len = home.max(slots.len()) + 1;
            slots.resize(len, Place { at, owner });
        }
        let owner = places.first().map_or(0, |first| low(*first));
        let end = Place {
            at: u32::MAX,
            owner,
        };
        slots.resize(slots.len().max(1 << bits) + 1, end);
        Self {
            slots: slots.into(),
            shift,
        }
    }

    /// The slot of the first place at or behind this one, round the ring.
    fn behind(&self, at: u32) -> usize {
        let mut next = (at >> self.shift) as usize;
        // Mostly as far as it goes; whether one step or none can't be foreseen, so it is no branch.
        next += usize::from(self.slots[next].at < at);
        while self.slots[next].at < at {
            next += 1;
        }
        next
    }
}

impl Arrangement for Ring {
    fn choose(&self, call: &Call) -> usize {
        let key = call.key.unwrap_or_else(|| fastrand::u64(..));
        let probes = (0..PROBES).map(|probe| {
            let at = nth(key, probe);
            let slot = self.behind(at);
            pack(self.slots[slot].at - at, slot as u32)
        });
        // Of two as close, the one that comes first on the ring, as in every process.
        let closest = probes.min().map_or(0, low);
        self.slots[closest as usize].owner as usize
    }
}

/// Two numbers as one, which sorts by the first and then by the second.
fn pack(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn high(packed: u64) -> u32 {
    (packed >> 32) as u32
}

fn low(packed: u64) -> u32 {
    packed as u32
}

/// The places of a hash: SplitMix64 from there on. A hash with a small seed won't do, since ids that
/// differ little would share places.
const fn nth(hash: u64, n: u64) -> u32 {
    let mut z = hash.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 32) as u32
}
