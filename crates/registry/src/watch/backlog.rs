use std::{
    collections::{
        VecDeque,
        hash_map::{self, Entry, HashMap},
    },
    mem::take,
    sync::Arc,
};

use super::{Change, diff::diff};
use crate::Services;

/// How many changes wait for a reader before the rest is kept as a difference.
const CAPACITY: usize = 1024;

/// What waits for a reader, in order and in bounded memory.
///
/// When there is too much, a gap follows the first changes: for each service its state before the gap
/// and after it, as long as they are not the same. When the reader gets there the gap is closed, and
/// each service in it becomes a change, the difference of the two, at the moment it is read.
///
/// What comes out is an `I`: made of a change, or a control, which is put in as it is.
pub(crate) struct Backlog<I> {
    slots: VecDeque<Slot<I>>,
    changes: usize,
}

enum Slot<I> {
    Change(I),
    Control(I),
    /// Boxed, since it is rare and large, and there is a backlog for each watcher.
    Gap(Box<Gap>),
    /// A gap that the reader has got to: what happens from then on comes after it.
    Closed(Box<hash_map::IntoIter<Key, States>>),
}

type Gap = HashMap<Key, States>;

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

/// Before and after.
type States = (Services, Services);

/// What is next for the reader.
pub(crate) enum Next<I> {
    Item(I),
    Difference(Difference),
}

/// Two states of a service, whose difference is still to be found: that takes time for a large one,
/// so not while others wait.
pub(crate) struct Difference {
    service: Key,
    before: Services,
    after: Services,
}

/// A change on its way into a backlog: as an item of its own, or as part of a gap.
pub(crate) trait Step<I> {
    /// Namespace and name of the service.
    fn service(&self) -> (&Arc<str>, &Arc<str>);

    /// The states before and after.
    fn states(&self) -> (&Services, &Services);

    fn into_item(self) -> I;
}

impl<I: From<Change>> Backlog<I> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: VecDeque::new(),
            changes: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn take(&mut self) -> Self {
        Self {
            slots: take(&mut self.slots),
            changes: take(&mut self.changes),
        }
    }

    /// Says whether the change has become part of a gap.
    pub(crate) fn push_change(&mut self, step: impl Step<I>) -> bool {
        if let Some(Slot::Gap(gap)) = self.slots.back_mut() {
            note(gap, &step);
            true
        } else if self.changes < CAPACITY {
            self.changes += 1;
            self.slots.push_back(Slot::Change(step.into_item()));
            false
        } else {
            let mut gap = Box::new(Gap::new());
            note(&mut gap, &step);
            self.slots.push_back(Slot::Gap(gap));
            true
        }
    }

    pub(crate) fn push_control(&mut self, control: I) {
        self.slots.push_back(Slot::Control(control));
    }

    /// Takes back the last control that `cancels` picks, if nothing came after it or there is too
    /// much anyway; says whether it did.
    pub(crate) fn cancel(&mut self, cancels: impl Fn(&I) -> bool) -> bool {
        let found = self
            .slots
            .iter()
            .rposition(|slot| matches!(slot, Slot::Control(other) if cancels(other)));
        let found = found.filter(|at| at + 1 == self.slots.len() || self.slots.len() >= CAPACITY);
        let Some(at) = found else { return false };
        self.slots.remove(at);
        self.join_gaps(at);
        true
    }

    /// Makes one gap of two that nothing stands between any more: else each control that is taken
    /// back would leave one more behind.
    fn join_gaps(&mut self, at: usize) {
        let Some(first) = at.checked_sub(1) else {
            return;
        };
        let slots = self.slots.make_contiguous();
        if let Some([Slot::Gap(gap), Slot::Gap(next)]) = slots.get_mut(first..=at) {
            for (service, (before, after)) in take(&mut **next) {
                widen(gap, service, (&before, &after));
            }
            self.slots.remove(at);
        }
    }

    /// Takes the next one out, at little cost whatever it is.
    pub(crate) fn pop(&mut self) -> Option<Next<I>> {
        loop {
            match self.slots.pop_front()? {
                Slot::Change(item) => {
                    self.changes -= 1;
                    return Some(Next::Item(item));
                }
                Slot::Control(item) => return Some(Next::Item(item)),
                Slot::Gap(gap) => self
                    .slots
                    .push_front(Slot::Closed(Box::new(gap.into_iter()))),
                Slot::Closed(mut rest) => {
                    let Some((service, (before, after))) = rest.next() else {
                        continue;
                    };
                    if rest.len() > 0 {
                        self.slots.push_front(Slot::Closed(rest));
                    }
                    return Some(Next::Difference(Difference {
                        service,
                        before,
                        after,
                    }));
                }
            }
        }
    }
}

impl<I: From<Change>> Next<I> {
    /// None if there is no difference.
    pub(crate) fn into_item(self) -> Option<I> {
        match self {
            Self::Item(item) => Some(item),
            Self::Difference(difference) => difference.into_change().map(I::from),
        }
    }
}

impl Difference {
    fn into_change(self) -> Option<Change> {
        let Self {
            service: (namespace, name),
            before,
            after,
        } = self;
        let events = diff(&before, &after);
        (!events.is_empty()).then_some(Change {
            namespace,
            name,
            before,
            after,
            events,
        })
    }
}

fn note<I>(gap: &mut Gap, step: &impl Step<I>) {
    let (namespace, name) = step.service();
    widen(
        gap,
        (Arc::clone(namespace), Arc::clone(name)),
        step.states(),
    );
}

/// A service that is again as it was is forgotten, so that names which come and go do not pile up.
fn widen(gap: &mut Gap, service: Key, (before, after): (&Services, &Services)) {
    match gap.entry(service) {
        Entry::Occupied(known) if known.get().0.ptr_eq(after) => {
            known.remove();
        }
        Entry::Occupied(mut known) => known.get_mut().1 = after.clone(),
        Entry::Vacant(place) => {
            if !before.ptr_eq(after) {
                place.insert((before.clone(), after.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
