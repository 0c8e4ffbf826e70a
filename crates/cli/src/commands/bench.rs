use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use vine::Registry;

use crate::{
    args::Bench,
    caller::{Answer, Caller},
    failure::Failure,
    interrupt::Interrupt,
    output::{Measured, Output, calls, measured},
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
    let asked = what.calls.get();
    let progress = Arc::new(Progress::new(asked));
    let (end, ended) = watch::channel(false);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..what.concurrency.get().min(asked) {
        callers.spawn(run(
            Arc::clone(&caller),
            Arc::clone(&progress),
            ended.clone(),
        ));
    }
    let mut results = Results::default();
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let shows = std::io::stderr().is_terminal();
    loop {
        tokio::select! {
            done = callers.join_next() => match done {
                Some(Ok(more)) => results.merge(more),
                Some(Err(error)) => return Err(Failure::Failed(error.to_string())),
                None => break,
            },
            _ = ticks.tick(), if shows => progress.show(start.elapsed()),
            // Those under way come to their end, unless that is already all that is waited for.
            () = interrupt.wait() => if !progress.stop() {
                end.send_replace(true);
            },
        }
    }
    let took = start.elapsed();
    if shows {
        progress.clear();
    }
    let (failed, made) = (results.failed, results.failed + results.latencies.len());
    if made < asked {
        output.note(&format!("interrupted after {made} of {}", calls(asked)));
    }
    let measured_calls = Measured::new(results.latencies, results.nodes, failed, took);
    if output.is_json() {
        output.json(&measured_calls).await?;
    } else {
        let text = measured(&measured_calls, output.paint());
        output.print(&text).await?;
    }
    match results.first_failure {
        Some((_, reason)) if failed == 1 => {
            Err(Failure::Failed(format!("1 call failed: {reason}")))
        }
        Some((_, reason)) => Err(Failure::Failed(format!(
            "{failed} calls failed, the first one: {reason}"
        ))),
        None => Ok(()),
    }
}

/// Calls until all calls are begun and this one's are done, or until it is told to end.
async fn run(
    caller: Arc<Caller>,
    progress: Arc<Progress>,
    mut ended: watch::Receiver<bool>,
) -> Results {
    let mut results = Results::default();
    let work = async {
        while progress.begin() {
            let answer = caller.call_to_the_end(|_| Ok(())).await;
            results.add(answer);
            progress.done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let is_done = tokio::select! {
        biased;
        () = work => true,
        _ = ended.wait_for(|is_ended| *is_ended) => false,
    };
    if !is_done {
        results.fail("interrupted before it was answered".to_owned());
    }
    results
}

/// What calls have shown. Each caller has its own, so that none waits for another one.
#[derive(Default)]
struct Results {
    latencies: Vec<Duration>,
    /// Answers of each node.
    nodes: BTreeMap<Arc<str>, usize>,
    failed: usize,
    /// When the first one failed, and why.
    first_failure: Option<(Instant, String)>,
}

impl Results {
    fn add(&mut self, answer: Result<Answer, String>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return self.fail(reason),
        };
        let id = &answer.node.id;
        match self.nodes.get_mut(id) {
            Some(count) => *count += 1,
            None => {
                self.nodes.insert(Arc::clone(id), 1);
            }
        }
        if answer.status.is_client_error() || answer.status.is_server_error() {
            self.fail(format!("{id} answers {}", answer.status));
        } else {
            self.latencies.push(answer.took);
        }
    }

    fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.first_failure
            .get_or_insert_with(|| (Instant::now(), reason));
    }

    fn merge(&mut self, more: Self) {
        self.latencies.extend(more.latencies);
        for (id, count) in more.nodes {
            *self.nodes.entry(id).or_default() += count;
        }
        self.failed += more.failed;
        let failures = [self.first_failure.take(), more.first_failure];
        self.first_failure = failures.into_iter().flatten().min();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_callers_the_first_failure_is_told() {
        let mut early = Results::default();
        early.fail("early".to_owned());
        let mut late = Results::default();
        late.fail("late".to_owned());
        late.fail("later".to_owned());
        let mut all = Results::default();
        for mut results in [late, early, Results::default()] {
            results.latencies.push(Duration::from_millis(1));
            results.nodes.insert("a".into(), 2);
            all.merge(results);
        }
        assert_eq!(all.first_failure.unwrap().1, "early");
        assert_eq!((all.failed, all.latencies.len()), (3, 3));
        assert_eq!(all.nodes, BTreeMap::from([("a".into(), 6)]));
    }
}
