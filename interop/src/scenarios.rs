//! What must work between hosts.

mod changes;
pub(crate) mod doctor;
mod foreign;
mod hosts;
mod links;
mod outages;
mod scale;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{Outcome, network::Host, process::Peer, punctuality::Moment};

/// How long a scenario may take, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(600);

const NAME: &str = "go.vine.interop";

/// What must work.
struct Scenario {
    name: &'static str,
    /// It mostly waits, so that others may go on beside it.
    waits: bool,
    work: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

fn scenario(name: &'static str, work: impl Future<Output = Outcome> + Send + 'static) -> Scenario {
    Scenario {
        name,
        waits: false,
        work: Box::pin(work),
    }
}

impl Scenario {
    fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Runs it and tells how it ended; gives whether it passed.
    async fn run(self) -> bool {
        let began = Instant::now();
        let outcome = match timeout(LIMIT, self.work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {LIMIT:?}")),
        };
        let (name, took) = (self.name, began.elapsed().as_millis());
        match &outcome {
            Ok(()) => println!("ok      {name} ({took} ms)"),
            Err(error) => println!("FAILED  {name} ({took} ms): {error}"),
        }
        outcome.is_ok()
    }
}

fn all() -> Vec<Scenario> {
    let mut all = hosts::all();
    all.extend(changes::all());
    all.extend(links::all());
    all.extend(outages::all());
    all.extend(scale::all());
    all.extend(foreign::all());
    all.extend(doctor::all());
    all
}

/// Runs those whose names contain one of `filters`, or all of them; says whether all passed.
pub(crate) async fn run(filters: &[&str]) -> Outcome<bool> {
    let mut chosen = all();
    chosen.retain(|scenario| {
        filters.is_empty() || filters.iter().any(|filter| scenario.name.contains(filter))
    });
    if chosen.is_empty() {
        return Err(format!("no scenario is called {}", filters.join(" or ")));
    }
    let count = chosen.len();
    let (waiting, alone): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| one.waits);
    let mut passed = 0;
    for scenario in alone {
        passed += usize::from(scenario.run().await);
    }
    let mut together: JoinSet<bool> = waiting.into_iter().map(Scenario::run).collect();
    while let Some(outcome) = together.join_next().await {
        passed += usize::from(outcome.unwrap_or(false));
    }
    println!("{passed} passed, {} failed", count - passed);
    Ok(passed == count)
}

/// Two hosts with a cable between them.
pub(crate) fn pair() -> Outcome<(Host, Host)> {
    let (a, b) = (Host::new()?, Host::new()?);
    a.cable(("eth0", "10.77.0.1/24"), &b, ("eth0", "10.77.0.2/24"))?;
    Ok((a, b))
}

/// Looks a service up in a fresh process, and expects just these nodes.
async fn finds(host: &Host, expected: &str) -> Outcome {
    loop {
        let asked = Moment::now();
        let mut peer = Peer::start(host).await?;
        let got = peer.tell(&format!("get {NAME} settled")).await?;
        if are_all(expected, nodes(&got), &asked).await? {
            return Ok(());
        }
    }
}

/// The nodes in the answer to `get`.
fn nodes(answer: &str) -> &str {
    answer.splitn(3, ' ').nth(2).unwrap_or_default()
}

/// Expects just these nodes; false if some are missing of a look-up that the machine has disturbed, which
/// is to be repeated.
async fn are_all(expected: &str, got: &str, asked: &Moment) -> Outcome<bool> {
    let is_part = got.split(' ').all(|node| expected.contains(node));
    match same(expected, got) {
        Err(_) if is_part && asked.was_late().await => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// Has a peer watch the service, and expects the watch to begin with just these nodes, sorted; those that
/// the machine made too late come as events.
async fn watches(peer: &mut Peer, expected: &[&str]) -> Outcome {
    let asked = Moment::now();
    let snapshot = peer.tell(&format!("watch {NAME}")).await?;
    let known: Vec<&str> = snapshot.split(' ').skip(1).collect();
    let missing: Vec<&str> = expected
        .iter()
        .copied()
        .filter(|id| !known.contains(id))
        .collect();
    if known.len() + missing.len() != expected.len()
        || !missing.is_empty() && !asked.was_late().await
    {
        same(&format!("snapshot {}", expected.join(" ")), &snapshot)?;
    }
    expect_all(peer, "create", &missing).await
}

fn same(expected: &str, got: &str) -> Outcome {
    if expected == got {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {got:?}"))
    }
}

/// Waits until an action has been told of just these nodes, sorted, in one event or in several.
async fn expect_all(watch: &mut Peer, action: &str, expected: &[&str]) -> Outcome {
    let mut ids = Vec::new();
    while ids.len() < expected.len() {
        let event = watch.expect("event").await?;
        let mut words = event.split(' ').skip(1);
        same(action, words.next().unwrap_or_default())?;
        ids.extend(words.map(str::to_owned));
    }
    ids.sort();
    same(&expected.join(" "), &ids.join(" "))
}

async fn expect_event(watch: &mut Peer, expected: &str) -> Outcome {
    let event = watch.expect("event").await?;
    let (_, event) = event.split_once(' ').unwrap_or_default();
    same(expected, event)
}
