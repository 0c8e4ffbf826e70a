//! The connections to the nodes of a selector, as calls see them.

use std::{
    collections::HashMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use vine_registry::Node;

/// The longest pause between attempts to connect.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One connection, or why there is none.
pub(super) struct Link<S> {
    address: Arc<str>,
    pub(super) state: State<S>,
    made: Instant,
    /// None before it was of no use.
    is_first: bool,
    has_answered: AtomicBool,
    is_broken: AtomicBool,
}

pub(super) enum State<S> {
    /// An attempt is under way, and none failed before.
    Connecting,
    Connected(S),
    /// Attempts failed, or the connection was of no use. They go on, with pauses.
    Failing(Fault),
}

/// Why there is no connection.
pub(super) type Fault = Arc<dyn Error + Send + Sync>;

/// Those of all nodes, by id.
pub(super) type Table<S> = HashMap<Arc<str>, Arc<Link<S>>, RandomState>;

/// What the task writes and calls read.
pub(super) struct Links<S> {
    pub(super) table: ArcSwap<Table<S>>,
    /// Counts the tables.
    pub(super) published: watch::Sender<u64>,
    /// Tells the task of links that broke.
    broken: mpsc::UnboundedSender<Broken<S>>,
}

/// A link that broke.
pub(super) struct Broken<S> {
    pub(super) id: Arc<str>,
    pub(super) link: Arc<Link<S>>,
    pub(super) fault: Fault,
}

impl<S> Link<S> {
    pub(super) fn new(address: &Arc<str>, state: State<S>, failures: u32) -> Arc<Self> {
        Arc::new(Self {
            address: Arc::clone(address),
            state,
            made: Instant::now(),
            is_first: failures == 0,
            has_answered: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
        })
    }

    pub(super) fn is_up(&self, node: &Node) -> bool {
        matches!(self.state, State::Connected(_))
            && !self.is_broken.load(Ordering::Relaxed)
            && self.is_to(node)
    }

    /// It carried an answer.
    pub(super) fn answered(&self) {
        // Most find it written, and need not write to memory that all calls read.
        if !self.has_answered.load(Ordering::Relaxed) {
            self.has_answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was of use, or may have been.
    pub(super) fn was_of_use(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed) || self.made.elapsed() >= LONGEST_PAUSE
    }

    /// Whether it is replaced at once when it breaks, and at no cost: any connection ends at some time.
    /// With others that would go on without end, where a node takes connections and drops them.
    pub(super) fn may_break(&self) -> bool {
        self.is_first || self.was_of_use()
    }

    pub(super) fn is_to(&self, node: &Node) -> bool {
        self.address == node.address
    }
}

impl<S> Links<S> {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Broken<S>>) {
        let (broken, receiver) = mpsc::unbounded_channel();
        let links = Self {
            table: ArcSwap::default(),
            published: watch::Sender::new(0),
            broken,
        };
        (links, receiver)
    }

    /// No call goes there any more, and another connection is made. Says whether that is news.
    pub(super) fn broke(&self, id: &Arc<str>, link: &Arc<Link<S>>, fault: &Fault) -> bool {
        let is_news = !link.is_broken.swap(true, Ordering::Relaxed);
        if is_news {
            // Without the task there is nobody left to call.
            let _ = self.broken.send(Broken {
                id: Arc::clone(id),
                link: Arc::clone(link),
                fault: Arc::clone(fault),
            });
        }
        is_news
    }
}
