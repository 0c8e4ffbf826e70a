use std::{
    mem::swap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::{dispatcher::Command, edited::Edited};
use crate::watch::{Backlog, Change};

/// What happens to a view, on its way to the dispatcher.
///
/// Whoever changes the view pays for a lock that is hardly ever held, and for waking the dispatcher if
/// it sleeps. The dispatcher takes all there is at once.
pub(super) struct Log(Mutex<State>);

struct State {
    waiting: Backlog<Record>,
    /// Since when something waits, if it does.
    since: Option<Instant>,
    /// The dispatcher, if it sleeps.
    sleeper: Option<Waker>,
    /// The view is gone.
    closed: bool,
}

/// What reaches the dispatcher.
pub(super) enum Record {
    Edited(Edited),
    /// The difference that is left of edits for which there was no room.
    Change(Change),
    Command(Box<Command>),
}

impl Log {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            waiting: Backlog::new(),
            since: None,
            sleeper: None,
            closed: false,
        })))
    }

    pub(super) fn push_change(&self, edited: Edited) {
        self.push(|waiting| {
            waiting.push_change(edited);
        });
    }

    pub(super) fn push_command(&self, command: Command) {
        self.push(|waiting| waiting.push_control(Record::Command(Box::new(command))));
    }

    fn push(&self, push: impl FnOnce(&mut Backlog<Record>)) {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.since = Some(Instant::now());
        }
        push(&mut state.waiting);
        wake(state);
    }

    /// Ends it: what is there will still be read.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// Puts all that waits in the place of `into`, which is empty, and gives how long the first of it
    /// has waited; none at the end.
    pub(super) fn poll_take(
        &self,
        cx: &Context<'_>,
        into: &mut Backlog<Record>,
    ) -> Poll<Option<Duration>> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            if state.closed {
                return Poll::Ready(None);
            }
            state.sleeper = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // The places of what was read last are used for what comes next.
        swap(&mut state.waiting, into);
        let since = state.since.take();
        drop(state);
        Poll::Ready(Some(since.map(|since| since.elapsed()).unwrap_or_default()))
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the dispatcher if it sleeps: not before it can have the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let sleeper = state.sleeper.take();
    drop(state);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
}

impl From<Edited> for Record {
    fn from(edited: Edited) -> Self {
        Self::Edited(edited)
    }
}

impl From<Change> for Record {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}
