//! Hosts of all shapes.

use super::{NAME, Scenario, expect_event, finds, pair, same, scenario};
use crate::{Outcome, network::Host, process::Peer};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario("two hosts find each other", two_hosts()),
        scenario(
            "a host with two interfaces is found on both",
            two_interfaces(),
        ),
        scenario("many hosts on one switch find each other", switched()),
        scenario("two hosts without IPv4", ipv6_alone()),
        scenario("two hosts without IPv6", ipv4_alone()),
        scenario("one host whose only interface is loopback", only_loopback()),
        scenario("an interface that comes up later is used", late_interface()),
    ]
}

async fn two_hosts() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut other) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    finds(&b, "one@10.77.0.1:80").await?;
    other
        .tell(&format!("register {NAME} v1 other 10.77.0.2:80"))
        .await?;
    let both = "one@10.77.0.1:80 other@10.77.0.2:80";
    finds(&a, both).await?;
    finds(&b, both).await?;
    same(&format!("listed {NAME}"), &other.tell("list").await?)?;
    same(&format!("listed {NAME}"), &one.tell("list").await?)
}

async fn two_interfaces() -> Outcome {
    let (left, middle, right) = (Host::new()?, Host::new()?, Host::new()?);
    middle.cable(("eth0", "10.77.1.1/24"), &left, ("eth0", "10.77.1.2/24"))?;
    middle.cable(("eth1", "10.77.2.1/24"), &right, ("eth0", "10.77.2.2/24"))?;
    let mut peers = Vec::new();
    for (host, id, address) in [
        (&left, "left", "10.77.1.2:80"),
        (&middle, "middle", "10.77.1.1:80"),
        (&right, "right", "10.77.2.2:80"),
    ] {
        let mut peer = Peer::start(host).await?;
        peer.tell(&format!("register {NAME} v1 {id} {address}"))
            .await?;
        peers.push(peer);
    }
    finds(&left, "left@10.77.1.2:80 middle@10.77.1.1:80").await?;
    finds(&right, "middle@10.77.1.1:80 right@10.77.2.2:80").await?;
    let all = "left@10.77.1.2:80 middle@10.77.1.1:80 right@10.77.2.2:80";
    finds(&middle, all).await
}

async fn switched() -> Outcome {
    let hosts: Vec<Host> = (0..5).map(|_| Host::new()).collect::<Outcome<_>>()?;
    let addresses: Vec<String> = (1..=hosts.len()).map(|i| format!("10.77.0.{i}")).collect();
    let prefixes: Vec<String> = addresses
        .iter()
        .map(|address| format!("{address}/24"))
        .collect();
    let ends: Vec<_> = hosts
        .iter()
        .zip(prefixes.iter().map(String::as_str))
        .collect();
    let _switch = Host::switch(&ends)?;
    let mut peers = Vec::new();
    let mut all = Vec::new();
    for (host, address) in hosts.iter().zip(&addresses) {
        let mut peer = Peer::start(host).await?;
        peer.tell(&format!("register {NAME} v1 n{address} {address}:80"))
            .await?;
        all.push(format!("n{address}@{address}:80"));
        peers.push(peer);
    }
    for host in &hosts {
        finds(host, &all.join(" ")).await?;
    }
    Ok(())
}

async fn ipv6_alone() -> Outcome {
    let (a, b) = (Host::new()?, Host::new()?);
    a.cable(("eth0", "fd77::1/64"), &b, ("eth0", "fd77::2/64"))?;
    let (mut one, mut other) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one [fd77::1]:80"))
        .await?;
    other
        .tell(&format!("register {NAME} v1 other [fd77::2]:80"))
        .await?;
    let both = "one@[fd77::1]:80 other@[fd77::2]:80";
    finds(&a, both).await?;
    finds(&b, both).await
}

async fn ipv4_alone() -> Outcome {
    let (a, b) = (Host::new()?, Host::new()?);
    a.disable_ipv6()?;
    b.disable_ipv6()?;
    a.cable(("eth0", "10.77.0.1/24"), &b, ("eth0", "10.77.0.2/24"))?;
    let mut one = Peer::start(&a).await?;
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    finds(&a, "one@10.77.0.1:80").await?;
    finds(&b, "one@10.77.0.1:80").await
}

async fn only_loopback() -> Outcome {
    let host = Host::new()?;
    let mut one = Peer::start(&host).await?;
    one.tell(&format!("register {NAME} v1 one 127.0.0.1:80"))
        .await?;
    finds(&host, "one@127.0.0.1:80").await?;
    let mut watch = Peer::start(&host).await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    one.terminate().await?;
    expect_event(&mut watch, "delete one").await
}

async fn late_interface() -> Outcome {
    let (a, b) = (Host::new()?, Host::new()?);
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    same("snapshot ", &watch.tell(&format!("watch {NAME}")).await?)?;
    a.cable(("eth0", "10.77.0.1/24"), &b, ("eth0", "10.77.0.2/24"))?;
    expect_event(&mut watch, "create one").await
}
