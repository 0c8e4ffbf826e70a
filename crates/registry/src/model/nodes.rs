use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Node;

/// Up to here a flat slice is smaller and faster than a tree.
const FLAT: usize = 16;

/// The nodes of a service: immutable, cheap to clone, in no particular order (JSON: by id).
///
/// A copy shares its nodes with the original, and a copy with one node more shares all the
/// others, so adding one to a hundred thousand costs less than a microsecond.
#[derive(Clone)]
pub struct Nodes(Shape);

#[derive(Clone)]
enum Shape {
    Flat(Arc<[Arc<Node>]>),
    Tree(Arc<Tree>),
}

#[derive(Clone)]
struct Tree {
    list: imbl::Vector<Arc<Node>>,
    index: imbl::GenericHashMap<
        ById,
        u32,
        foldhash::fast::RandomState,
        imbl::shared_ptr::DefaultSharedPtr,
    >,
}

/// A node that is hashed and compared by its id alone.
#[derive(Clone)]
pub(crate) struct ById(pub(crate) Arc<Node>);

impl Nodes {
    /// No nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Flat(list) => list.len(),
            Shape::Tree(tree) => tree.list.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node at `position` of this copy's order.
    #[must_use]
    pub fn nth(&self, position: usize) -> Option<&Arc<Node>> {
        match &self.0 {
            Shape::Flat(list) => list.get(position),
            Shape::Tree(tree) => tree.list.get(position),
        }
    }

    /// The node with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Node>> {
        self.nth(self.position(id)?)
    }

    /// The nodes, in no particular order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Shape::Flat(list) => Iter(Inner::Flat(list.iter())),
            Shape::Tree(tree) => Iter(Inner::Tree(tree.list.iter())),
        }
    }

    /// Whether both are the same in memory, which is quicker to tell than equality.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Shape::Flat(a), Shape::Flat(b)) => Arc::ptr_eq(a, b),
            (Shape::Tree(a), Shape::Tree(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// An id that two nodes have.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        if let Shape::Tree(tree) = &self.0
            && tree.list.len() == tree.index.len()
        {
            return None;
        }
        let mut seen = HashSet::new();
        self.iter()
            .map(|node| &*node.id)
            .find(|id| !seen.insert(*id))
    }

    /// Adds a node, or puts it in the place of the one with its id.
    pub(crate) fn insert(&mut self, node: Arc<Node>) {
        let position = self.position(&node.id);
        match &mut self.0 {
            Shape::Flat(list) => match position {
                Some(at) => Arc::make_mut(list)[at] = node,
                None if list.len() < FLAT => {
                    *list = list.iter().cloned().chain([node]).collect();
                }
                None => {
                    self.0 = Shape::Tree(Arc::new(list.iter().cloned().chain([node]).collect()))
                }
            },
            Shape::Tree(tree) => Arc::make_mut(tree).insert(node, position),
        }
    }

    /// Takes the node with this id out.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some(at) = self.position(id) else { return };
        match &mut self.0 {
            Shape::Flat(list) => {
                *list = list
                    .iter()
                    .filter(|node| *node.id != *id)
                    .cloned()
                    .collect()
            }
            Shape::Tree(tree) => {
                Arc::make_mut(tree).remove(at);
                // Half of the limit, so that a service at the limit does not change shape all the time.
                if tree.list.len() <= FLAT / 2 {
                    self.0 = Shape::Flat(tree.list.iter().cloned().collect());
                }
            }
        }
    }

    fn position(&self, id: &str) -> Option<usize> {
        match &self.0 {
            Shape::Flat(list) => list.iter().position(|node| *node.id == *id),
            Shape::Tree(tree) => tree.index.get(id).map(|&at| at as usize),
        }
    }
}

impl Tree {
    fn insert(&mut self, node: Arc<Node>, position: Option<usize>) {
        match position {
            Some(at) => {
                // The key holds the node that it was made of: replace it, lest that one lives on.
                self.index.remove(&*node.id);
                self.index.insert(ById(Arc::clone(&node)), at as u32);
                self.list.set(at, node);
            }
            None => {
                self.index
                    .insert(ById(Arc::clone(&node)), self.list.len() as u32);
                self.list.push_back(node);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(last) = self.list.pop_back() else {
            return;
        };
        if at == self.list.len() {
            self.index.remove(&*last.id);
        } else {
            let gone = self.list.set(at, Arc::clone(&last));
            self.index.remove(&*gone.id);
            self.index.insert(ById(last), at as u32);
        }
    }
}

impl FromIterator<Arc<Node>> for Tree {
    fn from_iter<I: IntoIterator<Item = Arc<Node>>>(nodes: I) -> Self {
        let mut tree = Self {
            list: imbl::Vector::new(),
            index: imbl::GenericHashMap::with_hasher(foldhash::fast::RandomState::default()),
        };
        for node in nodes {
            tree.insert(node, None);
        }
        tree
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Default for Nodes {
    fn default() -> Self {
        Self(Shape::Flat(Arc::default()))
    }
}

impl<N: Into<Arc<Node>>> FromIterator<N> for Nodes {
    /// Collects nodes. Their ids should be distinct: a service with two of the same id can't be
    /// registered.
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Self {
        let list: Vec<_> = nodes.into_iter().map(Into::into).collect();
        if list.len() <= FLAT {
            Self(Shape::Flat(list.into()))
        } else {
            Self(Shape::Tree(Arc::new(list.into_iter().collect())))
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
                && self
                    .iter()
                    .all(|node| other.get(&node.id).is_some_and(|its| its == node))
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
pub struct Iter<'a>(Inner<'a>);

enum Inner<'a> {
    Flat(std::slice::Iter<'a, Arc<Node>>),
    Tree(imbl::vector::Iter<'a, Arc<Node>, imbl::shared_ptr::DefaultSharedPtr>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Flat(iter) => iter.next(),
            Inner::Tree(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Inner::Flat(iter) => iter.size_hint(),
            Inner::Tree(iter) => iter.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(nodes: &Nodes) -> Vec<String> {
        let mut ids: Vec<_> = nodes.iter().map(|node| node.id.to_string()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn grows_and_shrinks_through_both_shapes() {
        let mut nodes = Nodes::new();
        let mut expected = Vec::new();
        for i in 0..200 {
            nodes.insert(Arc::new(Node::new(format!("n{i:03}"), format!("h:{i}"))));
            expected.push(format!("n{i:03}"));
            assert_eq!(ids(&nodes), expected);
        }
        for i in (0..200).step_by(3).chain((0..200).filter(|i| i % 3 != 0)) {
            let id = format!("n{i:03}");
            nodes.remove(&id);
            expected.retain(|other| *other != id);
            assert_eq!(ids(&nodes), expected);
            assert!(nodes.iter().all(|node| nodes.get(&node.id) == Some(node)));
        }
        assert!(nodes.is_empty());
    }

    #[test]
    fn a_replaced_node_is_found_by_its_id() {
        let mut nodes: Nodes = (0..40).map(|i| Node::new(format!("n{i}"), "h:1")).collect();
        let before = nodes.clone();
        nodes.insert(Arc::new(Node::new("n7", "h:2")));
        assert_eq!(nodes.len(), 40);
        assert_eq!(&*nodes.get("n7").unwrap().address, "h:2");
        assert_eq!(&*before.get("n7").unwrap().address, "h:1");
        assert_ne!(nodes, before);
    }
}
