use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use vine_registry::{Error, Result};

/// What a call waits for: several keys, all of which have to be as wanted.
#[derive(Debug, Default)]
pub(super) struct Batch {
    state: Mutex<Progress>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Progress {
    left: usize,
    sealed: bool,
    error: Option<Error>,
}

impl Batch {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// There is one more to wait for.
    pub(super) fn add(&self) {
        self.lock().left += 1;
    }

    /// There are no more.
    pub(super) fn seal(&self) {
        self.lock().sealed = true;
    }

    /// One of them is as wanted; says whether that was the last one.
    pub(super) fn done(&self) -> bool {
        let mut state = self.lock();
        state.left -= 1;
        state.outcome().is_some()
    }

    /// One of them can't be as wanted for now.
    pub(super) fn fail(&self, error: &Error) {
        self.lock().error.get_or_insert_with(|| error.clone());
    }

    /// Lets whoever waits look again. Not while anything is locked that he takes next.
    pub(super) fn wake(&self) {
        self.ended.notify_one();
    }

    /// Waits until all are as wanted, or one can't be for now.
    pub(super) async fn wait(&self, operation: &'static str, limit: Duration) -> Result<()> {
        let waiting = async {
            loop {
                let outcome = self.lock().outcome();
                if let Some(outcome) = outcome {
                    return outcome;
                }
                self.ended.notified().await;
            }
        };
        timeout(limit, waiting).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                operation: operation.into(),
                after: limit,
            })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn outcome(&self) -> Option<Result<()>> {
        if let Some(error) = &self.error {
            return Some(Err(error.clone()));
        }
        (self.sealed && self.left == 0).then_some(Ok(()))
    }
}
