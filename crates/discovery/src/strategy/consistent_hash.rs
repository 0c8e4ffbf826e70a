use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Arrangement, Call, Strategy};
use crate::Peer;

/// Calls with the same key go to the same node, in every process that knows the same nodes. When a
/// node comes or goes, only the keys that it gets or had move. Calls without a key go anywhere.
///
/// Each node has 16 places on a ring, and a key 8; it belongs to the node whose place comes the
/// closest behind one of its own. That spreads keys as evenly as hundreds of places for each node
/// would. Source: B. Appleton and M. O'Reilly, Multi-Probe Consistent Hashing, 2015.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsistentHash;

const PLACES: u64 = 16;
const PROBES: u64 = 8;

impl Strategy for ConsistentHash {
    fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement> {
        Box::new(Ring::new(peers))
    }
}

struct Ring {
    /// Sorted, so that places are found by where they are to be expected.
    places: Box<[Place]>,
    /// The first place of each stretch of the ring. There are about as many as places.
    stretches: Box<[u32]>,
    shift: u32,
}

/// Small, so that many stay in the cache of the processor.
#[derive(Clone, Copy)]
struct Place {
    at: u32,
    owner: u32,
}

impl Ring {
    fn new(peers: &[Arc<Peer>]) -> Self {
        let mut places: Box<[_]> = peers
            .iter()
            .zip(0..)
            .flat_map(|(peer, owner)| {
                let id = xxh3_64(peer.node().id.as_bytes());
                (0..PLACES).map(move |place| Place {
                    at: nth(id, place),
                    owner,
                })
            })
            .collect();
        // Ties by id, not by where the node stands in this process.
        places.sort_unstable_by(|a, b| {
            let id = |place: &Place| &peers[place.owner as usize].node().id;
            a.at.cmp(&b.at).then_with(|| id(a).cmp(id(b)))
        });
        let bits = places.len().max(2).next_power_of_two().ilog2().min(31);
        let shift = u32::BITS.saturating_sub(bits);
        let mut stretches = vec![0; 1 << bits];
        let mut next = 0;
        for (stretch, first) in stretches.iter_mut().enumerate() {
            let behind = |place: &Place| (place.at >> shift) as usize >= stretch;
            while places.get(next).is_some_and(|place| !behind(place)) {
                next += 1;
            }
            *first = next as u32;
        }
        Self {
            places,
            stretches: stretches.into(),
            shift,
        }
    }

    /// The first place at or behind this one, round the ring.
    fn behind(&self, at: u32) -> Option<&Place> {
        let first = self.stretches[(at >> self.shift) as usize] as usize;
        let mut rest = self.places[first..].iter();
        rest.find(|place| place.at >= at)
            .or_else(|| self.places.first())
    }
}

impl Arrangement for Ring {
    fn choose(&self, call: &Call) -> usize {
        let key = call.key.unwrap_or_else(|| fastrand::u64(..));
        let probes = (0..PROBES).filter_map(|probe| {
            let at = nth(key, probe);
            let place = self.behind(at)?;
            Some((place.at.wrapping_sub(at), place.owner))
        });
        // Of two as close, the first probe's: who owns it has another number in each process.
        let closest = probes.min_by_key(|&(distance, _)| distance);
        closest.map_or(0, |(_, owner)| owner as usize)
    }
}

/// The places of a hash: SplitMix64 from there on. A hash with a small seed won't do, since ids that
/// differ little would share places.
const fn nth(hash: u64, n: u64) -> u32 {
    let mut z = hash.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 32) as u32
}
