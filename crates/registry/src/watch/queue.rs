use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::diff::diff;
use crate::{Event, Services};

/// How many changes wait for a reader before the rest is kept as a difference.
const CAPACITY: usize = 1024;

/// One change of a service, with its states around it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) before: Services,
    pub(crate) after: Services,
    pub(crate) events: SmallVec<[Event; 1]>,
}

/// What comes out of a [`Queue`].
#[derive(Debug)]
pub(crate) enum Item<C> {
    Change(Arc<Change>),
    /// Boxed, since it is rare and large, and there is a queue for each watcher.
    Control(Box<C>),
}

/// Changes on their way from one writer to one reader, in order, in bounded memory.
///
/// A reader that is too slow finds a gap behind the first changes: for each service its state
/// before the gap and after it. The gap becomes a change, the difference of the two, at the moment
/// it is read.
pub(crate) struct Queue<C> {
    state: Mutex<State<C>>,
    /// The reader wants nothing more. Set under the lock.
    is_stopped: AtomicBool,
    /// Told when the reader stops.
    stopped: Notify,
}

struct State<C> {
    slots: VecDeque<Slot<C>>,
    changes: usize,
    reader: Option<Waker>,
    /// The writer will send nothing more.
    closed: bool,
}

/// By namespace and name: the states before and after.
type Gap = HashMap<(Arc<str>, Arc<str>), (Services, Services)>;

enum Slot<C> {
    Item(Item<C>),
    Gap(Gap),
}

impl<C> Queue<C> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                slots: VecDeque::new(),
                changes: 0,
                reader: None,
                closed: false,
            }),
            is_stopped: AtomicBool::new(false),
            stopped: Notify::new(),
        })
    }

    /// Says whether anybody reads on.
    pub(crate) fn push_change(&self, change: &Arc<Change>) -> bool {
        let mut state = self.lock();
        if self.is_stopped() {
            return false;
        }
        state.push_change(change);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        true
    }

    pub(crate) fn push_control(&self, control: C) {
        let mut state = self.lock();
        if self.is_stopped() {
            return;
        }
        state
            .slots
            .push_back(Slot::Item(Item::Control(Box::new(control))));
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Takes back the last control that `cancels` picks, or else adds `control`, so that two which
    /// undo each other do not pile up before a reader who does not read.
    pub(crate) fn push_or_cancel(&self, control: C, cancels: impl Fn(&C) -> bool) {
        let mut state = self.lock();
        let full = state.slots.len() >= CAPACITY;
        let found = state
            .slots
            .iter()
            .rposition(|slot| matches!(slot, Slot::Item(Item::Control(other)) if cancels(other)));
        if let Some(at) = found
            && (full || at + 1 == state.slots.len())
        {
            state.slots.remove(at);
            return;
        }
        drop(state);
        self.push_control(control);
    }

    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Item<C>>> {
        let mut state = self.lock();
        if self.is_stopped() {
            return Poll::Ready(None);
        }
        if let Some(item) = state.pop() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Ends it from the writer's side: what is there can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Ends it from the reader's side: nothing more is read.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        self.is_stopped.store(true, Ordering::Release);
        let slots = std::mem::take(&mut state.slots);
        let reader = state.reader.take();
        drop(state);
        drop(slots);
        wake(reader);
        self.stopped.notify_waiters();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    pub(crate) async fn stopped(&self) {
        let mut notified = std::pin::pin!(self.stopped.notified());
        notified.as_mut().enable();
        if !self.is_stopped() {
            notified.await;
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> State<C> {
    fn push_change(&mut self, change: &Arc<Change>) {
        if let Some(Slot::Gap(gap)) = self.slots.back_mut() {
            widen(gap, change);
        } else if self.changes < CAPACITY {
            self.changes += 1;
            self.slots
                .push_back(Slot::Item(Item::Change(Arc::clone(change))));
        } else {
            let mut gap = Gap::new();
            widen(&mut gap, change);
            self.slots.push_back(Slot::Gap(gap));
        }
    }

    fn pop(&mut self) -> Option<Item<C>> {
        loop {
            match self.slots.pop_front()? {
                Slot::Item(item) => {
                    self.changes -= usize::from(matches!(item, Item::Change(_)));
                    return Some(item);
                }
                Slot::Gap(mut gap) => {
                    let Some(key) = gap.keys().next().cloned() else {
                        continue;
                    };
                    let Some((before, after)) = gap.remove(&key) else {
                        continue;
                    };
                    self.slots.push_front(Slot::Gap(gap));
                    let events = diff(&before, &after);
                    if !events.is_empty() {
                        let (namespace, name) = key;
                        return Some(Item::Change(Arc::new(Change {
                            namespace,
                            name,
                            before,
                            after,
                            events,
                        })));
                    }
                }
            }
        }
    }
}

fn widen(gap: &mut Gap, change: &Change) {
    gap.entry((Arc::clone(&change.namespace), Arc::clone(&change.name)))
        .and_modify(|(_, after)| *after = change.after.clone())
        .or_insert_with(|| (change.before.clone(), change.after.clone()));
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl<C> fmt::Debug for Queue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue")
            .field("waiting", &state.slots.len())
            .field("closed", &state.closed)
            .field("stopped", &self.is_stopped())
            .finish()
    }
}
