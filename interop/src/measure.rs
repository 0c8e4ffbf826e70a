//! How fast and how large it is between hosts, beside others on the same hosts in the same run.

mod lookups;
mod size;
mod table;
mod traffic;

use crate::Outcome;

/// Measures what is named, or everything, and prints it.
pub(crate) async fn run(names: &[&str]) -> Outcome {
    let is_wanted = |name| names.is_empty() || names.contains(&name);
    if is_wanted("look-ups") {
        lookups::measure().await?;
    }
    if is_wanted("size") {
        size::measure().await?;
    }
    if is_wanted("traffic") {
        traffic::measure().await?;
    }
    Ok(())
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
