//! Calls at a steady rate, and what became of them.

use std::{
    collections::BTreeMap,
    error::Error,
    iter::successors,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use vine_discovery::clients::BoxError;

use crate::client::{Clients, KINDS};

/// Calls a second, through all clients together.
const RATE: u32 = 2_000;

/// How many may be under way: when it is more, the machine can't keep the rate, and calls wait.
const UNDER_WAY: usize = 256;

/// Calls are started so often, several together.
const TICK: Duration = Duration::from_millis(2);

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    errors: usize,
    /// The first errors.
    said: Vec<String>,
    /// How many each node answered.
    pub(crate) nodes: BTreeMap<String, usize>,
    took: Vec<Duration>,
    time: Duration,
}

/// Calls under way.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    pub(crate) fn start(clients: &Clients) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let task = tokio::spawn(drive(clients.clone(), Arc::clone(&tally), stopped));
        Self { stop, task, tally }
    }

    /// How many calls ended so far.
    pub(crate) fn calls(&self) -> usize {
        self.tally.lock().unwrap().calls
    }

    /// Waits until so many calls ended.
    pub(crate) async fn reach(&self, calls: usize) {
        while self.calls() < calls {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many more calls ended.
    pub(crate) async fn more(&self, calls: usize) {
        self.reach(self.calls() + calls).await;
    }

    pub(crate) async fn stop(self) -> Tally {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

/// Starts calls by the clock.
async fn drive(clients: Clients, tally: Arc<Mutex<Tally>>, stopped: watch::Receiver<bool>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let each = (f64::from(RATE) * TICK.as_secs_f64()) as usize;
    let mut calls = JoinSet::new();
    let mut kind = 0;
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let begun = Instant::now();
    while !*stopped.borrow() {
        ticks.tick().await;
        for _ in 0..each {
            kind = (kind + 1) % KINDS.len();
            let room = Arc::clone(&room).acquire_owned().await.unwrap();
            let (clients, tally) = (clients.clone(), Arc::clone(&tally));
            calls.spawn(async move {
                let start = Instant::now();
                let result = clients.call(kind).await;
                tally.lock().unwrap().count(kind, result, start.elapsed());
                drop(room);
            });
        }
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    tally.lock().unwrap().time = begun.elapsed();
}

impl Tally {
    fn count(&mut self, kind: usize, result: Result<String, BoxError>, took: Duration) {
        self.calls += 1;
        self.took.push(took);
        match result {
            Ok(node) => *self.nodes.entry(node).or_default() += 1,
            Err(error) => {
                self.errors += 1;
                if self.said.len() < 5 {
                    let causes = successors(Some(&*error as &dyn Error), |&error| error.source());
                    let causes = Vec::from_iter(causes.map(ToString::to_string)).join(": ");
                    self.said.push(format!("{}: {causes}", KINDS[kind]));
                }
            }
        }
    }

    /// The share that a node answered, in percent.
    pub(crate) fn share(&self, node: &str) -> f64 {
        let answered = self.nodes.get(node).copied().unwrap_or(0);
        answered as f64 / self.calls as f64 * 100.0
    }

    /// Prints it; a call that failed is the end of the scenario.
    pub(crate) fn check(&mut self) {
        let (p50, p99) = percentiles(&mut self.took);
        let rate = self.calls as f64 / self.time.as_secs_f64();
        println!(
            "        {} calls at {rate:.0} a second, {} failed, {} nodes answered; p50 {p50:.1?}, p99 {p99:.1?}",
            self.calls,
            self.errors,
            self.nodes.len()
        );
        for error in &self.said {
            println!("        {error}");
        }
        assert_eq!(self.errors, 0, "calls failed");
    }
}

/// The median, and what one in a hundred exceeds.
pub(crate) fn percentiles(took: &mut [Duration]) -> (Duration, Duration) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    (at(50), at(99))
}
