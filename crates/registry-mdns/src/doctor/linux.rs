//! What Linux says about itself, in /proc and /sys. What it does not say is not known.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

const IFF_MULTICAST: u32 = 0x1000;

fn device(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn number(path: PathBuf) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether an interface is set to multicast.
pub(super) fn can_multicast(name: &str) -> Option<bool> {
    number(device(name).join("flags")).map(|flags| flags & IFF_MULTICAST != 0)
}

pub(super) fn is_ipv6_off(name: &str) -> bool {
    let settings = Path::new("/proc/sys/net/ipv6/conf");
    match number(settings.join(name).join("disable_ipv6")) {
        Some(disabled) => disabled == 1,
        None => !Path::new("/proc/net/if_inet6").exists(),
    }
}

/// Whether an interface is the end of a virtual cable, as containers have: no hardware, no tunnel,
/// and nothing of this machine below it.
pub(super) fn is_container_cable(name: &str) -> bool {
    let device = device(name);
    let path = fs::canonicalize(&device).unwrap_or_default();
    let is_virtual = path.components().any(|part| part.as_os_str() == "virtual");
    let mut files = fs::read_dir(&device).into_iter().flatten().flatten();
    let is_other = files.any(|file| {
        let file = file.file_name();
        let file = file.to_string_lossy();
        file.starts_with("lower_") || ["tun_flags", "bridge", "bonding"].contains(&&*file)
    });
    is_virtual && !is_other
}

/// The hosts that were talked to of late on an interface.
pub(super) fn neighbours(name: &str) -> Vec<IpAddr> {
    const MANY: usize = 64;
    let table = fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        let flags = words.nth(1)?;
        (flags != "0x0" && words.last()? == name).then_some(address.into())
    });
    rows.take(MANY).collect()
}

/// The tunnels that are up.
pub(super) fn tunnels() -> Vec<String> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let up = found
        .into_iter()
        .filter(|one| one.is_p2p() && one.oper_status == if_addrs::IfOperStatus::Up);
    let names: BTreeSet<_> = up.map(|one| one.name).collect();
    names.into_iter().collect()
}

/// The programs that hold a UDP port, as far as this process may know.
pub(super) fn holders(port: u16) -> Vec<String> {
    let ending = format!(":{port:04X}");
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(table.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace();
            let local = words.nth(1)?;
            let inode = words.nth(7)?;
            local
                .ends_with(&ending)
                .then(|| format!("socket:[{inode}]"))
        }));
    }
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let holders = processes.filter_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let holds = files.any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            sockets.contains(&*target.to_string_lossy())
        });
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        (holds && pid != own).then(|| format!("{} (process {pid})", name.trim()))
    });
    holders.collect()
}
