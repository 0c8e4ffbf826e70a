//! The connections to the nodes of a selector, as calls see them.

use std::{
    collections::HashMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::sync::{mpsc, watch};
use vine_registry::Node;

/// One connection, or why there is none.
pub(super) struct Link<S> {
    address: Arc<str>,
    pub(super) state: State<S>,
    is_broken: AtomicBool,
}

pub(super) enum State<S> {
    /// The first attempt is under way.
    Connecting,
    Connected(S),
    /// Attempts failed, and go on.
    Failing(Arc<dyn Error + Send + Sync>),
}

/// Those of all nodes, by id.
pub(super) type Table<S> = HashMap<Arc<str>, Arc<Link<S>>, RandomState>;

/// What the task writes and calls read.
pub(super) struct Links<S> {
    pub(super) table: ArcSwap<Table<S>>,
    /// Counts the tables.
    pub(super) published: watch::Sender<u64>,
    /// Tells the task of links that broke.
    broken: mpsc::UnboundedSender<(Arc<str>, Arc<Link<S>>)>,
}

pub(super) type Broken<S> = mpsc::UnboundedReceiver<(Arc<str>, Arc<Link<S>>)>;

impl<S> Link<S> {
    pub(super) fn new(address: &Arc<str>, state: State<S>) -> Arc<Self> {
        Arc::new(Self {
            address: Arc::clone(address),
            state,
            is_broken: AtomicBool::new(false),
        })
    }

    pub(super) fn is_up(&self, node: &Node) -> bool {
        matches!(self.state, State::Connected(_)) && !self.is_broken() && self.is_to(node)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    pub(super) fn is_to(&self, node: &Node) -> bool {
        self.address == node.address
    }
}

impl<S> Links<S> {
    pub(super) fn new() -> (Self, Broken<S>) {
        let (broken, receiver) = mpsc::unbounded_channel();
        let links = Self {
            table: ArcSwap::default(),
            published: watch::Sender::new(0),
            broken,
        };
        (links, receiver)
    }

    /// No call goes there any more, and another connection is made.
    pub(super) fn broke(&self, id: &Arc<str>, link: &Arc<Link<S>>) {
        if !link.is_broken.swap(true, Ordering::Relaxed) {
            // Without the task there is nobody left to call.
            let _ = self.broken.send((Arc::clone(id), Arc::clone(link)));
        }
    }
}
