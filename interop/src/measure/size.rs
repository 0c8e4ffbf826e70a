//! What many nodes in one process take.

use std::time::Duration;

use tokio::time::sleep;

use super::{float, table::Table};
use crate::{Outcome, peer::Kind, process::Peer, scenarios::pair};

/// Enough to probe and announce a thousand nodes.
const PAUSE: Duration = Duration::from_secs(15);

/// Measures all programs.
pub(super) async fn measure() -> Outcome {
    let mut table = Table::new();
    for kind in Kind::ALL {
        for count in [200, 1000] {
            // The other host makes the link one on which packets arrive.
            let (a, _b) = pair()?;
            let mut holder = Peer::start_as(&a, kind).await?;
            let before = holder.size().await?;
            holder
                .tell(&format!("register-many go.vine.many v1 {count} 10.77.0.1"))
                .await?;
            sleep(PAUSE).await;
            let after = holder.size().await?;
            let row = |what| format!("{count} nodes in one process: {what}");
            let sockets = u64::try_from(after.sockets).unwrap_or_default();
            let processor = after.processor.saturating_sub(before.processor);
            table.add(&row("UDP sockets"), kind, float(sockets), "");
            table.add(&row("MB resident"), kind, float(after.resident) / 1e6, "");
            table.add(
                &row("ms of processor to announce"),
                kind,
                processor.as_secs_f64() * 1e3,
                "",
            );
            holder.terminate().await?;
        }
    }
    println!("What a process takes that has registered many nodes, after {PAUSE:?}");
    table.print();
    Ok(())
}
