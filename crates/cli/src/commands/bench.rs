use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use vine::Registry;

use crate::{
    args::Bench,
    caller::Caller,
    failure::Failure,
    interrupt::Interrupt,
    output::{Measured, Output, measured},
};

/// Calls a service many times and prints how long that took and which nodes answered.
pub(crate) async fn bench(
    what: &Bench,
    registry: &Arc<dyn Registry>,
    output: &mut Output,
) -> Result<(), Failure> {
    let caller = Arc::new(Caller::new(&what.target, what.timeout, registry).await?);
    caller.ready().await?;
    let mut interrupt = Interrupt::listen()?;
    let calls = what.calls.get();
    let progress = Arc::new(Progress::new(calls));
    let start = Instant::now();
    let mut callers = JoinSet::new();
    let results = Arc::new(Mutex::new(Results::default()));
    for _ in 0..what.concurrency.get().min(calls) {
        callers.spawn(run(
            Arc::clone(&caller),
            Arc::clone(&progress),
            Arc::clone(&results),
        ));
    }
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let shows = std::io::stderr().is_terminal();
    loop {
        tokio::select! {
            done = callers.join_next() => match done {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(Failure::Failed(error.to_string())),
                None => break,
            },
            _ = ticks.tick(), if shows => progress.show(start.elapsed()),
            // Those under way come to their end, unless that is already all that is waited for.
            () = interrupt.wait() => if !progress.stop() {
                callers.shutdown().await;
                lock(&results).give_up(progress.under_way());
            },
        }
    }
    let took = start.elapsed();
    if shows {
        progress.clear();
    }
    let results = std::mem::take(&mut *lock(&results));
    let (failed, reason) = (results.failed, results.reason);
    let measured_calls = Measured::new(results.latencies, results.nodes, failed, took);
    if output.is_json() {
        output.json(&measured_calls).await?;
    } else {
        let text = measured(&measured_calls, output.paint());
        output.print(&text).await?;
    }
    match reason {
        Some(reason) => Err(Failure::Failed(format!(
            "{failed} calls failed, the first one: {reason}"
        ))),
        None => Ok(()),
    }
}

/// Calls until all calls are begun.
async fn run(caller: Arc<Caller>, progress: Arc<Progress>, results: Arc<Mutex<Results>>) {
    while progress.begin() {
        let start = Instant::now();
        let answer = caller.call_to_the_end(|_| Ok(())).await;
        progress.done.fetch_add(1, Ordering::Relaxed);
        let mut results = lock(&results);
        match answer {
            Ok(answer) => {
                let id = answer.node.id.to_string();
                *results.nodes.entry(id).or_default() += 1;
                if answer.status.is_client_error() || answer.status.is_server_error() {
                    results.fail(format!("{} answers {}", answer.node.id, answer.status));
                } else {
                    results.latencies.push(start.elapsed());
                }
            }
            Err(reason) => results.fail(reason),
        }
    }
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the calls have shown.
#[derive(Default)]
struct Results {
    latencies: Vec<Duration>,
    /// Answers of each node.
    nodes: BTreeMap<String, usize>,
    failed: usize,
    /// Why the first one failed.
    reason: Option<String>,
}

impl Results {
    fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.reason.get_or_insert(reason);
    }

    fn give_up(&mut self, calls: usize) {
        if calls > 0 {
            self.fail("interrupted before it was answered".to_owned());
            self.failed += calls - 1;
        }
    }
}

/// How many calls are begun and done.
struct Progress {
    calls: usize,
    stopped: AtomicBool,
    /// Of which each caller's last one is not made.
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl Progress {
    fn new(calls: usize) -> Self {
        Self {
            calls,
            stopped: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    /// Whether one more is to be made.
    fn begin(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.calls
    }

    /// Begins no more; whether there was one left to begin.
    fn stop(&self) -> bool {
        let was_stopped = self.stopped.swap(true, Ordering::Relaxed);
        !was_stopped && self.begun.load(Ordering::Relaxed) < self.calls
    }

    /// How many are begun and not done.
    fn under_way(&self) -> usize {
        let begun = self.begun.load(Ordering::Relaxed).min(self.calls);
        begun.saturating_sub(self.done.load(Ordering::Relaxed))
    }

    /// A bar on standard error, in the place of the last one.
    fn show(&self, elapsed: Duration) {
        const WIDTH: usize = 30;
        let done = self.done.load(Ordering::Relaxed);
        let full = done * WIDTH / self.calls;
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full));
        draw(&format!(
            "\r[{bar}] {done}/{} calls, {rate:.0}/s",
            self.calls
        ));
    }

    fn clear(&self) {
        draw("\r\u{1b}[K");
    }
}

fn draw(text: &str) {
    let mut stderr = std::io::stderr();
    // Without a standard error there is nobody to show it to.
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}
