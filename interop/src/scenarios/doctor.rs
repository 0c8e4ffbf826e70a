//! What `vine doctor` says of a network that is broken in one way or another: the cause, by name.
//!
//! On the hosts this program acts as the doctor, as a registry with other settings than the usual
//! ones, as the end of a tunnel, or as a program that takes the port for itself.

use std::{future::pending, net::UdpSocket, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Child,
};
use tokio_tun::Tun;
use vine_registry::{Node, Options, RegistryExt, Service};
use vine_registry_mdns::{
    Dialect, Key, MdnsOptions, MdnsRegistry,
    doctor::{Finding, examine},
};

use super::{NAME, Scenario, pair, scenario};
use crate::{
    Outcome,
    network::{Host, ip},
    process,
    punctuality::Moment,
    wire::{Quality, Wire},
};

/// What the doctor says when nothing is wrong.
const WELL: &str = "well";

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario("the doctor, and all is well", well()),
        scenario("the doctor without an interface", no_interface()),
        scenario("the doctor where multicast is off", multicast_off()),
        scenario("the doctor and a port that is taken", port_taken()),
        scenario("the doctor and a firewall", firewall()),
        scenario("the doctor and a VPN", vpn()),
        scenario("the doctor in a container", container()),
        scenario("the doctor where multicast is blocked", blocked()),
        scenario("the doctor without IPv6", ipv6_off()),
        scenario("the doctor in another namespace", namespace()),
        scenario("the doctor and the dialect", dialect()),
        scenario("the doctor and the wrong key", key()),
    ]
}

/// What this program does on a host.
pub(crate) async fn act(arguments: &[&str]) -> Outcome {
    match *arguments {
        ["examine", namespace, ref keys @ ..] => diagnose(namespace, keys).await,
        ["tell", namespace, dialect] => tell(namespace, dialect).await,
        ["tunnel", name] => {
            let tunnel = Tun::builder().name(name).up().build();
            let _tunnel = tunnel.map_err(|error| format!("no tunnel {name}: {error}"))?;
            println!("ready");
            pending().await
        }
        ["hold", port] => {
            let port: u16 = port.parse().map_err(|_| format!("{port} is no port"))?;
            let held = UdpSocket::bind(("0.0.0.0", port)).map_err(|error| error.to_string())?;
            println!("ready");
            let () = pending().await;
            drop(held);
            Ok(())
        }
        _ => Err(format!("what to do with {arguments:?}?")),
    }
}

async fn diagnose(namespace: &str, keys: &[&str]) -> Outcome {
    let options = Options::new().with_namespace(namespace);
    let keys: Result<Vec<Key>, _> = keys.iter().map(|key| key.parse()).collect();
    let keys = keys.map_err(|error| format!("{error}"))?;
    let report = examine(&options, &MdnsOptions::new().with_keys(keys)).await;
    let report = report.map_err(|error| error.to_string())?;
    let named = |finding: &Finding| format!("{} {}", finding.cause, finding.subject);
    let causes: Vec<_> = report.findings.iter().map(named).collect();
    println!(
        "{}",
        if report.ok {
            WELL.to_owned()
        } else {
            causes.join("; ")
        }
    );
    let told = report.findings.iter().chain(&report.notes);
    for finding in told {
        println!("{}: {}; {}", finding.cause, finding.message, finding.remedy);
    }
    Ok(())
}

async fn tell(namespace: &str, dialect: &str) -> Outcome {
    let dialect: Dialect = dialect.parse().map_err(|error| format!("{error}"))?;
    let mdns = MdnsOptions::new().with_dialect(dialect);
    let registry = MdnsRegistry::new(Options::new().with_namespace(namespace), mdns);
    let registry = registry.map_err(|error| error.to_string())?;
    let service = Service::new(NAME, "v1").with_node(Node::new("one", "10.77.0.2:80"));
    let registered = registry.register(service).await;
    registered.map_err(|error| error.to_string())?;
    println!("ready");
    pending().await
}

/// Starts this program on a host to do something until it is dropped, and waits until it does.
async fn start(host: &Host, arguments: &[&str]) -> Outcome<Child> {
    let mut child = process::on(host, &[&["doctor"], arguments].concat())?
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("no output")?;
    let line = BufReader::new(output).lines().next_line().await;
    match line {
        Ok(Some(line)) if line == "ready" => Ok(child),
        other => Err(format!("{arguments:?}: {other:?}")),
    }
}

/// Has the doctor look at a host with a namespace and perhaps a key, and expects just these causes,
/// with their subjects.
async fn finds_on(host: &Host, with: &str, expected: &str) -> Outcome<String> {
    let with: Vec<&str> = with.split(' ').collect();
    let began = Moment::now();
    let mut child = process::on(host, &[&["doctor", "examine"], &*with].concat())?
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        let read = output.read_to_string(&mut said).await;
        read.map_err(|error| error.to_string())?;
    }
    began.within(Duration::from_secs(2), "it is done").await?;
    if said.lines().next() == Some(expected) {
        Ok(said)
    } else {
        Err(format!("expected {expected:?}, the doctor said {said:?}"))
    }
}

