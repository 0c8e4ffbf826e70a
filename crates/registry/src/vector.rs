//! A persistent vector: copies share what they hold, and adding to the newest copy copies nothing.
//!
//! Values stand in blocks whose places are filled once. A copy knows how many of them are its own,
//! so one with a value more shares the blocks of the one before: the first to add at the end takes
//! the free place, and whoever comes later with another value copies the path to it.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// A sequence of shared values.
#[derive(Default)]
pub(crate) enum Vector<T> {
    #[default]
    Empty,
    /// By far the most frequent: most registrations are of one node.
    One(Arc<T>),
    Many {
        root: Arc<Block<T>>,
        height: u8,
        len: u32,
    },
}

/// Places in a row; those of a block on a level above hold blocks.
pub(crate) enum Block<T> {
    Leaf(Places<T>),
    Branch(Places<Self>),
}

type Places<T> = [OnceLock<Arc<T>>; WIDTH];

const BITS: u32 = 3;
const WIDTH: usize = 1 << BITS;

impl<T> Vector<T> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many { len, .. } => *len as usize,
        }
    }

    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, Self::Empty) => true,
            (Self::One(a), Self::One(b)) => Arc::ptr_eq(a, b),
            (
                Self::Many { root, len, .. },
                Self::Many {
                    root: other,
                    len: its,
                    ..
                },
            ) => len == its && Arc::ptr_eq(root, other),
            _ => false,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Arc<T>> {
        if at >= self.len() {
            return None;
        }
        match self {
            Self::Empty => None,
            Self::One(value) => Some(value),
            Self::Many { .. } => self.leaf(at)?.get(at % WIDTH)?.get(),
        }
    }

    /// The places around a position.
    fn leaf(&self, at: usize) -> Option<&Places<T>> {
        let Self::Many { root, height, .. } = self else {
            return None;
        };
        let (mut block, mut height) = (root, *height);
        loop {
            match &**block {
                Block::Leaf(places) => return Some(places),
                Block::Branch(places) => block = places[place(at, height)].get()?,
            }
            height = height.checked_sub(1)?;
        }
    }

    /// Adds a value at the end.
    pub(crate) fn push(&mut self, value: Arc<T>) {
        match self {
            Self::Empty => *self = Self::One(value),
            Self::One(first) => {
                *self = Self::Many {
                    root: Arc::new(Block::Leaf(filled([Arc::clone(first), value]))),
                    height: 0,
                    len: 2,
                };
            }
            Self::Many { root, height, len } => {
                let at = *len as usize;
                if at == capacity(*height) {
                    let (old, new) = (Arc::clone(root), Block::chain(*height, value));
                    *root = Arc::new(Block::Branch(filled([old, new])));
                    *height += 1;
                } else {
                    Block::push(root, *height, at, value);
                }
                *len += 1;
            }
        }
    }

    /// Puts a value in the place of another.
    pub(crate) fn replace(&mut self, at: usize, value: Arc<T>) {
        debug_assert!(at < self.len(), "there is nothing to replace");
        match self {
            Self::Empty => {}
            Self::One(old) => *old = value,
            Self::Many { root, height, len } => {
                Block::replace(root, *height, *len as usize, at, value);
            }
        }
    }

    /// Takes the last value away.
    pub(crate) fn pop(&mut self) {
        match self {
            Self::Empty | Self::One(_) => *self = Self::Empty,
            Self::Many { len: 2, .. } => {
                let first = self.get(0).cloned();
                *self = first.map_or(Self::Empty, Self::One);
            }
            Self::Many { root, height, len } => {
                *len -= 1;
                Block::truncate(root, *height, *len as usize);
                if let Block::Branch(places) = &**root
                    && let (Some(only), None) = (places[0].get(), places[1].get())
                {
                    *root = Arc::clone(only);
                    *height -= 1;
                }
            }
        }
    }

    /// The positions at which this does not hold the very value that `before` holds there, in their
    /// order. Takes time in proportion to what the two do not share.
    pub(crate) fn differences(&self, before: &Self) -> Vec<usize> {
        let common = self.len().min(before.len());
        let mut found = Vec::new();
        match (self.root(), before.root()) {
            (Some(ours), Some(theirs)) => ours.differences(theirs, 0..common, &mut found),
            _ => found.extend((0..common).filter(|at| {
                let (ours, theirs) = (self.get(*at), before.get(*at));
                !ours.zip(theirs).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
            })),
        }
        found.extend(common..self.len());
        found
    }

    const fn root(&self) -> Option<Root<'_, T>> {
        match self {
            Self::Many { root, height, .. } => Some(Root {
                block: root,
                height: *height,
            }),
            Self::Empty | Self::One(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter {
            vector: self,
            leaf: &[],
            at: 0,
        }
    }
}

impl<T> Block<T> {
    /// A block that holds just this value.
    fn chain(height: u8, value: Arc<T>) -> Arc<Self> {
        (0..height).fold(Arc::new(Self::Leaf(filled([value]))), |block, _| {
            Arc::new(Self::Branch(filled([block])))
        })
    }

