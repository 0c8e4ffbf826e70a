use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Arrangement, Call, Strategy};
use crate::Peers;

/// One node after the other.
///
/// Each thread has a cursor of its own, so that threads do not wait for each other: while the nodes
/// stay the same, the counts of any two nodes differ by at most the number of threads. From the 33rd
/// thread of a process on, threads share 32 more cursors.
#[derive(Clone, Debug)]
pub struct RoundRobin(Arc<[Cursor; OWN + SHARED]>);

const OWN: usize = 32;
const SHARED: usize = 32;

/// On a cache line of its own, with the one that is fetched along.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl RoundRobin {
    /// Cursors that start anywhere, so that many clients do not begin with the same node.
    #[must_use]
    pub fn new() -> Self {
        let cursor = |_| Cursor(AtomicUsize::new(fastrand::u16(..).into()));
        Self(Arc::new(std::array::from_fn(cursor)))
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for RoundRobin {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(Turns {
            cursors: Arc::clone(&self.0),
            len: Divisor::new(peers.len()),
        })
    }
}

struct Turns {
    cursors: Arc<[Cursor; OWN + SHARED]>,
    len: Divisor,
}

impl Arrangement for Turns {
    fn choose(&self, _call: &Call) -> usize {
        self.len.remainder(next(&self.cursors, thread()))
    }
}

fn next(cursors: &[Cursor; OWN + SHARED], thread: usize) -> usize {
    if thread < OWN {
        // Nobody else writes it, so that two cheap steps will do for one.
        let Cursor(cursor) = &cursors[thread];
        let next = cursor.load(Ordering::Relaxed);
        cursor.store(next.wrapping_add(1), Ordering::Relaxed);
        next
    } else {
        let Cursor(cursor) = &cursors[OWN + thread % SHARED];
        cursor.fetch_add(1, Ordering::Relaxed)
    }
}

/// What is divided by again and again: two multiplications take a third of the time of a division.
/// Source: D. Lemire, O. Kaser and N. Kurz, Faster Remainder by Direct Computation, 2019.
#[derive(Clone, Copy)]
struct Divisor {
    by: usize,
    /// 2^64 / by, rounded up.
    inverse: u64,
}

impl Divisor {
    fn new(by: usize) -> Self {
        let by = by.max(1);
        Self {
            by,
            inverse: (u64::MAX / by as u64).wrapping_add(1),
        }
    }

    fn remainder(self, number: usize) -> usize {
        match (u32::try_from(number), u32::try_from(self.by)) {
            (Ok(number), Ok(by)) => {
                let fraction = self.inverse.wrapping_mul(number.into());
                ((u128::from(fraction) * u128::from(by)) >> 64) as usize
            }
            _ => number % self.by,
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn remainders_are_right(number in any::<usize>(), small in any::<u32>(), by in 1..100_000_usize) {
            for number in [number, small as usize] {
                for by in [by, number % by + 1, u32::MAX as usize] {
                    prop_assert_eq!(Divisor::new(by).remainder(number), number % by);
                }
            }
        }
    }
}
