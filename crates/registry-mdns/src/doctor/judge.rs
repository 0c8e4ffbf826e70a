//! What follows from what was seen of interfaces and packets.

use std::{fmt::Display, io};

use super::{
    Cause, Finding, host,
    probe::{Seen, SeenInterface, name},
};
use crate::{MdnsOptions, engine::LinkKind, interfaces};

pub(super) fn finding(
    cause: Cause,
    subject: impl Into<String>,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        cause,
        subject: subject.into(),
        message: message.into(),
        remedy: remedy.into(),
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// Whether the options name interfaces, so that loopback will do, too.
fn is_chosen(options: &MdnsOptions) -> bool {
    !options.interfaces.is_empty()
}

fn leads_out(options: &MdnsOptions, one: &SeenInterface) -> bool {
    is_chosen(options) || one.interface.kind != LinkKind::Loopback
}

/// Interfaces, the port, versions of IP.
pub(super) fn interfaces(options: &MdnsOptions, seen: &Seen, findings: &mut Vec<Finding>) {
    let port = options.port;
    let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    if seen.failed.iter().any(|(.., error)| is_taken(error)) {
        let holders = host::holders(port);
        let by = match holders.is_empty() {
            true => "another program".to_owned(),
            false => list(holders),
        };
        findings.push(finding(
            Cause::PortTaken,
            format!("port {port}"),
            format!("UDP port {port} is held by {by}, which does not share it"),
            "stop that program, or have it share the port (SO_REUSEADDR), as every mDNS program should; or choose another port for all with --registry.mdns.port",
        ));
    }
    for (interface, family, error) in &seen.failed {
        // Linux knows no way to the IPv6 group on loopback; nobody needs it there.
        let is_loopback = seen.interfaces.iter().any(|one| {
            one.interface.name == *interface && one.interface.kind == LinkKind::Loopback
        });
        if !is_taken(error) && !is_loopback {
            findings.push(finding(
                Cause::Unusable,
                interface,
                format!("{} can't be used there: {error}", name(*family)),
                format!("see 'ip address show {interface}' and 'ip route'; or choose other interfaces with --registry.mdns.interface"),
            ));
        }
    }
    let used: Vec<_> = seen
        .interfaces
        .iter()
        .filter(|one| leads_out(options, one))
        .collect();
    let (able, unable): (Vec<&SeenInterface>, Vec<&SeenInterface>) =
        used.iter().copied().partition(|one| {
            // Loopback has no such setting, and does it all the same.
            one.interface.kind == LinkKind::Loopback
                || host::can_multicast(&one.interface.name) != Some(false)
        });
    for one in &unable {
        let name = &one.interface.name;
        findings.push(finding(
            Cause::NoInterface,
            name,
            format!("{name} is up, but multicast is off there"),
            format!("turn it on: ip link set {name} multicast on"),
        ));
    }
    if used.is_empty() {
        findings.push(no_interface(options));
    }
    if options.ipv6 {
        ipv6_off(&able, findings);
    }
}

fn no_interface(options: &MdnsOptions) -> Finding {
    let (wanted, up) = (list(&options.interfaces), interfaces::names());
    if is_chosen(options) {
        return finding(
            Cause::NoInterface,
            &wanted,
            format!("none of the interfaces {wanted} is up with an address; there are: {up}"),
            "choose others with --registry.mdns.interface, or leave it out to use all",
        );
    }
    let tunnels = host::tunnels();
    if !tunnels.is_empty() {
        let tunnels = list(tunnels);
        return finding(
            Cause::NoInterface,
            &tunnels,
            format!(
                "no interface is up but loopback and {tunnels}, which are used only if they are named"
            ),
            format!(
                "connect this machine to a network, or use the tunnel: --registry.mdns.interface {tunnels}"
            ),
        );
    }
    finding(
        Cause::NoInterface,
        "",
        "no interface is up with an address but loopback, so only this machine is seen",
        "connect this machine to a network; a container may need the host's (docker run --network host)",
    )
}

fn ipv6_off(used: &[&SeenInterface], findings: &mut Vec<Finding>) {
    let names = used.iter().map(|one| &one.interface);
    let off: Vec<_> = names
        .filter(|one| one.kind != LinkKind::Loopback)
        .filter(|one| one.addresses.iter().all(|(address, _)| address.is_ipv4()))
        .map(|one| one.name.as_str())
        .filter(|name| host::is_ipv6_off(name))
        .collect();
    let Some(first) = off.first() else {
        return;
    };
    let subject = list(&off);
    findings.push(finding(
        Cause::Ipv6Off,
        &subject,
        format!("IPv6 is turned off on {subject}: hosts with IPv6 alone are not seen"),
        format!(
            "turn it on: sysctl net.ipv6.conf.{first}.disable_ipv6=0; or say that it is meant: --registry.mdns.ipv6=false"
        ),
    ));
}

/// Whether packets go out and come back.
pub(super) fn paths(
    options: &MdnsOptions,
    seen: &Seen,
    findings: &mut Vec<Finding>,
    notes: &mut Vec<Finding>,
) {
    if findings.iter().any(|one| one.cause == Cause::PortTaken) {
        // Whatever is not heard then is not heard for that.
        return;
    }
    let used = seen.interfaces.iter().filter(|one| leads_out(options, one));
    for one in used.filter(|one| !one.links.is_empty()) {
        let silent: Vec<_> = one
            .links
            .iter()
            .filter(|(_, link)| !link.echoed)
            .map(|(family, _)| name(*family))
            .collect();
        if !silent.is_empty() {
            findings.push(firewall(options, one, seen.unsent, &list(silent)));
        }
        if one.links.values().all(|link| !link.echoed) || one.interface.kind == LinkKind::Loopback {
            continue;
        }
        let is_unanswered = one.links.values().all(|link| link.answered.is_empty());
        if one.heard().is_empty() || is_unanswered && !one.direct().is_empty() {
            unheard(one, findings, notes);
        } else if is_unanswered {
            notes.push(finding(
                Cause::Firewall,
                &one.interface.name,
                "others are heard on the shared port, but none answers to another port: if they speak DNS-SD, a firewall lets only the shared port in, and first look-ups take longer",
                "let answers to mDNS questions in: UDP from port 5353",
            ));
        }
    }
}

fn firewall(options: &MdnsOptions, one: &SeenInterface, unsent: u64, families: &str) -> Finding {
    let (name, port) = (&one.interface.name, options.port);
    let what = match unsent {
        0 => format!(
            "packets that are sent to the group on {name} do not come in again ({families})"
        ),
        _ => format!("packets to the group can't leave by {name} ({families})"),
    };
    finding(
        Cause::Firewall,
        name,
        format!("{what}: a firewall of this machine drops them"),
        format!(
            "let UDP port {port} in and out for 224.0.0.251 and ff02::fb: 'firewall-cmd --add-service=mdns', 'ufw allow {port}/udp', or the like"
        ),
    )
}

/// Packets go out, and nobody is heard.
fn unheard(one: &SeenInterface, findings: &mut Vec<Finding>, notes: &mut Vec<Finding>) {
    let name = &one.interface.name;
    let direct = one.direct();
    let tunnels = host::tunnels();
    let who = match direct.is_empty() {
        true => format!("packets leave by {name}, but nobody else is heard there"),
        false => format!(
            "{} answers when asked directly, but multicast does not get there and back by {name}",
            list(&direct)
        ),
    };
    if !tunnels.is_empty() {
        let tunnels = list(tunnels);
        findings.push(finding(
            Cause::Vpn,
            name,
            format!("{who}, and {tunnels} is up: a VPN may keep traffic of the local network from passing"),
            "allow local network access in the VPN's settings, or end it; a tunnel that carries multicast is used if named: --registry.mdns.interface",
        ));
    } else if host::is_container_cable(name) {
        findings.push(finding(
            Cause::ContainerBridge,
            name,
            format!("{who}, and it is the virtual cable of a container: its bridge does not pass multicast on to other hosts"),
            "run it in the host's network (docker run --network host, hostNetwork: true), or use macvlan; or another registry, such as etcd",
        ));
    } else if !direct.is_empty() {
        findings.push(finding(
            Cause::MulticastBlocked,
            name,
            who,
            "look for client isolation of the access point, IGMP snooping without a querier in the switch, or a firewall on the other host",
        ));
    } else {
        notes.push(finding(
            Cause::Alone,
            name,
            format!("{who}: either nobody else speaks mDNS, or the network does not pass multicast"),
            "run 'vine doctor' on another host, too; if both are alone, look for client isolation of the access point, or IGMP snooping without a querier in the switch",
        ));
    }
}
