//! How long it takes to find one node.

use std::time::Duration;

use tokio::time::sleep;

use super::{float, number, rounds, sought, step, table::Table};
use crate::{Outcome, network::Host, peer::Kind, process::Peer, scenarios::pair};

const NAME: &str = "go.vine.measured";

/// Enough to probe and announce a node.
const PAUSE: Duration = Duration::from_secs(3);

const WARM: &str = "look-up once browsed";

/// Measures all programs, each between two processes of its own on two hosts.
pub(super) async fn measure() -> Outcome<Table> {
    let mut table = Table::new("Milliseconds to find one node on another host, medians");
    table.promise(&row("first"), 1.0);
    table.promise(&row("settled"), 20.0);
    for kind in Kind::ALL {
        let (a, b) = pair()?;
        let cold = cold(&mut table, kind, (&a, &b));
        step(kind, "cold look-ups of 1 node", cold).await?;
        if kind == Kind::Vine {
            let warm = warm(&mut table, (&a, &b));
            step(kind, WARM, warm).await?;
        }
    }
    Ok(table)
}

fn row(wait: &str) -> String {
    format!("cold look-up, 1 node, {wait}")
}

async fn cold(table: &mut Table, kind: Kind, (a, b): (&Host, &Host)) -> Outcome {
    let mut holder = Peer::start_as(a, kind).await?;
    let register = format!("register {NAME} v1 one 10.77.0.1:80");
    holder.tell(&register).await?;
    sleep(PAUSE).await;
    let waits = match kind {
        Kind::Vine => &["first", "settled"][..],
        _ => &["first"],
    };
    for wait in waits {
        let mut micros = Vec::new();
        for _ in 0..rounds(kind) {
            let mut asker = ready(b, kind).await?;
            let got = asker
                .tell(&format!("get {} {wait}", sought(kind, NAME)))
                .await?;
            if !got.ends_with(" one@10.77.0.1:80") {
                return Err(format!("it was not found: {got:?}"));
            }
            micros.push(number(&got, 1)?);
        }
        table.add_median(&row(wait), kind, micros);
    }
    holder.terminate().await
}

/// A process whose sockets are open.
pub(super) async fn ready(host: &Host, kind: Kind) -> Outcome<Peer> {
    let mut peer = Peer::start_as(host, kind).await?;
    if kind == Kind::Vine {
        peer.tell("open").await?;
    }
    Ok(peer)
}

async fn warm(table: &mut Table, (a, b): (&Host, &Host)) -> Outcome {
    let (mut holder, mut asker) = (Peer::start(a).await?, Peer::start(b).await?);
    holder
        .tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    asker.tell(&format!("get {NAME} settled")).await?;
    let warmed = asker.tell(&format!("warm {NAME} 100000")).await?;
    let millis = float(number(&warmed, 1)?) / 1e6;
    table.promise(WARM, 0.001);
    table.add(WARM, Kind::Vine, millis, "mean of 100,000");
    holder.terminate().await
}
