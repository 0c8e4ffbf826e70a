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

/// Who holds how much on a link.
#[derive(Clone, Copy, Debug)]
struct Holders {
    processes: usize,
    nodes: usize,
}

/// Measures links with a few and with many nodes, at the same time.
pub(super) async fn measure() -> Outcome {
    println!(
        "\nSteady traffic on a link with {BROWSERS} browsing processes, after {PAUSE:?}, for {WINDOW:?}\n"
    );
    let link = |processes, nodes| steady(Holders { processes, nodes });
    // Tells that it is alive, and ends with what is measured.
    let told = async {
        loop {
            sleep(PAUSE / 4).await;
            eprintln!("measuring the traffic ...");
        }
    };
    tokio::select! {
        outcome = async { tokio::try_join!(link(1, 1), link(1, 100), link(1, 1000), link(50, 1)) } => outcome.map(drop),
        () = told => Ok(()),
    }
}

/// Each browsing process is on a host of its own, and so are the holding ones as far as there are hosts.
async fn steady(holders: Holders) -> Outcome {
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
    let Holders { processes, nodes } = holders;
    for (number, host) in (0..processes).zip(hosts.iter().cycle()) {
        let mut peer = Peer::start(host).await?;
        // What is before the number is the beginning of the ids as well.
        peer.tell(&format!("register-many {NAME} v1 {nodes} 10.77.1.{number}"))
            .await?;
        peers.push(peer);
    }
    for host in &hosts[1..] {
        let mut peer = Peer::start(host).await?;
        peer.tell(&format!("watch {NAME}")).await?;
        peers.push(peer);
    }
    sleep(PAUSE).await;
    let (began, before) = (Instant::now(), switch.mdns_counted()?);
    sleep(WINDOW).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), switch.mdns_counted()?);
    let rate = |before: u64, after: u64| float(after.saturating_sub(before)) / seconds;
    println!(
        "{processes} x {nodes} nodes: {:.2} packets a second, {:.0} bytes a second",
        rate(before.0, after.0),
        rate(before.1, after.1)
    );
    Ok(())
}
