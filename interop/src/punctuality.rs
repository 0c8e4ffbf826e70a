//! How late the machine lets its processes run.
//!
//! Some of what the registry promises is about time: a look-up ends when nobody has answered for some
//! milliseconds, a node is gone when its time is over. On a machine that has more to do than it can,
//! processes get their turn later than that, and then neither a late answer nor a late event says
//! anything about the registry. So one thread on each processor looks how late it is woken, all the
//! time; what took too long, or missed somebody, is excused by that and by nothing else.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::Outcome;

/// How often each thread looks.
const PULSE: Duration = Duration::from_millis(2);

/// What an idle machine needs to wake somebody.
const USUAL: Duration = Duration::from_millis(1);

/// So late, and an answer may miss the end of the look-up, which is at least three times as long.
const LATE: Duration = Duration::from_millis(5);

/// The microseconds that each processor was late, in all.
static LATENESS: LazyLock<Vec<&'static AtomicU64>> = LazyLock::new(|| {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or_default();
    (0..CpuSet::count()).filter(is_allowed).map(look).collect()
});

/// Looks how late one processor is, from now on.
fn look(processor: usize) -> &'static AtomicU64 {
    let sum: &'static AtomicU64 = Box::leak(Box::default());
    thread::spawn(move || {
        let mut here = CpuSet::new();
        if here.set(processor).is_ok() {
            // A thread that is not bound looks at the processor that it happens to be on.
            let _ = sched_setaffinity(Pid::from_raw(0), &here);
        }
        loop {
            let before = Instant::now();
            thread::sleep(PULSE);
            let late = before.elapsed().saturating_sub(PULSE);
            if late > USUAL {
                let micros = u64::try_from(late.as_micros()).unwrap_or_default();
                sum.fetch_add(micros, Ordering::Relaxed);
            }
        }
    });
    sum
}

/// A moment from which on time is taken.
#[derive(Debug)]
pub(crate) struct Moment {
    at: Instant,
    lateness: Vec<u64>,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        let lateness = LATENESS.iter().map(|sum| sum.load(Ordering::Relaxed));
        Self {
            lateness: lateness.collect(),
            at: Instant::now(),
        }
    }

    /// How late the latest processor has been since, in all.
    async fn lateness(&self) -> Duration {
        // A thread that is late just now tells so when it gets its turn.
        sleep(2 * PULSE).await;
        let sums = LATENESS.iter().map(|sum| sum.load(Ordering::Relaxed));
        let since = sums.zip(&self.lateness).map(|(now, then)| now - then);
        Duration::from_micros(since.max().unwrap_or_default())
    }

    /// Whether the machine has been so late since that somebody's answer may have missed its time.
    pub(crate) async fn was_late(&self) -> bool {
        self.lateness().await >= LATE
    }

    /// Fails if it has taken longer since, apart from how late the machine was.
    pub(crate) async fn within(&self, limit: Duration, what: &str) -> Outcome {
        let took = self.at.elapsed();
        let lateness = self.lateness().await;
        if took <= limit + lateness {
            return Ok(());
        }
        Err(format!(
            "{what} only after {took:?}, not within {limit:?}; the machine was late by {lateness:?}"
        ))
    }
}
