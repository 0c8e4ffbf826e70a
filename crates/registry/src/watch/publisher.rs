use std::sync::Arc;

use super::{Fold, Queue, Update, Watcher, push_status};
use crate::{Error, Event, Services};

/// The engine's end of a [`Watcher`]: what an engine says here, the watcher's owner hears.
///
/// It never waits: a reader that is too slow gets the difference when it comes back. What changes
/// nothing is not passed on. Dropping the publisher ends the watch when what is there was read.
#[derive(Debug)]
pub struct Publisher {
    fold: Fold,
    queue: Arc<Queue>,
    stale: bool,
}

impl Publisher {
    pub(super) fn new(snapshot: &Services, queue: Arc<Queue>) -> Self {
        Self {
            fold: Fold::new(snapshot),
            queue,
            stale: false,
        }
    }

    /// Says that something changed.
    pub fn publish(&mut self, event: &Event) {
        if let Some(change) = self.fold.change(event) {
            self.queue.push_change(&Arc::new(change));
        }
    }

    /// Says what services there are now; what is different comes as events.
    pub fn resync(&mut self, services: &Services) {
        for change in self.fold.replace(services) {
            self.queue.push_change(&Arc::new(change));
        }
    }

    /// Says that the registry can't be reached; again means nothing.
    pub fn stale(&mut self, error: Error) {
        if !std::mem::replace(&mut self.stale, true) {
            push_status(&self.queue, Update::Stale(error));
        }
    }

    /// Says that the registry can be reached again, if it could not.
    pub fn live(&mut self) {
        if std::mem::replace(&mut self.stale, false) {
            push_status(&self.queue, Update::Live);
        }
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.queue.is_stopped()
    }

    /// Waits until nobody listens any more. Cancel safe.
    pub async fn stopped(&self) {
        self.queue.stopped().await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Watcher {
    /// A watcher that starts with `snapshot`, and the engine's end of it.
    #[must_use]
    pub fn channel(snapshot: Services) -> (Publisher, Self) {
        let queue = Queue::new();
        let publisher = Publisher::new(&snapshot, Arc::clone(&queue));
        (publisher, Self::new(snapshot, queue, None))
    }
}