async fn says(host: &Host, expected: &str) -> Outcome {
    finds_on(host, "vine", expected).await.map(drop)
}

fn on(host: &Host, command: &[&str]) -> Outcome {
    ip(&[&["netns", "exec", &host.namespace], command].concat()).map(drop)
}

async fn well() -> Outcome {
    let (a, b) = pair()?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    says(&a, WELL).await
}

async fn no_interface() -> Outcome {
    says(&Host::new()?, "no-interface ").await
}

async fn multicast_off() -> Outcome {
    let (a, b) = pair()?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    a.ip(&["link", "set", "eth0", "multicast", "off"])?;
    says(&a, "no-interface eth0").await
}

async fn port_taken() -> Outcome {
    let (a, _b) = pair()?;
    let _held = start(&a, &["hold", "5353"]).await?;
    let said = finds_on(&a, "vine", "port-taken port 5353").await?;
    match said.contains("vine-interop") {
        true => Ok(()),
        false => Err(format!("who holds the port? {said:?}")),
    }
}

async fn firewall() -> Outcome {
    for (chain, hook) in [("in", "input"), ("out", "output")] {
        let (a, b) = pair()?;
        let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
        let rules = format!(
            "table inet firewall {{ chain {chain} {{ type filter hook {hook} priority 0; udp dport 5353 drop; }}; }}"
        );
        on(&a, &["nft", &rules])?;
        says(&a, "firewall eth0").await?;
    }
    Ok(())
}

/// Two hosts whose switch passes no multicast on.
fn apart() -> Outcome<(Host, Host, Host)> {
    let (a, b) = (Host::new()?, Host::new()?);
    let switch = Host::switch(&[(&a, "10.77.0.1/24"), (&b, "10.77.0.2/24")])?;
    for port in ["port0", "port1"] {
        switch.ip(&[
            "link",
            "set",
            port,
            "type",
            "bridge_slave",
            "mcast_flood",
            "off",
        ])?;
    }
    Ok((a, b, switch))
}

async fn vpn() -> Outcome {
    let (a, b, _switch) = apart()?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    let _tunnel = start(&a, &["tunnel", "vpn0"]).await?;
    a.ip(&["addr", "add", "10.99.0.1/24", "dev", "vpn0"])?;
    says(&a, "vpn eth0").await
}

async fn container() -> Outcome {
    let (a, b, _switch) = apart()?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    says(&a, "container-bridge eth0").await
}

/// Multicast gets lost on the way; what is sent to one host alone does not.
async fn blocked() -> Outcome {
    let (a, b) = (Host::new()?, Host::new()?);
    let ends = [(&a, "eth0", "10.77.0.1/24"), (&b, "eth0", "10.77.0.2/24")];
    let _wire = Wire::new(&ends, Quality::default()).await?;
    let rules = "table inet filter { chain input { type filter hook input priority 0; \
        iif eth0 ip daddr 224.0.0.251 drop; iif eth0 ip6 daddr ff02::fb drop; }; }";
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    on(&b, &["nft", rules])?;
    // The two have talked to each other before.
    let link = b.ip(&["-oneline", "link", "show", "dev", "eth0"])?;
    let mut words = link
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    let hardware = words.nth(1).ok_or("eth0 has no hardware address")?;
    a.ip(&[
        "neigh",
        "replace",
        "10.77.0.2",
        "lladdr",
        hardware,
        "dev",
        "eth0",
    ])?;
    let said = finds_on(&a, "vine", "multicast-blocked eth0").await?;
    match said.contains("10.77.0.2") {
        true => Ok(()),
        false => Err(format!("who answers? {said:?}")),
    }
}

async fn ipv6_off() -> Outcome {
    let (a, b) = (Host::new()?, Host::new()?);
    a.disable_ipv6()?;
    a.cable(("eth0", "10.77.0.1/24"), &b, ("eth0", "10.77.0.2/24"))?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    says(&a, "ipv6-off eth0").await
}

async fn namespace() -> Outcome {
    let (a, b) = pair()?;
    let _other = start(&b, &["tell", "elsewhere", "dns-sd"]).await?;
    let said = finds_on(&a, "vine", "namespace vine").await?;
    match said.contains("--registry.namespace=elsewhere") {
        true => Ok(()),
        false => Err(format!("where are they? {said:?}")),
    }
}

async fn dialect() -> Outcome {
    let (a, b) = pair()?;
    let _other = start(&b, &["tell", "vine", "vine"]).await?;
    let said = finds_on(&a, "vine", "dialect vine").await?;
    match said.contains("--registry.mdns.dialect=both") && said.contains(NAME) {
        true => Ok(()),
        false => Err(format!("who speaks it? {said:?}")),
    }
}

async fn key() -> Outcome {
    let (a, b) = pair()?;
    let _other = start(&b, &["tell", "vine", "dns-sd"]).await?;
    let said = finds_on(&a, "vine one:secret", "key registry.mdns.key").await?;
    match said.contains(NAME) {
        true => Ok(()),
        false => Err(format!("who is not believed? {said:?}")),
    }
}
