//! How long it takes to find a thousand nodes, and how many of them are found.

use std::time::Duration;

use tokio::time::sleep;

use super::{float, lookups::ready, number, rounds, sought, step, table::Table};
use crate::{Outcome, network::Host, peer::Kind, scenarios::pair};

/// How often others look, which take ten seconds when they do not find all.
const FEW: usize = 3;

const NAME: &str = "go.vine.many";

/// Enough to probe and announce a thousand nodes.
const PAUSE: Duration = Duration::from_secs(10);

/// Measures all programs, each between two processes of its own on two hosts.
pub(super) async fn measure() -> Outcome<Table> {
    let title = "Milliseconds to find a thousand nodes on another host, medians; receive buffers of 208 KiB";
    let mut table = Table::new(title);
    // The foreign ones have no use for more than the bare keys.
    for (kind, padding) in [
        (Kind::Vine, 0),
        (Kind::Vine, 400),
        (Kind::MdnsSd, 0),
        (Kind::Avahi, 0),
        (Kind::Zeroconf, 0),
    ] {
        let (a, b) = pair()?;
        let many = many(&mut table, kind, (&a, &b), padding);
        step(kind, "cold look-ups of 1,000 nodes", many).await?;
    }
    Ok(table)
}

async fn many(table: &mut Table, kind: Kind, (a, b): (&Host, &Host), padding: u16) -> Outcome {
    let mut holder = ready(a, kind).await?;
    let register = format!("register-many {NAME} v1 1000 10.77.0.1 {padding}");
    holder.tell(&register).await?;
    sleep(PAUSE).await;
    let rounds = match kind {
        Kind::Vine => rounds(kind),
        _ => FEW,
    };
    let (mut micros, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut asker = ready(b, kind).await?;
        if kind == Kind::Vine {
            asker.tell("buffers").await?;
        }
        let counted = asker
            .tell(&format!("count {} 1000", sought(kind, NAME)))
            .await?;
        micros.push(number(&counted, 1)?);
        counts.push(number(&counted, 2)?);
    }
    let row = format!("cold look-up, 1,000 nodes of {} bytes", 100 + padding);
    table.promise(&row, 60.0);
    table.add_median(&row, kind, micros);
    let whole = counts.iter().filter(|count| **count == 1000).count();
    let least = counts.iter().min().copied().unwrap_or_default();
    let remark = format!("all in {whole} of {rounds}");
    table.add(&format!("{row}: least found"), kind, float(least), remark);
    holder.terminate().await
}
