use std::{collections::BTreeMap, sync::Arc};

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
const PROBES: usize = 4;

impl Strategy for ConsistentHash {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(Ring::new(peers))
    }
}

/// The places round the ring, spread over more slots by half: each as near as may be to where its height
/// on the ring would have it, never before that, and all in their order. A slot that none needs repeats
/// the next place. So whoever looks for a place finds it in a step or two, on a line of the processor's
/// cache or two.
///
/// The slots lie in segments: a change copies those that it touches, and the pointers to all.
struct Ring {
    peers: Peers,
    segments: Box<[Segment]>,
    shift: u32,
}

/// Behind the last place stands [`END`].
type Segment = Arc<[Place]>;

/// So many slots a segment has, besides those for places that have to move on.
const WIDTH: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: u32,
    /// The position of the node.
    owner: u32,
}

const END: Place = Place {
    at: u32::MAX,
    owner: u32::MAX,
};

impl Ring {
    fn new(peers: &Peers) -> Self {
        let ids: Vec<_> = peers.iter().map(|peer| &*peer.node().id).collect();
        let owned = ids.iter().zip(0..);
        let mut places: Vec<_> = owned.flat_map(|(id, owner)| places(id, owner)).collect();
        places.sort_unstable();
        // Ties by id, not by where the node stands in this process.
        for same in places.chunk_by_mut(|a, b| a.at == b.at) {
            same.sort_unstable_by_key(|place| ids[place.owner as usize]);
        }
        let slots = (places.len() * 3 / 2).next_power_of_two().max(WIDTH);
        let shift = u32::BITS - slots.ilog2().min(u32::BITS - 1);
        let mut rest = &*places;
        let segments = (0..slots / WIDTH).map(|segment| {
            let here = rest.partition_point(|place| slot(place.at, shift).0 == segment);
            let (here, others) = rest.split_at(here);
            rest = others;
            lay_out(here, shift)
        });
        Self {
            segments: segments.collect(),
            shift,
            peers: peers.clone(),
        }
    }

    /// The first place at or behind this one, round the ring.
    fn behind(&self, at: u32) -> Place {
        let (segment, mut next) = slot(at, self.shift);
        let slots = &*self.segments[segment];
        // Mostly as far as it goes; how many steps of two can't be foreseen, so they are no branches.
        next += usize::from(slots[next].at < at);
        next += usize::from(slots[next].at < at);
        while slots[next].at < at {
            next += 1;
        }
        match slots[next] {
            END => self.first_behind(segment),
            place => place,
        }
    }

    #[cold]
    fn first_behind(&self, segment: usize) -> Place {
        let (before, behind) = self.segments.split_at(segment + 1);
        let mut firsts = behind.iter().chain(before).map(|slots| slots[0]);
        firsts.find(|first| *first != END).unwrap_or(END)
    }

    fn places(&self, segment: usize) -> Vec<Place> {
        let slots = self.segments[segment].iter().copied();
        let mut places: Vec<_> = slots.take_while(|place| *place != END).collect();
        places.dedup();
        places
    }

    /// Whether so many places are neither too many for the slots nor too few.
    fn suits(&self, places: usize) -> bool {
        let slots = self.segments.len() * WIDTH;
        4 * places <= 3 * slots && (4 * places >= slots || slots == WIDTH)
    }
}

impl Arrangement for Ring {
    fn choose(&self, call: &Call) -> usize {
        let key = call.key.unwrap_or_else(|| fastrand::u64(..));
        let probes: [u32; PROBES] = std::array::from_fn(|probe| nth(key, probe as u64));
        // All at once, since each waits for memory.
        let places = probes.map(|at| self.behind(at));
        let found = probes.into_iter().zip(places);
        // Of two as close, the one that comes first on the ring, as in every process.
        let closest = found.min_by_key(|(at, place)| {
            let distance = place.at.wrapping_sub(*at);
            u64::from(distance) << 32 | u64::from(place.at)
        });
        closest.map_or(0, |(_, place)| place.owner as usize)
    }

