//! What must be no more after a fault than before it.

use std::{collections::HashSet, fs};

use tokio::runtime::Handle;
use vine_etcd_harness::{Cluster, Proxy};

/// What a world uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) leases: usize,
    /// Tasks of this runtime, but those that carry a connection.
    pub(crate) tasks: usize,
    /// Sockets of this process to the proxies.
    pub(crate) sockets: usize,
}

impl Usage {
    pub(crate) async fn now(cluster: &Cluster, proxies: &[Proxy]) -> Self {
        Self {
            leases: cluster.client().leases().await.len(),
            tasks: tasks(proxies),
            sockets: sockets(proxies),
        }
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.leases <= other.leases && self.tasks <= other.tasks && self.sockets <= other.sockets
    }
}

/// Each connection has a task in the proxy and one in its client.
fn tasks(proxies: &[Proxy]) -> usize {
    let open: u64 = proxies.iter().map(|proxy| proxy.counts().open).sum();
    let all = Handle::current().metrics().num_alive_tasks();
    all.saturating_sub(2 * usize::try_from(open).expect("few"))
}

/// Counts file handles of this process that are sockets to a proxy, whatever their state.
/// Source: proc(5), /proc/net/tcp.
pub(crate) fn sockets(proxies: &[Proxy]) -> usize {
    let inodes: HashSet<String> = fs::read_dir("/proc/self/fd")
        .expect("this is Linux")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let ports: HashSet<String> = proxies
        .iter()
        .filter_map(|proxy| proxy.addr().rsplit_once(':')?.1.parse::<u16>().ok())
        .map(|port| format!(":{port:04X}"))
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").expect("this is Linux");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| {
            let remote = columns
                .get(2)
                .is_some_and(|remote| ports.contains(&remote[8..]));
            remote && columns.get(9).is_some_and(|inode| inodes.contains(*inode))
        })
        .count()
}
