use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::sync::Notify;

use super::{Backlog, Change, News, Next};

/// Changes on their way from one writer to one [`Watcher`](crate::Watcher).
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The reader wants nothing more. Set under the lock.
    is_stopped: AtomicBool,
    /// There is nothing to read, and the reader will be woken when there is. Set under the lock.
    is_idle: AtomicBool,
    /// Told when the reader stops.
    stopped: Notify,
}

struct State {
    backlog: Backlog<News>,
    /// Whom to wake if the queue is idle; kept, since it is the same again and again.
    reader: Option<Waker>,
    /// The writer will send nothing more.
    closed: bool,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                backlog: Backlog::new(),
                reader: None,
                closed: false,
            }),
            is_stopped: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            stopped: Notify::new(),
        })
    }

    /// Says whether the reader will get it as part of a difference only.
    pub(crate) fn push_change(&self, change: &Arc<Change>) -> bool {
        let mut state = self.lock();
        if self.is_stopped() {
            return false;
        }
        let is_late = state.backlog.push_change(change);
        self.wake(&state);
        is_late
    }

    pub(crate) fn push_control(&self, control: News) {
        let mut state = self.lock();
        if !self.is_stopped() {
            state.backlog.push_control(control);
            self.wake(&state);
        }
    }

    /// Takes back the last control that `cancels` picks, or else adds `control`, so that two which
    /// undo each other do not pile up before a reader who does not read.
    pub(crate) fn push_or_cancel(&self, control: News, cancels: impl Fn(&News) -> bool) {
        if !self.lock().backlog.cancel(cancels) {
            self.push_control(control);
        }
    }

    /// The next item. `known` is the reader's own copy of whom it last said to wake.
    pub(crate) fn poll_pop(
        &self,
        cx: &mut Context<'_>,
        known: &mut Option<Waker>,
    ) -> Poll<Option<News>> {
        loop {
            let Some(next) = ready!(self.poll_next(cx, known)) else {
                return Poll::Ready(None);
            };
            // Without the lock: the one dispatcher must not wait for this reader.
            let item = next.into_item();
            if self.is_stopped() {
                return Poll::Ready(None);
            }
            if item.is_some() {
                return Poll::Ready(item);
            }
        }
    }

    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        known: &mut Option<Waker>,
    ) -> Poll<Option<Next<News>>> {
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
        let next = state.backlog.pop();
        if next.is_none() && state.closed {
            return Poll::Ready(None);
        }
        if !is_known {
            *known = Some(cx.waker().clone());
            state.reader.clone_from(known);
        }
        // Whoever reads the last item will ask for another one, and need not take the lock to hear
        // that there is none.
        self.is_idle
            .store(state.backlog.is_empty() && !state.closed, Ordering::Release);
        next.map_or(Poll::Pending, |next| Poll::Ready(Some(next)))
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
        let unread = state.backlog.take();
        self.wake(&state);
        drop(state);
        drop(unread);
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

    fn wake(&self, state: &State) {
        if self.is_idle.load(Ordering::Relaxed) {
            self.is_idle.store(false, Ordering::Release);
            if let Some(reader) = &state.reader {
                reader.wake_by_ref();
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue")
            .field("waiting", &state.backlog.len())
            .field("closed", &state.closed)
            .field("stopped", &self.is_stopped())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Event, Node, Service, Services};

    fn change(before: &Services, nodes: usize) -> Arc<Change> {
        let nodes = (0..nodes).map(|id| Node::new(id.to_string(), "127.0.0.1:80"));
        let service = Service::new("s", "v1").with_nodes(nodes);
        let after: Services = [service.clone()].into_iter().collect();
        Arc::new(Change {
            namespace: "vine".into(),
            name: "s".into(),
            before: before.clone(),
            after,
            events: [Event::new(Action::Create, service)].into(),
        })
    }

    #[test]
    fn nobody_waits_while_a_difference_is_found() {
        let queue = Queue::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut last = Services::new();
        let mut late = false;
        for nodes in 1..=2_000 {
            let change = change(&last, nodes % 7 + 1);
            last = change.after.clone();
            late = queue.push_change(&change);
        }
        assert!(late, "there is a gap");
        let mut known = None;
        let difference = loop {
            match queue.poll_next(&mut cx, &mut known) {
                Poll::Ready(Some(Next::Item(_))) => {}
                Poll::Ready(Some(difference)) => break difference,
                other => panic!("{}", other.is_ready()),
            }
        };
        assert!(queue.state.try_lock().is_ok(), "the lock is free");
        assert!(!queue.push_change(&change(&last, 3)), "in time again");
        assert!(difference.into_item().is_some());
        assert!(queue.poll_pop(&mut cx, &mut known).is_ready());
        assert!(queue.poll_pop(&mut cx, &mut known).is_pending());
    }
}
