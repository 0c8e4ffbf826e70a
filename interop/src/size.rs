//! How large a process is, as Linux tells.

use std::{fs, time::Duration};

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// UDP sockets.
    pub(crate) sockets: usize,
    /// Bytes of memory that are its own or mapped and in use.
    pub(crate) resident: u64,
    /// Time of processors since it started.
    pub(crate) processor: Duration,
}

impl Size {
    /// Reads it; none if there is no such process.
    pub(crate) fn of(pid: &str) -> Option<Self> {
        let process = format!("/proc/{pid}");
        Some(Self {
            sockets: sockets(&process)?,
            resident: resident(&process)?,
            processor: processor(&process)?,
        })
    }
}

fn sockets(process: &str) -> Option<usize> {
    let read = |table| fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default();
    let tables = read("udp") + &read("udp6");
    // The tenth column is the inode.
    let inodes = tables
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9));
    let udp: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let files = fs::read_dir(format!("{process}/fd")).ok()?;
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Some(
        links
            .filter(|link| udp.iter().any(|socket| link.as_os_str() == &**socket))
            .count(),
    )
}

fn resident(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// In steps of a hundredth of a second, which is what Linux counts in for everybody to read.
fn processor(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("{process}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}
