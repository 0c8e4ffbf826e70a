//! Watching: a snapshot, then every change.

mod backlog;
mod diff;
mod fold;
mod publisher;
mod queue;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures_core::Stream;
use smallvec::SmallVec;

pub use fold::Fold;
pub use publisher::Publisher;

pub(crate) use self::{
    backlog::{Backlog, Next, Step},
    queue::Queue,
};

use crate::{Error, Event, Services};

/// What a [`Watcher`] tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// Something changed.
    Event(Event),
    /// The registry can't be reached: what was known stays known, and may have become old.
    Stale(Error),
    /// The registry can be reached again; what changed meanwhile comes as events.
    Live,
}

/// Tells what services there are, and then how they change.
///
/// A change comes once, in order for each node. A reader that falls behind gets the difference
/// between what it has seen and what there is; in between, changes are left out, never invented.
/// Dropping the watcher stops it.
///
/// It is a [`Stream`] of [`Update`]s as well.
pub struct Watcher {
    snapshot: Services,
    queue: Arc<Queue>,
    /// The change whose events are being handed out, and which is next.
    open: Option<(Arc<Change>, usize)>,
    /// Who was last said to be woken.
    reader: Option<Waker>,
    /// Dropped with the watcher: tells the engine.
    _subscription: Option<Box<dyn Send + Sync>>,
}

impl Watcher {
    pub(crate) fn new(
        snapshot: Services,
        queue: Arc<Queue>,
        subscription: Option<Box<dyn Send + Sync>>,
    ) -> Self {
        Self {
            snapshot,
            queue,
            open: None,
            reader: None,
            _subscription: subscription,
        }
    }

    /// The services that there were when the watch began. Taking them frees them: a second call
    /// gives none.
    pub fn take_snapshot(&mut self) -> Services {
        std::mem::take(&mut self.snapshot)
    }

    /// Waits for the next update; none when the watch was stopped or the registry was closed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Waits for the next event and passes over [`Update::Stale`] and [`Update::Live`].
    ///
    /// # Cancel safety
    /// Nothing but those is lost when the future is dropped.
    pub async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Ok(event) = poll_fn(|cx| self.poll_news(cx)).await? {
                return Some(event);
            }
        }
    }

    /// Something that stops this watch from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.queue))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.poll_news(cx).map(|news| match news? {
            Ok(event) => Some(Update::Event(event)),
            Err(update) => Some(*update),
        })
    }

    /// An event or another update.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Box<Update>>>> {
        loop {
            if let Some((change, next)) = &mut self.open {
                if let Some(event) = change.events.get(*next)
                    && !self.queue.is_stopped()
                {
                    *next += 1;
                    return Poll::Ready(Some(Ok(event.clone())));
                }
                self.open = None;
            }
            match ready!(self.queue.poll_pop(cx, &mut self.reader)) {
                Some(News::Event(event)) => return Poll::Ready(Some(Ok(event))),
                Some(News::Change(change)) => self.open = Some((change, 0)),
                Some(News::Other(update)) => return Poll::Ready(Some(Err(update))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// One change of a service, with its states around it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) before: Services,
    pub(crate) after: Services,
    pub(crate) events: SmallVec<[Event; 1]>,
}

/// What waits for the reader: small, since most of it is events, and errors are large.
pub(crate) enum News {
    Event(Event),
    Change(Arc<Change>),
    Other(Box<Update>),
}

impl From<Change> for News {
    fn from(mut change: Change) -> Self {
        match change.events.pop() {
            Some(event) if change.events.is_empty() => Self::Event(event),
            last => {
                change.events.extend(last);
                Self::Change(Arc::new(change))
            }
        }
    }
}

impl Step<News> for &Arc<Change> {
    fn service(&self) -> (&Arc<str>, &Arc<str>) {
        (&self.namespace, &self.name)
    }

    fn states(&self) -> (&Services, &Services) {
        (&self.before, &self.after)
    }

    fn into_item(self) -> News {
        match &*self.events {
            [event] => News::Event(event.clone()),
            _ => News::Change(Arc::clone(self)),
        }
    }
}

impl From<Update> for News {
    fn from(update: Update) -> Self {
        Self::Other(Box::new(update))
    }
}

impl Stream for Watcher {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.poll(cx)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Stops a [`Watcher`]: its owner hears nothing more, and [`Watcher::next`] gives none.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Queue>);

impl Stopper {
    /// Stops the watch; again means nothing.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// Stale and then live, both unread, are no news; nor the other way round.
pub(crate) fn push_status(queue: &Queue, status: Update) {
    let live = matches!(status, Update::Live);
    queue.push_or_cancel(
        status.into(),
        |other| matches!(other, News::Other(other) if matches!(**other, Update::Live) != live),
    );
}

#[cfg(test)]
mod tests;
