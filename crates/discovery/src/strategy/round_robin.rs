use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Arrangement, Strategy};
use crate::Peer;

/// One node after the other.
///
/// Each thread has a cursor of its own, so that threads do not wait for each other: while the nodes
/// stay the same, the counts of any two nodes differ by at most the number of threads. More than 32
/// threads share 32 cursors.
#[derive(Clone, Debug)]
pub struct RoundRobin(Arc<[Cursor; CURSORS]>);

const CURSORS: usize = 32;

/// On a cache line of its own, with the one that is fetched along.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl RoundRobin {
    /// Cursors that start anywhere, so that many clients do not begin with the same node.
    #[must_use]
    pub fn new() -> Self {
        let cursor = |_| Cursor(AtomicUsize::new(fastrand::u32(..) as usize));
        Self(Arc::new(std::array::from_fn(cursor)))
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for RoundRobin {
    fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement> {
        Box::new(Turns {
            cursors: Arc::clone(&self.0),
            len: peers.len().max(1),
        })
    }
}

struct Turns {
    cursors: Arc<[Cursor; CURSORS]>,
    len: usize,
}

impl Arrangement for Turns {
    fn choose(&self, _key: Option<u64>) -> usize {
        let Cursor(cursor) = &self.cursors[thread() % CURSORS];
        cursor.fetch_add(1, Ordering::Relaxed) % self.len
    }
}

/// A number for this thread, counted up from the first that asks.
fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| match mine.get() {
        usize::MAX => {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            mine.set(next);
            next
        }
        known => known,
    })
}
