//! What must work between hosts.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{Outcome, network::Host, process::Peer, wire::Wire};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(60);

const NAME: &str = "go.vine.interop";

/// What it shows, and the way to begin it.
type Scenario = (&'static str, fn() -> Running);

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

fn all() -> Vec<Scenario> {
    vec![
        ("two hosts find each other", || Box::pin(two_hosts())),
        (
            "an update and an end by SIGTERM are seen within a second",
            || Box::pin(update_and_end()),
        ),
        ("a host with two interfaces is found on both", || {
            Box::pin(two_interfaces())
        }),
        ("many hosts on one switch find each other", || {
            Box::pin(switched())
        }),
        ("two hosts without IPv4", || Box::pin(ipv6_alone())),
        ("two hosts without IPv6", || Box::pin(ipv4_alone())),
        ("a thousand nodes are all found", || Box::pin(thousand())),
        ("one host whose only interface is loopback", || {
            Box::pin(only_loopback())
        }),
        ("an interface that comes up later is used", || {
            Box::pin(late_interface())
        }),
        (
            "a host that answers after 80 ms beside a local process",
            || Box::pin(far_and_near()),
        ),
    ]
}

/// Runs those whose names contain one of `filters`, or all of them; says whether all passed.
pub(crate) async fn run(filters: &[&str]) -> Outcome<bool> {
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in all() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        let began = Instant::now();
        let outcome = match timeout(LIMIT, scenario()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {LIMIT:?}")),
        };
        let took = began.elapsed().as_millis();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok      {name} ({took} ms)");
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {name} ({took} ms): {error}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if passed + failed == 0 {
        return Err(format!("no scenario is called {}", filters.join(" or ")));
    }
    Ok(failed == 0)
}

/// Two hosts with a cable between them.
pub(crate) fn pair() -> Outcome<(Host, Host)> {
    let (a, b) = (Host::new()?, Host::new()?);
    a.cable(("eth0", "10.77.0.1/24"), &b, ("eth0", "10.77.0.2/24"))?;
    Ok((a, b))
}

/// Looks a service up in a fresh process, and expects just these nodes.
async fn finds(host: &Host, expected: &str) -> Outcome {
    let mut peer = Peer::start(host).await?;
    let got = peer.tell(&format!("get {NAME} settled")).await?;
    let nodes = got.splitn(3, ' ').nth(2).unwrap_or_default();
    same(expected, nodes)
}

fn same(expected: &str, got: &str) -> Outcome {
    if expected == got {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {got:?}"))
    }
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

async fn update_and_end() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    same("snapshot ", &watch.tell(&format!("watch {NAME}")).await?)?;
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    expect_event(&mut watch, "create one").await?;
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80 changed"))
        .await?;
    expect_event(&mut watch, "update one").await?;
    let told = Instant::now();
    one.terminate().await?;
    expect_event(&mut watch, "delete one").await?;
    within(told, Duration::from_secs(1), "the delete was seen")
}

async fn expect_event(watch: &mut Peer, expected: &str) -> Outcome {
    let event = watch.expect("event").await?;
    let (_, event) = event.split_once(' ').unwrap_or_default();
    same(expected, event)
}

fn within(since: Instant, limit: Duration, what: &str) -> Outcome {
    let took = since.elapsed();
    if took <= limit {
        Ok(())
    } else {
        Err(format!("{what} only after {took:?}, not within {limit:?}"))
    }
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

async fn thousand() -> Outcome {
    let (a, b) = pair()?;
    let mut one = Peer::start(&a).await?;
    one.tell(&format!("register-many {NAME} v1 1000")).await?;
    for _ in 0..3 {
        let mut asker = Peer::start(&b).await?;
        let counted = asker.tell(&format!("count {NAME}")).await?;
        same("1000", counted.rsplit(' ').next().unwrap_or_default())?;
    }
    Ok(())
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

async fn far_and_near() -> Outcome {
    let (here, there) = (Host::new()?, Host::new()?);
    let ends = [
        (&here, "eth0", "10.77.0.1/24"),
        (&there, "eth0", "10.77.0.2/24"),
    ];
    // 40 ms there and 40 ms back.
    let _wire = Wire::new(ends, Duration::from_millis(40)).await?;
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
