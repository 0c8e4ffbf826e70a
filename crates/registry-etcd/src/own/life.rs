//! Whether tasks still run, at the price of one look, and how to end such as don't.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::BoxFuture};

/// Tasks that are of use together only.
#[derive(Default)]
pub(super) struct Life {
    /// Which ones run; 0 once one of them has ended, by a panic or with its runtime.
    current: Arc<AtomicU64>,
    last: AtomicU64,
    work: Mutex<Vec<Work>>,
}

/// What a task does. It can be dropped from outside: a runtime that stands still does not drop what
/// is aborted, which may hold what others need.
type Work = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

/// One of the tasks.
pub(super) struct Task {
    work: Work,
    current: Arc<AtomicU64>,
    number: u64,
}

impl Life {
    pub(super) fn goes_on(&self) -> bool {
        self.current.load(Ordering::Relaxed) != 0
    }

    /// Others take the place of those before.
    pub(super) fn begin<const N: usize>(&self, work: [BoxFuture<'static, ()>; N]) -> [Task; N] {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        let tasks = work.map(|work| Task {
            work: Arc::new(Mutex::new(Some(work))),
            current: Arc::clone(&self.current),
            number,
        });
        let begun = tasks.iter().map(|task| Arc::clone(&task.work)).collect();
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *work, begun);
        drop(work);
        before.iter().for_each(end);
        tasks
    }
}

/// One that is just running is left to its runtime.
fn end(work: &Work) {
    let work = match work.try_lock() {
        Ok(mut work) => work.take(),
        Err(TryLockError::Poisoned(work)) => work.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    drop(work);
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(future) = &mut *work {
            ready!(future.poll_unpin(cx));
            *work = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Later ones have a number of their own.
        let _ = self
            .current
            .compare_exchange(self.number, 0, Ordering::Relaxed, Ordering::Relaxed);
        end(&self.work);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_life_ends_with_the_first_task_and_begins_anew() {
        let life = Life::default();
        assert!(!life.goes_on());
        let [one, other] = life.begin([pending().boxed(), pending().boxed()]);
        assert!(life.goes_on());
        drop(one);
        assert!(!life.goes_on());
        let [one_more] = life.begin([pending().boxed()]);
        drop(other);
        assert!(life.goes_on(), "that was one of before");
        drop(one_more);
        assert!(!life.goes_on());
    }

    #[test]
    fn what_a_task_holds_is_free_when_another_takes_its_place() {
        let (life, held) = (Life::default(), Arc::new(()));
        let holds = Arc::clone(&held);
        let work = async move {
            pending::<()>().await;
            drop(holds);
        };
        let [_stands_still] = life.begin([work.boxed()]);
        assert_eq!(Arc::strong_count(&held), 2);
        let [other] = life.begin([pending().boxed()]);
        assert_eq!(Arc::strong_count(&held), 1);
        drop(other);
    }
}