    fn rearrange(&self, peers: &Peers) -> Option<Box<dyn Arrangement>> {
        let differences = peers.differences(&self.peers);
        let gone = peers.len()..self.peers.len();
        let changed = differences.into_iter().chain(gone).filter_map(|at| {
            let (before, now) = (id(&self.peers, at), id(peers, at));
            (before != now).then_some((at as u32, before, now))
        });
        let changed: Vec<_> = changed.collect();
        // Each of them costs about as much as to arrange so many anew.
        let is_quicker = 32 * changed.len() <= peers.len();
        if !is_quicker || !self.suits(peers.len() * PLACES as usize) {
            return None;
        }
        let mut draft = Draft::new(self, peers);
        for (owner, before, _) in &changed {
            let gone = before.iter().flat_map(|id| places(id, *owner));
            gone.for_each(|place| draft.remove(place));
        }
        for (owner, _, now) in &changed {
            let new = now.iter().flat_map(|id| places(id, *owner));
            new.for_each(|place| draft.insert(place));
        }
        Some(Box::new(draft.ring()))
    }
}

/// A ring that some nodes leave and others join.
struct Draft<'a> {
    before: &'a Ring,
    peers: &'a Peers,
    /// The places of the segments that change.
    segments: BTreeMap<usize, Vec<Place>>,
}

impl<'a> Draft<'a> {
    fn new(before: &'a Ring, peers: &'a Peers) -> Self {
        Self {
            before,
            peers,
            segments: BTreeMap::new(),
        }
    }

    fn around(&mut self, place: Place) -> &mut Vec<Place> {
        let (segment, _) = slot(place.at, self.before.shift);
        let places = || self.before.places(segment);
        self.segments.entry(segment).or_insert_with(places)
    }

    fn remove(&mut self, place: Place) {
        self.around(place).retain(|other| *other != place);
    }

    fn insert(&mut self, place: Place) {
        let peers = self.peers;
        let id = |place: &Place| id(peers, place.owner as usize);
        let order = |a: &Place, b: &Place| a.at.cmp(&b.at).then_with(|| id(a).cmp(&id(b)));
        let places = self.around(place);
        let at = places.partition_point(|other| order(other, &place).is_lt());
        places.insert(at, place);
    }

    fn ring(self) -> Ring {
        let mut segments = self.before.segments.clone();
        for (segment, places) in self.segments {
            segments[segment] = lay_out(&places, self.before.shift);
        }
        Ring {
            peers: self.peers.clone(),
            segments,
            shift: self.before.shift,
        }
    }
}

fn id(peers: &Peers, at: usize) -> Option<&str> {
    peers.get(at).map(|peer| &*peer.node().id)
}

/// The places of a node.
fn places(id: &str, owner: u32) -> impl Iterator<Item = Place> + use<> {
    let id = xxh3_64(id.as_bytes());
    (0..PLACES).map(move |n| Place {
        at: nth(id, n),
        owner,
    })
}

/// The segment of a place, and in it the slot that it is to have.
const fn slot(at: u32, shift: u32) -> (usize, usize) {
    let slot = (at >> shift) as usize;
    (slot / WIDTH, slot % WIDTH)
}

fn lay_out(places: &[Place], shift: u32) -> Segment {
    let mut slots = Vec::with_capacity(WIDTH + WIDTH / 4);
    for place in places {
        let (_, home) = slot(place.at, shift);
        let len = home.max(slots.len()) + 1;
        slots.resize(len, *place);
    }
    slots.resize(slots.len().max(WIDTH) + 1, END);
    slots.into()
}

/// The places of a hash: SplitMix64 from there on. A hash with a small seed won't do, since ids that
/// differ little would share places.
const fn nth(hash: u64, n: u64) -> u32 {
    let mut z = hash.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 32) as u32
}
