//! How fast and how large it is between hosts, beside others on the same hosts in the same run.
//!
//! What is going on is told on standard error, the tables come on standard output. A figure of ours that
//! can't be had is an error; one of the others' is left out.

mod changes;
mod lookups;
mod size;
mod table;
mod thousand;
mod traffic;

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use crate::{Outcome, peer::Kind};

/// What can be measured.
pub(crate) const PARTS: &str = "look-ups | changes | thousand | size | traffic";

/// How long one step may take a foreign program.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures what is named, or everything but the traffic, which takes seven minutes, and prints it.
pub(crate) async fn run(names: &[&str]) -> Outcome {
    let parts: Vec<&str> = PARTS.split(" | ").collect();
    if let Some(unknown) = names.iter().find(|name| !parts.contains(name)) {
        return Err(format!("can't measure {unknown}; there is {PARTS}"));
    }
    let is_wanted = |name| names.is_empty() || names.contains(&name);
    if is_wanted("look-ups") {
        lookups::measure().await?.print();
    }
    if is_wanted("changes") {
        changes::measure().await?.print();
    }
    if is_wanted("thousand") {
        thousand::measure().await?.print();
    }
    if is_wanted("size") {
        size::measure().await?.print();
    }
    if names.contains(&"traffic") {
        traffic::measure().await?;
    }
    Ok(())
}

/// Does a step; if a foreign program fails in it, that is told and no more.
async fn step(kind: Kind, what: &str, work: impl Future<Output = Outcome>) -> Outcome {
    eprintln!("{}: {what} ...", kind.name());
    if kind == Kind::Vine {
        return work.await;
    }
    let outcome = timeout(LIMIT, work).await;
    if let Err(error) = outcome.unwrap_or_else(|_| Err(format!("not done within {LIMIT:?}"))) {
        eprintln!("{}: {what}: {error}", kind.name());
    }
    Ok(())
}

/// How often each is measured: others take longer.
fn rounds(kind: Kind) -> usize {
    match kind {
        Kind::Vine => 30,
        _ => 10,
    }
}

/// What a program is to look for: mdns-sd does not find by subtype what another mdns-sd has, so it
/// browses the type.
fn sought(kind: Kind, name: &str) -> &str {
    match kind {
        Kind::MdnsSd => "*",
        _ => name,
    }
}

/// A number in a peer's answer.
fn number(line: &str, at: usize) -> Outcome<u64> {
    let word = line.split(' ').nth(at).and_then(|word| word.parse().ok());
    word.ok_or_else(|| format!("no number in {line:?}"))
}

#[allow(clippy::cast_precision_loss, reason = "these are figures for people")]
fn float(number: u64) -> f64 {
    number as f64
}