    /// Adds a value at position `at`, the end of what is seen of this block.
    fn push(block: &mut Arc<Self>, height: u8, at: usize, value: Arc<T>) {
        let here = place(at, height);
        match &**block {
            Self::Leaf(places) => {
                if let Err(value) = places[here].set(value) {
                    *block = Arc::new(Self::Leaf(with(places, here, value)));
                }
            }
            Self::Branch(places) if at.is_multiple_of(capacity(height - 1)) => {
                if let Err(new) = places[here].set(Self::chain(height - 1, value)) {
                    *block = Arc::new(Self::Branch(with(places, here, new)));
                }
            }
            Self::Branch(places) => {
                let Some(old) = places[here].get() else {
                    return;
                };
                let mut new = Arc::clone(old);
                Self::push(&mut new, height - 1, at, value);
                if !Arc::ptr_eq(old, &new) {
                    *block = Arc::new(Self::Branch(with(places, here, new)));
                }
            }
        }
    }

    fn replace(block: &mut Arc<Self>, height: u8, len: usize, at: usize, value: Arc<T>) {
        let here = place(at, height);
        match Self::own(block, height, len) {
            Self::Leaf(places) => places[here] = value.into(),
            Self::Branch(places) => {
                if let Some(child) = places[here].get_mut() {
                    Self::replace(child, height - 1, seen_of(here, height, len), at, value);
                }
            }
        }
    }

    /// Lets go of all but the first `len` values; there are more than none.
    fn truncate(block: &mut Arc<Self>, height: u8, len: usize) {
        if len == capacity(height) {
            return;
        }
        if let Self::Branch(places) = Self::own(block, height, len) {
            let last = place(len - 1, height);
            if let Some(child) = places[last].get_mut() {
                Self::truncate(child, height - 1, seen_of(last, height, len));
            }
        }
    }

    /// Collects the positions of `seen`, the values of both from the first one here on, at which they are
    /// different ones.
    fn differences(
        self: &Arc<Self>,
        other: &Arc<Self>,
        height: u8,
        seen: Range<usize>,
        found: &mut Vec<usize>,
    ) {
        if Arc::ptr_eq(self, other) {
            return;
        }
        match (&**self, &**other) {
            (Self::Leaf(ours), Self::Leaf(theirs)) => {
                for (at, (a, b)) in seen.zip(ours.iter().zip(theirs)) {
                    if !a.get().zip(b.get()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)) {
                        found.push(at);
                    }
                }
            }
            (Self::Branch(ours), Self::Branch(theirs)) => {
                let starts = seen.clone().step_by(capacity(height - 1));
                for (start, (a, b)) in starts.zip(ours.iter().zip(theirs)) {
                    if let (Some(a), Some(b)) = (a.get(), b.get()) {
                        a.differences(b, height - 1, start..seen.end, found);
                    }
                }
            }
            _ => {}
        }
    }

    /// This block to be changed, a copy if others have it too; without what stands behind its first
    /// `len` values.
    fn own(block: &mut Arc<Self>, height: u8, len: usize) -> &mut Self {
        let block = Arc::make_mut(block);
        let used = place(len - 1, height) + 1;
        match block {
            Self::Leaf(places) => empty(&mut places[used..]),
            Self::Branch(places) => empty(&mut places[used..]),
        }
        block
    }
}

/// A block of a vector, and how high above the values it stands.
struct Root<'a, T> {
    block: &'a Arc<Block<T>>,
    height: u8,
}

impl<T> Root<'_, T> {
    /// Collects the positions of `seen` at which the two hold different values. Both hold one at each.
    fn differences(self, other: Self, seen: Range<usize>, found: &mut Vec<usize>) {
        // Of a higher one, all that both hold stands in its first place.
        let height = self.height.min(other.height);
        let (ours, theirs) = (self.down_to(height), other.down_to(height));
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            ours.block.differences(theirs.block, height, seen, found);
        }
    }

    fn down_to(mut self, height: u8) -> Option<Self> {
        while self.height > height {
            let Block::Branch(places) = &**self.block else {
                return None;
            };
            self.block = places[0].get()?;
            self.height -= 1;
        }
        Some(self)
    }
}

/// How many values a block of this height has room for.
const fn capacity(height: u8) -> usize {
    WIDTH << (BITS * height as u32)
}

/// The place of a position in a block of this height.
const fn place(at: usize, height: u8) -> usize {
    at >> (BITS * height as u32) & (WIDTH - 1)
}

/// Of the first `len` values of a block, those of the block in one of its places.
fn seen_of(place: usize, height: u8, len: usize) -> usize {
    let room = capacity(height - 1);
    (len - place * room).min(room)
}

fn filled<T, const N: usize>(values: [Arc<T>; N]) -> Places<T> {
    let mut places = [const { OnceLock::new() }; WIDTH];
    for (place, value) in places.iter_mut().zip(values) {
        *place = value.into();
    }
    places
}

