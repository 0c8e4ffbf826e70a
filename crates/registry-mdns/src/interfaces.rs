//! What network interfaces there are, which of them to use, and when that changes.

mod monitor;
mod pace;

use std::{collections::BTreeMap, io, net::IpAddr};

use if_addrs::{IfAddr, IfOperStatus};

pub(crate) use monitor::Monitor;

use crate::{
    engine::{Family, Interface, LinkKind},
    options::{InterfaceFilter, MdnsOptions},
};

/// The interfaces that the options ask for, in order of their index.
pub(crate) fn usable(options: &MdnsOptions) -> io::Result<Vec<Interface>> {
    let mut interfaces = list()?;
    interfaces.retain(|interface| is_wanted(interface, &options.interfaces));
    for interface in &mut interfaces {
        interface
            .addresses
            .retain(|(address, _)| match Family::of(*address) {
                Family::V4 => options.ipv4,
                Family::V6 => options.ipv6,
            });
    }
    interfaces.retain(|interface| !interface.addresses.is_empty());
    Ok(interfaces)
}

/// What there is, for people to read.
pub(crate) fn names() -> String {
    let interfaces = list().unwrap_or_default();
    let names: Vec<_> = interfaces.iter().map(|found| &*found.name).collect();
    names.join(", ")
}

/// The address that packets are sent from: for IPv6 a link-local one if there is any, as the group
/// is.
pub(crate) fn source(interface: &Interface, family: Family) -> Option<IpAddr> {
    let mut all = interface.addresses.iter().map(|(address, _)| *address);
    match family {
        Family::V4 => all.find(IpAddr::is_ipv4),
        Family::V6 => {
            let first = all.clone().find(IpAddr::is_ipv6);
            all.find(is_link_local).or(first)
        }
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn is_wanted(interface: &Interface, filters: &[InterfaceFilter]) -> bool {
    if filters.is_empty() {
        return interface.kind != LinkKind::PointToPoint;
    }
    filters.iter().any(|filter| match filter {
        InterfaceFilter::Name(name) => *name == interface.name,
        InterfaceFilter::Address(wanted) => {
            let mut all = interface.addresses.iter();
            all.any(|(address, _)| address == wanted)
        }
    })
}

fn list() -> io::Result<Vec<Interface>> {
    let mut interfaces = BTreeMap::new();
    for found in if_addrs::get_if_addrs()? {
        // On Unix, "up" means that it runs: a cable that is not plugged in counts as down.
        let (Some(id), IfOperStatus::Up) = (found.index, &found.oper_status) else {
            continue;
        };
        let loopback = found.is_loopback();
        let interface = interfaces.entry(id).or_insert_with(|| Interface {
            id,
            kind: kind(&found),
            name: found.name.clone(),
            addresses: Vec::new(),
        });
        if loopback {
            interface.kind = LinkKind::Loopback;
        }
        interface.addresses.push(match found.addr {
            IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
            IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
        });
    }
    Ok(interfaces.into_values().collect())
}

fn kind(found: &if_addrs::Interface) -> LinkKind {
    if found.is_p2p {
        LinkKind::PointToPoint
    } else if is_wireless(&found.name) {
        LinkKind::Wireless
    } else {
        LinkKind::Wired
    }
}

#[cfg(target_os = "linux")]
fn is_wireless(name: &str) -> bool {
    let device = std::path::Path::new("/sys/class/net").join(name);
    device.join("wireless").exists() || device.join("phy80211").exists()
}

/// Where nobody tells, better wait a little longer than miss an answer.
#[cfg(not(target_os = "linux"))]
fn is_wireless(_name: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(addresses: &[&str]) -> Interface {
        Interface {
            id: 7,
            name: "eth0".into(),
            addresses: addresses
                .iter()
                .map(|address| (address.parse().unwrap(), 24))
                .collect(),
            kind: LinkKind::Wired,
        }
    }

    #[test]
    fn sends_from_a_link_local_address_if_there_is_one() {
        let from = |addresses: &[&str], family| {
            source(&interface(addresses), family).map(|address| address.to_string())
        };
        let all = ["fd00::7", "fe80::7", "10.0.0.7", "10.0.0.8"];
        assert_eq!(from(&all, Family::V6).as_deref(), Some("fe80::7"));
        assert_eq!(from(&all, Family::V4).as_deref(), Some("10.0.0.7"));
        assert_eq!(from(&all[..1], Family::V6).as_deref(), Some("fd00::7"));
        assert_eq!(from(&all[..1], Family::V4), None);
    }

    #[test]
    fn is_chosen_by_name_or_by_address() {
        let eth0 = interface(&["10.0.0.7"]);
        assert!(is_wanted(&eth0, &[]));
        assert!(is_wanted(&eth0, &["lo".into(), "eth0".into()]));
        assert!(is_wanted(&eth0, &["10.0.0.7".into()]));
        assert!(!is_wanted(&eth0, &["10.0.0.8".into(), "eth".into()]));
    }

    #[test]
    fn a_tunnel_is_used_only_if_it_is_named() {
        let tunnel = Interface {
            kind: LinkKind::PointToPoint,
            ..interface(&["10.0.0.7"])
        };
        assert!(!is_wanted(&tunnel, &[]));
        assert!(is_wanted(&tunnel, &["eth0".into()]));
    }

    /// What the kernel tells of addresses that are not listed.
    #[cfg(target_os = "linux")]
    fn unlisted() -> Vec<String> {
        let kernel = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let is_up = |name: &&str| {
            let state = format!("/sys/class/net/{name}/operstate");
            let state = std::fs::read_to_string(state).unwrap_or_default();
            matches!(state.trim(), "up" | "unknown")
        };
        let listed = list().unwrap();
        let is_unlisted = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let address = u128::from_str_radix(fields[0], 16).unwrap();
            let address = IpAddr::from(std::net::Ipv6Addr::from_bits(address));
            let length = u8::from_str_radix(fields[2], 16).unwrap();
            let Some(name) = fields.last().filter(|name| is_up(name)) else {
                return false;
            };
            let found = listed.iter().find(|found| *found.name == **name);
            let addresses = found.map(|found| &*found.addresses).unwrap_or_default();
            !addresses.contains(&(address, length))
        };
        let unlisted = kernel.lines().filter(is_unlisted);
        unlisted.map(str::to_owned).collect()
    }

    /// Those of link-local scope, too: without them two hosts on a cable do not find each other.
    #[cfg(target_os = "linux")]
    #[test]
    fn every_ipv6_address_of_an_interface_that_is_up_is_listed() {
        let mut left = unlisted();
        // Some may come and go meanwhile.
        for _ in 0..100 {
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            left = unlisted();
        }
        panic!("{left:?}");
    }

    #[test]
    fn loopback_is_always_there() {
        let interfaces = usable(&MdnsOptions::new().with_interfaces(["127.0.0.1"])).unwrap();
        assert_eq!(interfaces[0].kind, LinkKind::Loopback);
        assert!(source(&interfaces[0], Family::V4).unwrap().is_loopback());
        let none = MdnsOptions::new().with_interfaces(["203.0.113.9"]);
        assert_eq!(usable(&none).unwrap(), []);
    }
}
