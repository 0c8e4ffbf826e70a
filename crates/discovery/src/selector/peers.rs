use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::Peer;

/// The nodes that a [`Strategy`](crate::Strategy) chooses among, in no particular order. Cheap to
/// clone: copies share what they hold.
#[derive(Clone, Default)]
pub struct Peers {
    chunks: Arc<[Arc<Chunk>]>,
    len: usize,
}

/// A change copies one chunk and the pointers to all of them: for ten thousand nodes, both are about
/// as many.
const WIDTH: usize = 64;

#[derive(Clone)]
struct Chunk([Option<Peer>; WIDTH]);

/// The nodes of a tier, as the selector's task changes them. What was published stays as it is.
#[derive(Default)]
pub(super) struct List {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
    /// The same for readers, until the next change.
    published: Option<Peers>,
}

impl Peers {
    /// The number of nodes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The node at this position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&Peer> {
        let Chunk(peers) = &**self.chunks.get(position / WIDTH)?;
        peers[position % WIDTH].as_ref()
    }

    /// The nodes, by their positions.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.0.iter().flatten())
    }

    /// The positions, in their order, at which this does not have the very peer, in memory, that
    /// `before` has there. What the two share is not looked at.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<usize> {
        let is_other = |chunk: &usize| {
            let (ours, theirs) = (self.chunks.get(*chunk), before.chunks.get(*chunk));
            !ours.zip(theirs).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
        };
        let others = (0..self.chunks.len()).filter(is_other);
        let positions = others.flat_map(|chunk| chunk * WIDTH..(chunk + 1) * WIDTH);
        let positions = positions.take_while(|at| *at < self.len);
        let is_other = |at: &usize| {
            let (ours, theirs) = (self.get(*at), before.get(*at));
            !ours.zip(theirs).is_some_and(|(a, b)| a.ptr_eq(b))
        };
        positions.filter(is_other).collect()
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// The nodes of both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut list = List::default();
        self.iter()
            .chain(other.iter())
            .for_each(|peer| list.add(peer));
        list.peers()
    }
}

impl List {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a node, which is in no list.
    pub(super) fn push(&mut self, peer: &Peer) {
        peer.seat().store(self.len, Ordering::Relaxed);
        self.add(peer);
    }

    /// Takes out a node that is in this list.
    pub(super) fn remove(&mut self, peer: &Peer) {
        let Some(last) = self.len.checked_sub(1) else {
            return;
        };
        let moved = self.place(last).and_then(Option::take);
        self.len = last;
        self.chunks.truncate(last.div_ceil(WIDTH));
        let seat = peer.seat().load(Ordering::Relaxed);
        if seat < last
            && let Some(place) = self.place(seat)
        {
            if let Some(moved) = &moved {
                moved.seat().store(seat, Ordering::Relaxed);
            }
            *place = moved;
        }
    }

    /// The nodes as they are now, for others to read.
    pub(super) fn peers(&mut self) -> Peers {
        let published = self.published.get_or_insert_with(|| Peers {
            chunks: self.chunks.iter().cloned().collect(),
            len: self.len,
        });
        published.clone()
    }

    fn add(&mut self, peer: &Peer) {
        if self.len.is_multiple_of(WIDTH) {
            self.chunks.push(Arc::new(Chunk([const { None }; WIDTH])));
        }
        if let Some(place) = self.place(self.len) {
            *place = Some(peer.clone());
        }
        self.len += 1;
    }

    /// A place to be changed.
    fn place(&mut self, at: usize) -> Option<&mut Option<Peer>> {
        self.published = None;
        let Chunk(peers) = Arc::make_mut(self.chunks.get_mut(at / WIDTH)?);
        Some(&mut peers[at % WIDTH])
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{sync::mpsc, time::Instant};
    use vine_registry::{Node, Service};

    use super::{super::peer::Reports, *};

    fn peer(id: u32) -> Peer {
        let (told, _) = mpsc::unbounded_channel();
        let reports = Reports {
            start: Instant::now(),
            failures: 1,
            told,
        };
        let node = Arc::new(Node::new(id.to_string(), "h:1"));
        Peer::new(&node, &Service::new("s", "v1"), &Arc::new(reports))
    }

    fn ids<'a>(peers: impl Iterator<Item = &'a Peer>) -> Vec<Arc<str>> {
        peers.map(|peer| Arc::clone(&peer.node().id)).collect()
    }

    proptest! {
        /// A list does what a vector does, and what was published stays as it is.
        #[test]
        fn a_list_is_a_vector(changes in prop::collection::vec((any::<u32>(), 0..5_u8), 0..600)) {
            let mut list = List::default();
            let mut model: Vec<Peer> = Vec::new();
            let mut published: Vec<(Peers, Vec<Arc<str>>)> = Vec::new();
            for (number, kind) in changes {
                match kind {
                    0 if !model.is_empty() => {
                        let gone = model.swap_remove(number as usize % model.len());
                        list.remove(&gone);
                    }
                    1 => published.push((list.peers(), ids(model.iter()))),
                    _ => {
                        model.push(peer(number));
                        list.push(model.last().unwrap());
                    }
                }
            }
            published.push((list.peers(), ids(model.iter())));
            let last = list.peers();
            for (peers, model) in published {
                prop_assert_eq!(ids(peers.iter()), &*model);
                prop_assert_eq!((peers.len(), peers.is_empty()), (model.len(), model.is_empty()));
                for at in 0..=model.len() {
                    prop_assert_eq!(peers.get(at).map(|peer| &peer.node().id), model.get(at));
                }
                let differs = |at: &usize| !last.get(*at).zip(peers.get(*at)).is_some_and(|(a, b)| a.ptr_eq(b));
                prop_assert_eq!(last.differences(&peers), (0..last.len()).filter(differs).collect::<Vec<_>>());
                let twice = peers.joined(&peers);
                prop_assert_eq!(ids(twice.iter()), [&*model, &*model].concat());
            }
        }
    }
}
