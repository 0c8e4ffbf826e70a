use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, watch};

use crate::Known;

/// One name that the cache follows: its task writes, anybody reads without a lock.
pub(crate) struct Entry {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    known: ArcSwap<Known>,
    /// Counts what was published. Its receivers are those who subscribe or wait.
    published: watch::Sender<u64>,
    /// Who may still learn that it was looked up: bits.
    used: AtomicU8,
    /// Somebody wants an answer now, whatever pause was planned.
    wanted: Notify,
    /// The name was let go.
    dismissed: Notify,
    /// Suspects that refused a connection and that the task has not heard of.
    refused: Mutex<Vec<Arc<str>>>,
    refusal: Notify,
}

impl Entry {
    /// Who asks whether it is in use: whoever lets go what nobody uses,
    pub(super) const IDLE: u8 = 1;
    /// and whoever needs room.
    pub(super) const EVICTION: u8 = 2;
    const EVERYBODY: u8 = Self::IDLE | Self::EVICTION;

    pub(super) fn new(namespace: Arc<str>, name: Arc<str>) -> Self {
        Self {
            namespace,
            name,
            known: ArcSwap::from_pointee(Known::unknown()),
            published: watch::Sender::new(0),
            used: AtomicU8::new(Self::EVERYBODY),
            wanted: Notify::new(),
            dismissed: Notify::new(),
            refused: Mutex::default(),
            refusal: Notify::new(),
        }
    }

    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        *self.name == *name && *self.namespace == *namespace
    }

    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    pub(super) fn publish(&self, known: Arc<Known>) {
        self.known.store(known);
        self.published.send_modify(|count| *count += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Has the registry asked at once.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(super) fn dismiss(&self) {
        self.dismissed.notify_one();
    }

    pub(super) async fn dismissed(&self) {
        self.dismissed.notified().await;
    }

    /// Says that a node refused a connection, in case it is a suspect.
    pub(crate) fn refuse(&self, id: &str) {
        let known = self.known();
        let suspects = &mut known.suspects.iter();
        let Some(node) = suspects.find_map(|service| service.nodes.get(id)) else {
            return;
        };
        let mut refused = self.lock();
        if !refused.contains(&node.id) {
            refused.push(Arc::clone(&node.id));
        }
        drop(refused);
        self.refusal.notify_one();
    }

    /// Waits until suspects refused connections. Cancel safe.
    pub(super) async fn refused(&self) -> Vec<Arc<str>> {
        self.refusal.notified().await;
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that somebody looked. Reads first: to write what is there already would take the
    /// line from the other cores.
    pub(super) fn touch(&self) {
        if self.used.load(Ordering::Relaxed) != Self::EVERYBODY {
            self.used.store(Self::EVERYBODY, Ordering::Relaxed);
        }
    }

    /// Whether it was looked up since the same asked the last time.
    pub(super) fn was_used_since(&self, asked: u8) -> bool {
        self.used.fetch_and(!asked, Ordering::Relaxed) & asked != 0
    }

    /// Whether anybody subscribes or waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.published.receiver_count() > 0
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("known", &self.known())
            .finish_non_exhaustive()
    }
}
