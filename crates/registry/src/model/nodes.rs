use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use foldhash::{HashSet, HashSetExt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Node;
use crate::{
    trie::{Keyed, Trie, hash},
    vector::{self, Vector},
};

/// The nodes of a service: immutable, cheap to clone, in no particular order (JSON: by id).
///
/// A copy shares its nodes with the original, and so does one with another node more: adding to a
/// hundred thousand costs as little as adding to ten.
#[derive(Clone, Default)]
pub struct Nodes {
    list: Vector<Node>,
    /// Where each node stands; made by the first who asks for one of many by its id, and from then
    /// on inherited by what is made of this.
    index: OnceLock<Arc<Trie<Place>>>,
}

struct Place {
    node: Arc<Node>,
    at: u32,
}

/// As many are looked through one by one.
const FEW: usize = 16;

impl Nodes {
    /// No nodes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: Vector::Empty,
            index: OnceLock::new(),
        }
    }

    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node at `position` of this copy's order.
    #[must_use]
    pub fn nth(&self, position: usize) -> Option<&Arc<Node>> {
        self.list.get(position)
    }

    /// The node with this id.
    ///
    /// Of many nodes, the first call makes an index, which takes time in proportion to their
    /// number; the next ones, on this or a copy of it, take as little as with a few.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Node>> {
        self.nth(self.position(id)?)
    }

    /// The nodes, in no particular order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.list.iter())
    }

    /// Whether both are the same in memory, which is quicker to tell than equality.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.list.ptr_eq(&other.list)
    }

    /// The positions, in their order, at which this does not have the very node, in memory, that
    /// `before` has there. Of two copies of which one was made from the other, that takes time in
    /// proportion to what changed between them, and not to the number of nodes.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<usize> {
        self.list.differences(&before.list)
    }

    /// An id that two of the nodes have.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        let ids = self.iter().map(|node| &*node.id);
        if self.len() <= 1 {
            return None;
        }
        let mut known = HashSet::with_capacity(self.len());
        ids.into_iter().find(|id| !known.insert(*id))
    }

    /// Adds a node, or puts it in the place of the one with its id.
    pub(crate) fn insert(&mut self, node: Arc<Node>) {
        match self.position(&node.id) {
            Some(at) => self.replace(at, node),
            None => self.push(node),
        }
    }

    /// Takes the node with this id out.
    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(at) = self.position(id) {
            self.swap_remove(at);
        }
    }

    /// Adds a node with an id that none of the others has.
    pub(crate) fn push(&mut self, node: Arc<Node>) {
        self.note(self.len(), &node);
        self.list.push(node);
    }

    /// Puts a node in the place of another with its id.
    pub(crate) fn replace(&mut self, at: usize, node: Arc<Node>) {
        self.note(at, &node);
        self.list.replace(at, node);
    }

    /// Takes a node out and puts the last one in its place.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        let Some(last) = self.len().checked_sub(1) else {
            return;
        };
        if let (Some(index), Some(gone)) = (self.index.get_mut(), self.list.get(at)) {
            Arc::make_mut(index).remove(gone.key_hash(), |place| place.node.same_key(gone));
        }
        if let Some(moved) = self.nth(last).filter(|_| at < last).cloned() {
            self.replace(at, moved);
        }
        self.list.pop();
    }

    /// Enters in the index, if there is one, where a node will stand.
    fn note(&mut self, at: usize, node: &Arc<Node>) {
        if let Some(index) = self.index.get_mut() {
            Arc::make_mut(index).insert(Place::new(at, node));
        }
    }

    fn position(&self, id: &str) -> Option<usize> {
        if self.len() <= FEW && self.index.get().is_none() {
            return self.iter().position(|node| *node.id == *id);
        }
        let index = self.index.get_or_init(|| {
            let mut index = Trie::Empty;
            for (at, node) in self.iter().enumerate() {
                index.insert(Place::new(at, node));
            }
            Arc::new(index)
        });
        let place = index.find(hash(id), |place| *place.node.id == *id)?;
        Some(place.at as usize)
    }
}

impl Place {
    fn new(at: usize, node: &Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::clone(node),
            at: u32::try_from(at).unwrap_or(u32::MAX),
        })
    }
}

impl Keyed for Place {
    fn key_hash(&self) -> u64 {
        self.node.key_hash()
    }

    fn same_key(&self, other: &Self) -> bool {
        self.node.same_key(&other.node)
    }
}

impl Keyed for Node {
    fn key_hash(&self) -> u64 {
        hash(&*self.id)
    }

    fn same_key(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<N: Into<Arc<Node>>> FromIterator<N> for Nodes {
    /// Collects nodes, each with an id of its own: a service with two of the same id can't be
    /// registered.
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Self {
        Self {
            list: nodes.into_iter().map(Into::into).collect(),
            index: OnceLock::new(),
        }
    }
}

impl<'a> IntoIterator for &'a Nodes {
    type Item = &'a Arc<Node>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Nodes {
    /// Whether both hold the same nodes, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other)
            || self.len() == other.len()
                && (self.iter().zip(other).all(|(ours, its)| same(ours, its))
                    || self.is_within(other) && other.is_within(self))
    }
}

impl Nodes {
    fn is_within(&self, other: &Self) -> bool {
        let has = |node: &Arc<Node>| other.get(&node.id).is_some_and(|its| same(node, its));
        self.iter().all(has)
    }
}

fn same(one: &Arc<Node>, other: &Arc<Node>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl Eq for Nodes {}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        serializer.collect_seq(sorted)
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Node>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

/// The nodes of a service, one after the other.
pub struct Iter<'a>(vector::Iter<'a, Node>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.len()).finish()
    }
}
