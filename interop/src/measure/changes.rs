//! How long it takes until another process sees that a node came or went.

use std::time::Duration;

use tokio::time::sleep;

use super::{lookups::ready, number, rounds, sought, step, table::Table};
use crate::{Outcome, network::Host, peer::Kind, process::Peer, scenarios::pair};

const NAME: &str = "go.vine.measured";

const CAME: &str = "register until another process's watch has it";
const WENT: &str = "deregister until another process's watch has it";

/// Between two changes, so that each is one by itself.
const PAUSE: Duration = Duration::from_millis(100);

/// Until the last node has been announced as often as it is.
const QUIET: Duration = Duration::from_secs(3);

/// Measures all programs, each between two processes of its own on two hosts.
pub(super) async fn measure() -> Outcome<Table> {
    let mut table = Table::new("Milliseconds until another host sees a change, medians");
    table.promise(CAME, 2.0);
    table.promise(WENT, 5.0);
    for kind in Kind::ALL {
        let (a, b) = pair()?;
        let seen = seen(&mut table, kind, (&a, &b));
        step(kind, "changes of a watched service", seen).await?;
    }
    Ok(table)
}

async fn seen(table: &mut Table, kind: Kind, (a, b): (&Host, &Host)) -> Outcome {
    let (mut holder, mut watch) = (ready(a, kind).await?, ready(b, kind).await?);
    watch.tell(&format!("watch {}", sought(kind, NAME))).await?;
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for round in 0..rounds(kind) {
        sleep(PAUSE).await;
        let register = format!("register {NAME} v1 n{round} 10.77.0.1:80");
        let asked = holder.tell(&register).await?;
        let expected = format!("create n{round}");
        came.push(delay(&mut watch, kind, &asked, &expected).await?);
    }
    table.add_median(CAME, kind, came);
    sleep(QUIET).await;
    for round in 0..rounds(kind) {
        sleep(PAUSE).await;
        let deregister = format!("deregister {NAME} v1 n{round}");
        let asked = holder.tell(&deregister).await?;
        let expected = format!("delete n{round}");
        went.push(delay(&mut watch, kind, &asked, &expected).await?);
    }
    table.add_median(WENT, kind, went);
    holder.terminate().await
}

/// Microseconds from a call to the event of it. Others may tell of something else before.
async fn delay(watch: &mut Peer, kind: Kind, asked: &str, expected: &str) -> Outcome<u64> {
    loop {
        let event = watch.expect("event").await?;
        if event.ends_with(&format!(" {expected}")) {
            return Ok(number(&event, 0)?.saturating_sub(number(asked, 1)?));
        }
        if kind == Kind::Vine {
            return Err(format!("expected {expected}, it saw {event:?}"));
        }
    }
}
