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

/// Changes on their way from one writer to one reader, in order, in bounded memory.
///
/// A reader that is too slow finds a gap behind the first changes: for each service its state
/// before the gap and after it. The gap becomes a change, the difference of the two, at the moment
/// it is read.
///
/// What comes out is an `I`: made of a change, or a control, which is put in as it is.
pub(crate) struct Queue<I> {
    state: Mutex<State<I>>,
    /// The reader wants nothing more. Set under the lock.
    is_stopped: AtomicBool,
    /// There is nothing to read, and the reader will be woken when there is. Set under the lock.
    is_idle: AtomicBool,
    /// Told when the reader stops.
    stopped: Notify,
}

struct State<I> {
    slots: VecDeque<Slot<I>>,
    changes: usize,
    /// Whom to wake if the queue is idle; kept, since it is the same again and again.
    reader: Option<Waker>,
    /// The writer will send nothing more.
    closed: bool,
}

/// By namespace and name: the states before and after.
type Gap = HashMap<(Arc<str>, Arc<str>), (Services, Services)>;

enum Slot<I> {
    Change(I),
    Control(I),
    /// Boxed, since it is rare and large, and there is a queue for each watcher.
    Gap(Box<Gap>),
}

impl<I: for<'a> From<&'a Arc<Change>>> Queue<I> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                slots: VecDeque::new(),
                changes: 0,
                reader: None,
                closed: false,
            }),
            is_stopped: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            stopped: Notify::new(),
        })
    }

    pub(crate) fn push_change(&self, change: &Arc<Change>) {
        let mut state = self.lock();
        if !self.is_stopped() {
            state.push_change(change);
            self.wake(&state);
        }
    }

    pub(crate) fn push_control(&self, control: I) {
        let mut state = self.lock();
        if !self.is_stopped() {
            state.slots.push_back(Slot::Control(control));
            self.wake(&state);
        }
    }

    /// Takes back the last control that `cancels` picks, or else adds `control`, so that two which
    /// undo each other do not pile up before a reader who does not read.
    pub(crate) fn push_or_cancel(&self, control: I, cancels: impl Fn(&I) -> bool) {
        let mut state = self.lock();
        let full = state.slots.len() >= CAPACITY;
        let found = state
            .slots
            .iter()
            .rposition(|slot| matches!(slot, Slot::Control(other) if cancels(other)));
        if let Some(at) = found
            && (full || at + 1 == state.slots.len())
        {
            state.slots.remove(at);
            return;
        }
        drop(state);
        self.push_control(control);
    }

    /// The next item. `known` is the reader's own copy of whom it last said to wake.
    pub(crate) fn poll_pop(
        &self,
        cx: &mut Context<'_>,
        known: &mut Option<Waker>,
    ) -> Poll<Option<I>> {
        let is_known = known
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()));
        if is_known && self.is_idle.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut state = self.lock();
        if self.is_stopped() {
            return Poll::Ready(None);
        }
        let item = state.pop();
        if item.is_none() && state.closed {
            return Poll::Ready(None);
        }
        if !is_known {
            *known = Some(cx.waker().clone());
            state.reader.clone_from(known);
        }
        // Whoever reads the last item will ask for another one, and need not take the lock to hear
        // that there is none.
        self.is_idle
            .store(state.slots.is_empty() && !state.closed, Ordering::Release);
        item.map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
    }

    /// Ends it from the writer's side: what is there can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(&state);
    }

    /// Ends it from the reader's side: nothing more is read.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        self.is_stopped.store(true, Ordering::Release);
        let slots = std::mem::take(&mut state.slots);
        self.wake(&state);
        drop(state);
        drop(slots);
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

    fn wake(&self, state: &State<I>) {
        if self.is_idle.load(Ordering::Relaxed) {
            self.is_idle.store(false, Ordering::Release);
            if let Some(reader) = &state.reader {
                reader.wake_by_ref();
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: for<'a> From<&'a Arc<Change>>> State<I> {
    fn push_change(&mut self, change: &Arc<Change>) {
        if let Some(Slot::Gap(gap)) = self.slots.back_mut() {
            widen(gap, change);
        } else if self.changes < CAPACITY {
            self.changes += 1;
            self.slots.push_back(Slot::Change(change.into()));
        } else {
            let mut gap = Box::new(Gap::new());
            widen(&mut gap, change);
            self.slots.push_back(Slot::Gap(gap));
        }
    }

    fn pop(&mut self) -> Option<I> {
        loop {
            match self.slots.pop_front()? {
                Slot::Change(item) => {
                    self.changes -= 1;
                    return Some(item);
                }
                Slot::Control(item) => return Some(item),
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
                        let change = Change {
                            namespace,
                            name,
                            before,
                            after,
                            events,
                        };
                        return Some((&Arc::new(change)).into());
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

impl<I: for<'a> From<&'a Arc<Change>>> fmt::Debug for Queue<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue")
            .field("waiting", &state.slots.len())
            .field("closed", &state.closed)
            .field("stopped", &self.is_stopped())
            .finish()
    }
}
