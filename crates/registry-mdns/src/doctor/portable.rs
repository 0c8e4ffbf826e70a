//! What is known of the machine where nothing but the interfaces can be asked for.

use std::{collections::BTreeSet, net::IpAddr};

pub(super) fn can_multicast(_name: &str) -> Option<bool> {
    None
}

pub(super) fn is_ipv6_off(_name: &str) -> bool {
    false
}

pub(super) fn is_container_cable(_name: &str) -> bool {
    false
}

pub(super) fn neighbours(_name: &str) -> Vec<IpAddr> {
    Vec::new()
}

pub(super) fn tunnels() -> Vec<String> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let up = found
        .into_iter()
        .filter(|one| one.is_p2p() && one.oper_status == if_addrs::IfOperStatus::Up);
    let names: BTreeSet<_> = up.map(|one| one.name).collect();
    names.into_iter().collect()
}

pub(super) fn holders(_port: u16) -> Vec<String> {
    Vec::new()
}
