//! Networks of namespaces.

use std::{
    io::ErrorKind,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::time::Instant;

use crate::Outcome;

/// Begins the name of every namespace made here; the process id follows.
const PREFIX: &str = "vine-interop-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A host: a network namespace with loopback, removed when dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) namespace: String,
}

/// Checks that namespaces can be made, and removes what a killed run has left.
pub(crate) fn check() -> Outcome {
    match Command::new("ip").arg("-Version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("the program ip is missing: apt-get install iproute2".to_owned());
        }
        Err(error) => return Err(format!("can't run ip: {error}")),
        Ok(_) => {}
    }
    if !geteuid().is_root() {
        return Err("only root can make network namespaces: run it with sudo".to_owned());
    }
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner
            && !std::path::Path::new("/proc").join(pid).exists()
        {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

/// Runs `ip`.
pub(crate) fn ip(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("can't run ip: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Host {
    /// A host without a network; only loopback is up.
    pub(crate) fn new() -> Outcome<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = Self {
            namespace: format!("{PREFIX}{}-{number}", process::id()),
        };
        ip(&["netns", "add", &host.namespace])?;
        // Duplicate address detection would keep IPv6 down for its first second or two.
        host.write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")?;
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Runs `ip` for this host.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Outcome<String> {
        ip(&[&["-n", &*self.namespace], arguments].concat())
    }

    /// Writes a kernel setting of this host, where the kernel has it.
    fn write(&self, file: &str, value: &str) -> Outcome {
        let script = format!("test ! -e {file} || echo {value} > {file}");
        ip(&["netns", "exec", &self.namespace, "sh", "-c", &script]).map(drop)
    }

    /// Gives an interface its address and turns it on.
    pub(crate) fn configure(&self, interface: &str, address: &str) -> Outcome {
        self.ip(&["addr", "add", address, "dev", interface])?;
        self.ip(&["link", "set", interface, "up"]).map(drop)
    }

    /// Joins this host with another one by a cable.
    pub(crate) fn cable(
        &self,
        (interface, address): (&str, &str),
        other: &Self,
        (its_interface, its_address): (&str, &str),
    ) -> Outcome {
        let (here, there) = (&*self.namespace, &*other.namespace);
        ip(&[
            "link",
            "add",
            interface,
            "netns",
            here,
            "type",
            "veth",
            "peer",
            "name",
            its_interface,
            "netns",
            there,
        ])?;
        self.configure(interface, address)?;
        other.configure(its_interface, its_address)?;
        self.wait_for(interface)?;
        other.wait_for(its_interface)
    }

    /// Joins hosts by a switch, each by its `eth0` and an address; gives the switch.
    pub(crate) fn switch(hosts: &[(&Self, &str)]) -> Outcome<Self> {
        let switch = Self::new()?;
        switch.ip(&["link", "add", "br0", "type", "bridge"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        for (number, (host, address)) in hosts.iter().enumerate() {
            let port = format!("port{number}");
            let (there, here) = (&*host.namespace, &*switch.namespace);
            ip(&[
                "link", "add", "eth0", "netns", there, "type", "veth", "peer", "name", &port,
                "netns", here,
            ])?;
            switch.ip(&["link", "set", &port, "master", "br0", "up"])?;
            host.configure("eth0", address)?;
        }
        for (host, _) in hosts {
            host.wait_for("eth0")?;
        }
        Ok(switch)
    }

    /// Cuts a port of this switch off from the others; the host on it keeps its carrier, as behind a
    /// switch of its own.
    pub(crate) fn cut(&self, port: usize) -> Outcome {
        self.ip(&["link", "set", &format!("port{port}"), "nomaster"])
            .map(drop)
    }

    /// Joins a port of this switch with the others again.
    pub(crate) fn join(&self, port: usize) -> Outcome {
        self.ip(&["link", "set", &format!("port{port}"), "master", "br0"])
            .map(drop)
    }

    /// Turns an interface off.
    pub(crate) fn down(&self, interface: &str) -> Outcome {
        self.ip(&["link", "set", interface, "down"]).map(drop)
    }

    /// Turns an interface on again.
    pub(crate) fn up(&self, interface: &str) -> Outcome {
        self.ip(&["link", "set", interface, "up"]).map(drop)
    }

    /// Makes this switch count what it takes in of mDNS.
    pub(crate) fn count_mdns(&self) -> Outcome {
        self.nft(
            "table bridge wire { counter mdns { }; chain count { \
            type filter hook prerouting priority 0; \
            udp dport 5353 counter name mdns accept; udp sport 5353 counter name mdns; }; }",
        )
        .map(drop)
    }

    /// The packets and bytes of mDNS, IP headers included, that this switch has counted.
    pub(crate) fn mdns_counted(&self) -> Outcome<(u64, u64)> {
        let listed = self.nft("list counters")?;
        let after = |word: &str| -> Option<u64> {
            let mut words = listed.split_whitespace().skip_while(|other| *other != word);
            words.nth(1)?.parse().ok()
        };
        let counted = after("packets").zip(after("bytes"));
        counted.ok_or_else(|| format!("no counter in {listed:?}"))
    }

    /// Runs `nft` for this host.
    fn nft(&self, rules: &str) -> Outcome<String> {
        ip(&["netns", "exec", &self.namespace, "nft", rules])
    }

    /// Lets nothing in but what comes to UDP port 5353, and what the host says to itself.
    pub(crate) fn firewall(&self) -> Outcome {
        let rules = "table inet firewall { chain input { \
            type filter hook input priority 0; policy drop; \
            iif lo accept; udp dport 5353 accept; \
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }; }";
        self.nft(rules).map(drop)
    }

    /// Turns IPv6 off, as some operators do.
    pub(crate) fn disable_ipv6(&self) -> Outcome {
        for which in ["all", "default"] {
            let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            self.write(&file, "1")?;
        }
        Ok(())
    }

    /// Waits until the kernel says that an interface works: it thinks about that for up to a second.
    fn wait_for(&self, interface: &str) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(100);
        while Instant::now() < deadline {
            let state = self.ip(&["-oneline", "link", "show", "dev", interface])?;
            if state.contains("state UP") {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{interface} does not come up"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.namespace]) {
            eprintln!("{error}");
        }
    }
}
