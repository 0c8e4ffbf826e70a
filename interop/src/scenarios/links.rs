//! Links that take their time, lose packets or break.

use std::time::Duration;

use super::{NAME, Scenario, are_all, expect_event, finds, nodes, pair, same, scenario};
use crate::{
    Outcome,
    network::Host,
    process::Peer,
    punctuality::Moment,
    wire::{Quality, Wire},
};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "a host that answers after 80 ms beside a local process",
            far_and_near(),
        ),
        scenario(
            "a host that answers after 200 ms once it was heard of",
            farther_and_near(),
        ),
        scenario("a link that loses a tenth", lossy()),
        scenario("a firewall that lets only port 5353 in", firewalled()),
    ]
}

async fn far_and_near() -> Outcome {
    let (here, there) = (Host::new()?, Host::new()?);
    let ends = [
        (&here, "eth0", "10.77.0.1/24"),
        (&there, "eth0", "10.77.0.2/24"),
    ];
    // 40 ms there and 40 ms back.
    let quality = Quality {
        delay: Duration::from_millis(40),
        ..Quality::default()
    };
    let _wire = Wire::new(&ends, quality).await?;
    let (mut near, mut far) = (Peer::start(&here).await?, Peer::start(&there).await?);
    near.tell(&format!("register {NAME} v1 near 10.77.0.1:80"))
        .await?;
    far.tell(&format!("register {NAME} v1 far 10.77.0.2:80"))
        .await?;
    // Each process is fresh: it has not seen how long answers take here.
    for _ in 0..5 {
        finds(&here, "far@10.77.0.2:80 near@10.77.0.1:80").await?;
    }
    Ok(())
}

async fn farther_and_near() -> Outcome {
    let (here, there) = (Host::new()?, Host::new()?);
    let ends = [
        (&here, "eth0", "10.77.0.1/24"),
        (&there, "eth0", "10.77.0.2/24"),
    ];
    let delay = Duration::from_millis(100);
    let quality = Quality {
        delay,
        ..Quality::default()
    };
    let _wire = Wire::new(&ends, quality).await?;
    let (mut near, mut far) = (Peer::start(&here).await?, Peer::start(&there).await?);
    let mut asker = Peer::start(&here).await?;
    far.tell("register go.vine.first v1 far 10.77.0.2:80")
        .await?;
    let heard = asker.tell("get go.vine.first settled").await?;
    if !heard.ends_with(" far@10.77.0.2:80") {
        return Err(format!("it was not heard of: {heard}"));
    }
    // The asker does not know these names, but it knows how long answers take here.
    let (mut found, mut number) = (0, 0);
    while found < 5 {
        number += 1;
        let name = format!("go.vine.next{number}");
        near.tell(&format!("register {name} v1 near 10.77.0.1:80"))
            .await?;
        far.tell(&format!("register {name} v1 far 10.77.0.2:80"))
            .await?;
        let asked = Moment::now();
        let got = asker.tell(&format!("get {name} settled")).await?;
        let both = "far@10.77.0.2:80 near@10.77.0.1:80";
        found += usize::from(are_all(both, nodes(&got), &asked).await?);
    }
    Ok(())
}

/// Of three hosts each finds the nodes of all, each time in a fresh process.
async fn lossy() -> Outcome {
    let hosts: Vec<Host> = (0..3).map(|_| Host::new()).collect::<Outcome<_>>()?;
    let ends = [
        (&hosts[0], "eth0", "10.77.0.1/24"),
        (&hosts[1], "eth0", "10.77.0.2/24"),
        (&hosts[2], "eth0", "10.77.0.3/24"),
    ];
    let quality = Quality {
        loss: 10,
        ..Quality::default()
    };
    let _wire = Wire::new(&ends, quality).await?;
    let (mut peers, mut all) = (Vec::new(), Vec::new());
    for (number, host) in (1..).zip(&hosts) {
        let mut peer = Peer::start(host).await?;
        let address = format!("10.77.0.{number}:80");
        peer.tell(&format!("register {NAME} v1 n{number} {address}"))
            .await?;
        all.push(format!("n{number}@{address}"));
        peers.push(peer);
    }
    for _ in 0..10 {
        for host in &hosts {
            finds(host, &all.join(" ")).await?;
        }
    }
    Ok(())
}

/// Answers to one-shot questions do not get in. What is multicast does, but only after the delay of
/// RFC 6762 section 6, so a fresh process that a neighbour on its host answers at once may hear of
/// others only in its watch.
async fn firewalled() -> Outcome {
    let (a, b) = pair()?;
    b.firewall()?;
    let (mut one, mut other) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    for _ in 0..5 {
        finds(&b, "one@10.77.0.1:80").await?;
    }
    other
        .tell(&format!("register {NAME} v1 other 10.77.0.2:80"))
        .await?;
    let both = "one@10.77.0.1:80 other@10.77.0.2:80";
    for _ in 0..5 {
        finds(&a, both).await?;
    }
    let mut watch = Peer::start(&b).await?;
    let snapshot = watch.tell(&format!("watch {NAME}")).await?;
    if snapshot == "snapshot other" {
        expect_event(&mut watch, "create one").await?;
    } else {
        same("snapshot one other", &snapshot)?;
    }
    let got = watch.tell(&format!("get {NAME} settled")).await?;
    same(both, nodes(&got))
}