/// The first places up to `at`, and another value there.
fn with<T>(places: &Places<T>, at: usize, value: Arc<T>) -> Places<T> {
    let mut copy = [const { OnceLock::new() }; WIDTH];
    copy[..at].clone_from_slice(&places[..at]);
    copy[at] = value.into();
    copy
}

fn empty<T>(places: &mut [OnceLock<Arc<T>>]) {
    places.iter_mut().for_each(|place| drop(place.take()));
}

impl<T> Clone for Vector<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::One(value) => Self::One(Arc::clone(value)),
            Self::Many { root, height, len } => Self::Many {
                root: Arc::clone(root),
                height: *height,
                len: *len,
            },
        }
    }
}

impl<T> Clone for Block<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(places) => Self::Leaf(places.clone()),
            Self::Branch(places) => Self::Branch(places.clone()),
        }
    }
}

impl<T> FromIterator<Arc<T>> for Vector<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(values: I) -> Self {
        let mut vector = Self::Empty;
        values.into_iter().for_each(|value| vector.push(value));
        vector
    }
}

/// The values, one after the other.
pub(crate) struct Iter<'a, T> {
    vector: &'a Vector<T>,
    /// The places around the position.
    leaf: &'a [OnceLock<Arc<T>>],
    at: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Vector::One(value) = self.vector {
            let value = (self.at == 0).then_some(value);
            self.at = 1;
            return value;
        }
        if self.at >= self.vector.len() {
            return None;
        }
        if self.at.is_multiple_of(WIDTH) {
            self.leaf = self.vector.leaf(self.at)?;
        }
        let value = self.leaf.get(self.at % WIDTH)?.get();
        self.at += 1;
        value
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.vector.len() - self.at;
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Push(u8),
        Replace(usize, u8),
        Pop(usize),
        /// Goes on with an earlier copy.
        Return(usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => any::<u8>().prop_map(Change::Push),
            2 => (any::<usize>(), any::<u8>()).prop_map(|(at, value)| Change::Replace(at, value)),
            2 => (1..40_usize).prop_map(Change::Pop),
            1 => any::<usize>().prop_map(Change::Return),
        ]
    }

    fn check((vector, model): &(Vector<u8>, Vec<u8>)) {
        let listed: Vec<_> = vector.iter().map(|value| **value).collect();
        assert_eq!(listed, *model);
        assert_eq!(vector.iter().len(), model.len());
        for (at, value) in model.iter().enumerate() {
            assert_eq!(vector.get(at).map(|value| **value), Some(*value));
        }
        assert!(vector.get(model.len()).is_none());
    }

    proptest! {
        #[test]
        fn does_what_a_vector_does_and_leaves_copies_alone(changes in vec(change(), 0..900)) {
            let mut now = (Vector::Empty, Vec::new());
            let mut copies = vec![now.clone()];
            for (i, change) in changes.into_iter().enumerate() {
                let (vector, model) = &mut now;
                match change {
                    Change::Push(value) => {
                        vector.push(Arc::new(value));
                        model.push(value);
                    }
                    Change::Replace(at, value) if !model.is_empty() => {
                        let at = at % model.len();
                        vector.replace(at, Arc::new(value));
                        model[at] = value;
                    }
                    Change::Replace(..) => {}
                    Change::Pop(count) => for _ in 0..count {
                        vector.pop();
                        model.pop();
                    },
                    Change::Return(to) => now = copies[to % copies.len()].clone(),
                }
                prop_assert_eq!(now.0.len(), now.1.len());
                if i % 20 == 0 {
                    copies.push(now.clone());
                }
            }
            copies.push(now);
            copies.iter().for_each(check);
            for (before, _) in &copies {
                for (after, _) in &copies {
                    let is_other = |at: &usize| {
                        let (a, b) = (after.get(*at), before.get(*at));
                        !a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
                    };
                    let others: Vec<_> = (0..after.len()).filter(is_other).collect();
                    prop_assert_eq!(after.differences(before), others);
                }
            }
        }
    }

    #[test]
    fn what_was_taken_away_is_let_go() {
        for len in [1, 2, 8, 9, 64, 65, 600] {
            let values: Vec<_> = (0..len).map(Arc::new).collect();
            let mut vector: Vector<_> = values.iter().cloned().collect();
            while vector.len() > 0 {
                vector.pop();
                let held = values.iter().filter(|value| Arc::strong_count(value) > 1);
                assert_eq!(held.count(), vector.len());
            }
        }
    }

    #[test]
    fn adding_to_the_newest_copy_copies_nothing() {
        let mut vector: Vector<_> = (0..100).map(Arc::new).collect();
        let first = Arc::clone(vector.get(0).unwrap());
        let mut copies = Vec::new();
        for i in 100..110 {
            copies.push(vector.clone());
            vector.push(Arc::new(i));
        }
        assert_eq!(Arc::strong_count(&first), 2, "one leaf for all");
    }
}
