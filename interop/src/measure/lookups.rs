//! How long it takes to find, to see and to see go.

use std::time::Duration;

use tokio::time::sleep;

use super::{number, table::Table};
use crate::{Outcome, network::Host, peer::Kind, process::Peer, scenarios::pair};

const ROUNDS: usize = 30;

/// Others take their time when they do not find all.
const FEW_ROUNDS: usize = 5;

const NAME: &str = "go.vine.measured";
const MANY: &str = "go.vine.many";

/// Enough to probe and announce a thousand nodes.
const PAUSE: Duration = Duration::from_secs(10);

/// Measures all programs, each between two processes of its own on two hosts.
pub(super) async fn measure() -> Outcome {
    let mut table = Table::new();
    for kind in Kind::ALL {
        let (a, b) = pair()?;
        cold(&mut table, kind, (&a, &b)).await?;
        seen(&mut table, kind, (&a, &b)).await?;
        if kind == Kind::Vine {
            warm(&mut table, (&a, &b)).await?;
            many(&mut table, kind, (&a, &b), 400).await?;
        }
        many(&mut table, kind, (&a, &b), 0).await?;
    }
    println!(
        "Milliseconds, medians of {ROUNDS} between two hosts; 1,000 nodes: of {FEW_ROUNDS} for others"
    );
    table.print();
    Ok(())
}

async fn cold(table: &mut Table, kind: Kind, (a, b): (&Host, &Host)) -> Outcome {
    let mut holder = Peer::start_as(a, kind).await?;
    let register = format!("register {NAME} v1 one 10.77.0.1:80");
    holder.tell(&register).await?;
    sleep(PAUSE / 4).await;
    let waits = match kind {
        Kind::Vine => &["first", "settled"][..],
        _ => &["first"],
    };
    for wait in waits {
        let mut micros = Vec::new();
        for _ in 0..ROUNDS {
            let mut asker = ready(b, kind).await?;
            let got = asker.tell(&format!("get {NAME} {wait}")).await?;
            micros.push(number(&got, 1)?);
        }
        table.add_median(&format!("cold look-up, 1 node, {wait}"), kind, micros);
    }
    holder.terminate().await
}

/// A process whose sockets are open.
async fn ready(host: &Host, kind: Kind) -> Outcome<Peer> {
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
    let millis = super::float(number(&warmed, 1)?) / 1e6;
    table.add(
        "look-up once browsed",
        Kind::Vine,
        millis,
        "mean of 100,000",
    );
    holder.terminate().await
}

async fn seen(table: &mut Table, kind: Kind, (a, b): (&Host, &Host)) -> Outcome {
    let (mut holder, mut watch) = (ready(a, kind).await?, ready(b, kind).await?);
    watch.tell(&format!("watch {NAME}")).await?;
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let asked = holder
            .tell(&format!("register {NAME} v1 n{round} 10.77.0.1:80"))
            .await?;
        came.push(delay(&asked, &watch.expect("event").await?)?);
        sleep(PAUSE / 8).await;
        let asked = holder
            .tell(&format!("deregister {NAME} v1 n{round}"))
            .await?;
        went.push(delay(&asked, &watch.expect("event").await?)?);
    }
    table.add_median("register until another process's watch has it", kind, came);
    table.add_median(
        "deregister until another process's watch has it",
        kind,
        went,
    );
    holder.terminate().await
}

fn delay(asked: &str, event: &str) -> Outcome<u64> {
    Ok(number(event, 0)?.saturating_sub(number(asked, 1)?))
}

async fn many(table: &mut Table, kind: Kind, (a, b): (&Host, &Host), padding: u16) -> Outcome {
    let mut holder = ready(a, kind).await?;
    holder
        .tell(&format!("register-many {MANY} v1 1000 10.77.0.1 {padding}"))
        .await?;
    sleep(PAUSE).await;
    let (mut micros, mut counts) = (Vec::new(), Vec::new());
    let rounds = match kind {
        Kind::Vine => ROUNDS,
        _ => FEW_ROUNDS,
    };
    for _ in 0..rounds {
        let mut asker = ready(b, kind).await?;
        let counted = asker.tell(&format!("count {MANY} 1000")).await?;
        micros.push(number(&counted, 1)?);
        counts.push(number(&counted, 2)?);
    }
    let row = format!("cold look-up, 1,000 nodes of {} bytes", 100 + padding);
    table.add_median(&row, kind, micros);
    let whole = counts.iter().filter(|count| **count == 1000).count();
    let least = counts.iter().min().copied().unwrap_or_default();
    let remark = format!("all in {whole} of {rounds}");
    table.add(
        &format!("{row}: least found"),
        kind,
        super::float(least),
        remark,
    );
    holder.terminate().await
}
