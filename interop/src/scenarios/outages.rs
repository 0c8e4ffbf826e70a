//! Hosts that are cut off and interfaces that come and go.

use std::time::Duration;

use super::{NAME, Scenario, expect_all, expect_event, finds, scenario, watches};
use crate::{Outcome, network::Host, process::Peer};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario("a host cut off and joined again", cut_off()).waits(),
        scenario("an interface that goes and comes", blinking()).waits(),
        scenario("an interface that is away for longer than a ttl", away()).waits(),
    ]
}

/// Three hosts on a switch, each with a process that holds a node of its name for so many seconds at a
/// time and watches.
async fn three(ttl: u32) -> Outcome<(Vec<Host>, Host, Vec<Peer>)> {
    let hosts: Vec<Host> = (0..3).map(|_| Host::new()).collect::<Outcome<_>>()?;
    let ends: Vec<_> = hosts
        .iter()
        .zip(["10.77.0.1/24", "10.77.0.2/24", "10.77.0.3/24"])
        .collect();
    let switch = Host::switch(&ends)?;
    let mut peers = Vec::new();
    for (host, (id, address)) in hosts.iter().zip(NODES) {
        let mut peer = Peer::start(host).await?;
        peer.tell(&format!("hold {NAME} v1 {id} {address} {ttl}"))
            .await?;
        peers.push(peer);
    }
    for peer in &mut peers {
        watches(peer, &["a", "b", "c"]).await?;
    }
    Ok((hosts, switch, peers))
}

const NODES: [(&str, &str); 3] = [
    ("a", "10.77.0.1:80"),
    ("b", "10.77.0.2:80"),
    ("c", "10.77.0.3:80"),
];

const ALL: &str = "a@10.77.0.1:80 b@10.77.0.2:80 c@10.77.0.3:80";

/// It keeps its carrier, so that nobody can know more than that there are no answers.
async fn cut_off() -> Outcome {
    let (hosts, switch, mut peers) = three(10).await?;
    switch.cut(2)?;
    let [a, b, c] = &mut peers[..] else {
        return Err("not three".to_owned());
    };
    expect_event(a, "delete c").await?;
    expect_event(b, "delete c").await?;
    expect_all(c, "delete", &["a", "b"]).await?;
    finds(&hosts[0], "a@10.77.0.1:80 b@10.77.0.2:80").await?;
    finds(&hosts[2], "c@10.77.0.3:80").await?;
    switch.join(2)?;
    expect_event(a, "create c").await?;
    expect_event(b, "create c").await?;
    expect_all(c, "create", &["a", "b"]).await?;
    for host in &hosts {
        finds(host, ALL).await?;
    }
    Ok(())
}

/// So shortly that nothing runs out.
async fn blinking() -> Outcome {
    let (hosts, _switch, mut peers) = three(60).await?;
    let [a, _, c] = &mut peers[..] else {
        return Err("not three".to_owned());
    };
    hosts[2].down("eth0")?;
    c.expect("stale").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    hosts[2].up("eth0")?;
    c.expect("live").await?;
    for host in &hosts {
        finds(host, ALL).await?;
    }
    // Nobody has seen anything else.
    let mut another = Peer::start(&hosts[0]).await?;
    another
        .tell(&format!("register {NAME} v1 d 10.77.0.1:81"))
        .await?;
    expect_event(a, "create d").await?;
    expect_event(c, "create d").await
}

/// The host that is away forgets nobody; the others forget what is there.
async fn away() -> Outcome {
    let (hosts, _switch, mut peers) = three(10).await?;
    let [a, b, c] = &mut peers[..] else {
        return Err("not three".to_owned());
    };
    hosts[2].down("eth0")?;
    c.expect("stale").await?;
    expect_event(a, "delete c").await?;
    expect_event(b, "delete c").await?;
    // Longer than the records of the others would have lasted.
    tokio::time::sleep(Duration::from_secs(4)).await;
    hosts[2].up("eth0")?;
    c.expect("live").await?;
    expect_event(a, "create c").await?;
    expect_event(b, "create c").await?;
    a.tell(&format!("register {NAME} v1 d 10.77.0.1:81"))
        .await?;
    expect_event(c, "create d").await
}
