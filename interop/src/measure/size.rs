//! What many nodes in one process take.

use std::time::Duration;

use tokio::time::sleep;

use super::{float, step, table::Table};
use crate::{Outcome, network::Host, peer::Kind, process::Peer, scenarios::pair};

/// Enough to probe and announce a thousand nodes.
const PAUSE: Duration = Duration::from_secs(12);

/// Two that listen, and one to ask from for each interface, loopback and the cable, and family.
const SOCKETS: f64 = 6.0;

/// Milliseconds of processor to announce.
const PROCESSOR: f64 = 300.0;

/// Measures all programs.
pub(super) async fn measure() -> Outcome<Table> {
    let title = format!("What a process takes that has registered many nodes, after {PAUSE:?}");
    let mut table = Table::new(title);
    for (count, megabytes) in [(200, 12.0), (1000, 25.0)] {
        for kind in Kind::ALL {
            // The other host makes the link one on which packets arrive.
            let (a, _b) = pair()?;
            let sized = sized(&mut table, kind, &a, (count, megabytes));
            step(kind, &format!("the size of {count} nodes"), sized).await?;
        }
    }
    Ok(table)
}

async fn sized(
    table: &mut Table,
    kind: Kind,
    host: &Host,
    (count, megabytes): (u16, f64),
) -> Outcome {
    let mut holder = Peer::start_as(host, kind).await?;
    let before = holder.size().await?;
    holder
        .tell(&format!("register-many go.vine.many v1 {count} 10.77.0.1"))
        .await?;
    sleep(PAUSE).await;
    let after = holder.size().await?;
    let sockets = u64::try_from(after.sockets).unwrap_or_default();
    let processor = after.processor.saturating_sub(before.processor);
    for (what, value, target) in [
        ("UDP sockets", float(sockets), SOCKETS),
        ("MB resident", float(after.resident) / 1e6, megabytes),
        (
            "ms of processor to announce",
            processor.as_secs_f64() * 1e3,
            PROCESSOR,
        ),
    ] {
        let row = format!("{count} nodes in one process: {what}");
        table.promise(&row, target);
        table.add(&row, kind, value, "");
    }
    holder.terminate().await
}
