use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Node;
use crate::trie::{self, Keyed, Trie, hash};

/// The nodes of a service: immutable, cheap to clone, in no particular order (JSON: by id).
///
/// A copy shares its nodes with the original, and a copy with one node more shares all the
/// others, so adding one to a hundred thousand costs less than a microsecond.
#[derive(Clone)]
pub struct Nodes {
    nodes: Trie<Node>,
    /// One that was given with the id of another. Such a service can't be registered.
    duplicate: Option<Arc<Node>>,
}

impl Nodes {
    /// No nodes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: Trie::Empty,
            duplicate: None,
        }
    }

    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node at `position` of this copy's order.
    #[must_use]
    pub fn nth(&self, position: usize) -> Option<&Arc<Node>> {
        self.nodes.nth(position)
    }

    /// The node with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Node>> {
        self.nodes.find(hash(id), |node| *node.id == *id)
    }

    /// The nodes, in no particular order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.nodes.iter())
    }

    /// Whether both are the same in memory, which is quicker to tell than equality.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.nodes.ptr_eq(&other.nodes)
    }

    /// An id that two of the nodes had that this was collected from.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        self.duplicate.as_ref().map(|node| &*node.id)
    }

    /// Adds a node, or puts it in the place of the one with its id.
    pub(crate) fn insert(&mut self, node: Arc<Node>) {
        self.nodes.insert(node);
    }

    /// Takes the node with this id out.
    pub(crate) fn remove(&mut self, id: &str) {
        self.nodes.remove(hash(id), |node| *node.id == *id);
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

impl Default for Nodes {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Into<Arc<Node>>> FromIterator<N> for Nodes {
    /// Collects nodes. Their ids should be distinct: a service with two of the same id can't be
    /// registered.
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Self {
        let mut collected = Self::new();
        for node in nodes {
            let node = node.into();
            if collected.nodes.insert(Arc::clone(&node)) {
                collected.duplicate = Some(node);
            }
        }
        collected
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
        let has = |node: &Arc<Node>| {
            other
                .get(&node.id)
                .is_some_and(|its| Arc::ptr_eq(its, node) || its == node)
        };
        self.ptr_eq(other) || self.len() == other.len() && self.iter().all(has)
    }
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
pub struct Iter<'a>(trie::Iter<'a, Node>);

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
