//! What is on the wire when nothing happens.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::float;
use crate::{Outcome, network::Host, process::Peer};

const NAME: &str = "go.vine.steady";

const BROWSERS: usize = 10;

/// Until everything has been announced and looked up, and the questions have become rare.
const PAUSE: Duration = Duration::from_secs(120);

/// More than two times the ttl of a record.
const WINDOW: Duration = Duration::from_secs(300);

/// Measures links with a few and with many nodes, at the same time.
pub(super) async fn measure() -> Outcome {
    println!(
        "Steady traffic on a link with {BROWSERS} browsing processes, after {PAUSE:?}, for {WINDOW:?}"
    );
    let (one, some, many) = tokio::join!(steady(1), steady(100), steady(1000));
    for (nodes, outcome) in [(1, one), (100, some), (1000, many)] {
        let (packets, bytes) = outcome?;
        println!("{nodes} nodes: {packets:.2} packets a second, {bytes:.0} bytes a second");
    }
    Ok(())
}

async fn steady(nodes: usize) -> Outcome<(f64, f64)> {
    let hosts: Vec<Host> = (0..=BROWSERS)
        .map(|_| Host::new())
        .collect::<Outcome<_>>()?;
    let addresses: Vec<String> = (1..=hosts.len())
        .map(|number| format!("10.77.0.{number}/24"))
        .collect();
    let ends: Vec<_> = hosts
        .iter()
        .zip(addresses.iter().map(String::as_str))
        .collect();
    let switch = Host::switch(&ends)?;
    switch.count_mdns()?;
    let mut peers = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let mut peer = Peer::start(host).await?;
        if number == 0 {
            peer.tell(&format!("register-many {NAME} v1 {nodes} 10.77.0.1"))
                .await?;
        } else {
            peer.tell(&format!("watch {NAME}")).await?;
        }
        peers.push(peer);
    }
    sleep(PAUSE).await;
    let (began, before) = (Instant::now(), switch.mdns_counted()?);
    sleep(WINDOW).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), switch.mdns_counted()?);
    let rate = |before: u64, after: u64| float(after.saturating_sub(before)) / seconds;
    Ok((rate(before.0, after.0), rate(before.1, after.1)))
}
