//! A persistent set: copies share all but the path to what is different.
//!
//! The general maps of that kind are made for few copies: each change of a copied one copies nodes
//! of 32 or 64 entries on every level, and counts a reference for each. Here every change is made
//! on a copy, since a reader may hold the one before; small nodes make that three to five times
//! cheaper.

use std::{
    hash::{BuildHasher, Hash},
    sync::{Arc, LazyLock},
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

/// What can be held: it is found by its key alone.
pub(crate) trait Keyed {
    fn key_hash(&self) -> u64;
    fn same_key(&self, other: &Self) -> bool;
}

/// The hash of a key, alike in the whole process.
pub(crate) fn hash(key: impl Hash) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    STATE.hash_one(key)
}

/// A set of shared values, each with a key of its own.
pub(crate) enum Trie<T> {
    Empty,
    Leaf(Arc<[Arc<T>]>),
    Branch(Arc<Branch<T>>),
}

pub(crate) struct Branch<T> {
    len: usize,
    children: [Trie<T>; WIDTH],
}

const BITS: u32 = 3;
const WIDTH: usize = 1 << BITS;
/// A leaf that would hold more becomes a branch, and a branch that holds half as much a leaf.
const LEAF: usize = 6;

impl<T> Trie<T> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Leaf(leaf) => leaf.len(),
            Self::Branch(branch) => branch.len,
        }
    }

    /// The value with this hash that `is_it` picks.
    pub(crate) fn find(&self, mut hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let mut trie = self;
        loop {
            match trie {
                Self::Empty => return None,
                Self::Leaf(leaf) => return leaf.iter().find(|value| is_it(value)),
                Self::Branch(branch) => trie = &branch.children[slot(hash)],
            }
            hash >>= BITS;
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter {
            left: self.len(),
            leaf: [].iter(),
            rest: SmallVec::from_iter([self]),
        }
    }
}

impl<T: Keyed> Trie<T> {
    /// Adds a value, or puts it in the place of the one with its key; says whether there was one.
    pub(crate) fn insert(&mut self, value: Arc<T>) -> bool {
        let hash = value.key_hash();
        self.insert_below(0, hash, value)
    }

    fn insert_below(&mut self, depth: u32, hash: u64, value: Arc<T>) -> bool {
        match self {
            Self::Empty => {
                *self = Self::Leaf([value].into());
                false
            }
            Self::Leaf(leaf) => {
                if let Some(at) = leaf.iter().position(|other| other.same_key(&value)) {
                    Arc::make_mut(leaf)[at] = value;
                    return true;
                }
                // Below the last bits of the hash a leaf holds whatever comes.
                if leaf.len() < LEAF || depth * BITS >= u64::BITS {
                    *leaf = leaf.iter().cloned().chain([value]).collect();
                } else {
                    *self = Self::split(leaf, depth);
                    self.insert_below(depth, hash, value);
                }
                false
            }
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let child = &mut branch.children[slot(hash >> (depth * BITS))];
                let replaced = child.insert_below(depth + 1, hash, value);
                branch.len += usize::from(!replaced);
                replaced
            }
        }
    }

    fn split(leaf: &[Arc<T>], depth: u32) -> Self {
        let mut children = [const { Self::Empty }; WIDTH];
        for value in leaf {
            let hash = value.key_hash();
            children[slot(hash >> (depth * BITS))].insert_below(depth + 1, hash, Arc::clone(value));
        }
        Self::Branch(Arc::new(Branch {
            len: leaf.len(),
            children,
        }))
    }

    /// Takes the value with this hash out that `is_it` picks; says whether there was one.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> bool {
        if self.find(hash, &is_it).is_none() {
            return false;
        }
        self.remove_below(hash, &is_it);
        true
    }

    fn remove_below(&mut self, hash: u64, is_it: &impl Fn(&T) -> bool) {
        match self {
            Self::Empty => {}
            Self::Leaf(leaf) if leaf.len() == 1 => *self = Self::Empty,
            Self::Leaf(leaf) => {
                if let Some(at) = leaf.iter().position(|value| is_it(value)) {
                    *leaf = leaf[..at].iter().chain(&leaf[at + 1..]).cloned().collect();
                }
            }
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                branch.children[slot(hash)].remove_below(hash >> BITS, is_it);
                branch.len -= 1;
                if branch.len <= LEAF / 2 {
                    *self = Self::Leaf(self.iter().cloned().collect());
                }
            }
        }
    }
}

const fn slot(hash: u64) -> usize {
    hash as usize % WIDTH
}

impl<T> Clone for Trie<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Branch(branch) => Self::Branch(Arc::clone(branch)),
        }
    }
}

impl<T> Clone for Branch<T> {
    fn clone(&self) -> Self {
        Self {
            len: self.len,
            children: self.children.clone(),
        }
    }
}

/// The values, one after the other.
pub(crate) struct Iter<'a, T> {
    left: usize,
    leaf: std::slice::Iter<'a, Arc<T>>,
    rest: SmallVec<[&'a Trie<T>; WIDTH]>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(value) = self.leaf.next() {
                self.left -= 1;
                return Some(value);
            }
            match self.rest.pop()? {
                Trie::Empty => {}
                Trie::Leaf(leaf) => self.leaf = leaf.iter(),
                Trie::Branch(branch) => self.rest.extend(branch.children.iter().rev()),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A key whose hash collides as often as the test wants, and a value.
    #[derive(Debug, PartialEq)]
    struct Item(u16, u8);

    impl Keyed for Item {
        fn key_hash(&self) -> u64 {
            weak(self.0)
        }
        fn same_key(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    fn weak(key: u16) -> u64 {
        if key.is_multiple_of(5) { 7 } else { hash(key) }
    }

    fn check(trie: &Trie<Item>, model: &BTreeMap<u16, u8>) {
        let mut listed: Vec<_> = trie.iter().map(|item| (item.0, item.1)).collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            model.iter().map(|(&k, &v)| (k, v)).collect::<Vec<_>>()
        );
        for (&key, &value) in model {
            let found = trie.find(weak(key), |item| item.0 == key);
            assert_eq!(found.map(|item| item.1), Some(value));
        }
    }

    proptest! {
        #[test]
        fn does_what_a_map_does_and_leaves_copies_alone(changes in vec((any::<bool>(), 0..300_u16, any::<u8>()), 0..600)) {
            let mut trie = Trie::Empty;
            let mut model = BTreeMap::new();
            let mut copies = Vec::new();
            for (i, (insert, key, value)) in changes.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(trie.insert(Arc::new(Item(key, value))), model.insert(key, value).is_some());
                } else {
                    prop_assert_eq!(trie.remove(weak(key), |item| item.0 == key), model.remove(&key).is_some());
                }
                prop_assert_eq!(trie.len(), model.len());
                if i % 50 == 0 {
                    copies.push((trie.clone(), model.clone()));
                }
            }
            copies.push((trie, model));
            copies.iter().for_each(|(trie, model)| check(trie, model));
        }
    }
}
