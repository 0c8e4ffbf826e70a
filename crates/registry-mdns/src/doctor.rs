//! Why services are not found by mDNS on this machine.
//!
//! [`examine`] looks for two seconds at what usually goes wrong: interfaces, the shared port,
//! packets that do not come back, services that are told where nobody looks. It registers nothing.
//!
//! ```no_run
//! use vine_registry::Options;
//! use vine_registry_mdns::{MdnsOptions, doctor};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine_registry::Result<()> {
//! let report = doctor::examine(&Options::new(), &MdnsOptions::new()).await?;
//! for finding in &report.findings {
//!     println!("{}: {}; {}", finding.cause, finding.message, finding.remedy);
//! }
//! # Ok(())
//! # }
//! ```

#[cfg_attr(target_os = "linux", path = "doctor/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "doctor/portable.rs")]
mod host;
mod judge;
mod probe;
mod services;

use std::fmt;

use serde::Serialize;
use vine_registry::{Options, Result};

use crate::{Dialect, MdnsOptions};

/// What was seen, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether no cause was found.
    pub ok: bool,
    /// The UDP port.
    pub port: u16,
    /// What is spoken.
    pub dialect: Dialect,
    /// The namespace that services are looked for in.
    pub namespace: String,
    /// The interfaces that are used.
    pub interfaces: Vec<InterfaceReport>,
    /// How many services are seen in that namespace.
    pub services: usize,
    /// Why something does not work.
    pub findings: Vec<Finding>,
    /// What may be as it should be, or not: there is no telling from here.
    pub notes: Vec<Finding>,
}

/// What was seen on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether packets that are sent there come back to their sender, as they should; by IP version,
    /// for instance `IPv4`.
    pub echoes: Vec<Echo>,
    /// Other hosts that were heard there.
    pub heard: Vec<String>,
}

/// Whether packets to the multicast group come back to their sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Echo {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Whether they do.
    pub heard: bool,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// Where: an interface, a port, a namespace.
    pub subject: String,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Why mDNS does not work, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// No interface is up that can multicast.
    NoInterface,
    /// Another program has the port for itself.
    PortTaken,
    /// An interface can't be used for another reason.
    Unusable,
    /// Packets can't leave, or don't come in: a firewall of this machine.
    Firewall,
    /// Packets leave, and a tunnel is up that may keep them from where they should go.
    Vpn,
    /// Packets leave by the virtual cable of a container, whose bridge does not lead to other hosts.
    ContainerBridge,
    /// Packets leave, but the network does not pass them on.
    MulticastBlocked,
    /// IPv6 is turned off.
    Ipv6Off,
    /// Services are told in other namespaces.
    Namespace,
    /// Services are told in another dialect, or another domain of it.
    Dialect,
    /// Services are told that no known key has signed.
    Key,
    /// Nobody else is heard.
    Alone,
}

impl fmt::Display for Cause {
    /// As in JSON, for instance `port-taken`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInterface => "no-interface",
            Self::PortTaken => "port-taken",
            Self::Unusable => "unusable",
            Self::Firewall => "firewall",
            Self::Vpn => "vpn",
            Self::ContainerBridge => "container-bridge",
            Self::MulticastBlocked => "multicast-blocked",
            Self::Ipv6Off => "ipv6-off",
            Self::Namespace => "namespace",
            Self::Dialect => "dialect",
            Self::Key => "key",
            Self::Alone => "alone",
        })
    }
}

/// Looks for what keeps services from being found with these options; takes two seconds, and has to
/// be within a tokio runtime.
///
/// # Errors
/// [`Error::InvalidOption`](vine_registry::Error::InvalidOption) when the options contradict each
/// other.
pub async fn examine(options: &Options, mdns: &MdnsOptions) -> Result<Report> {
    mdns.check()?;
    let (seen, services) = tokio::join!(probe::probe(mdns), services::list(options, mdns));
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    judge::interfaces(mdns, &seen, &mut findings);
    judge::paths(mdns, &seen, &mut findings, &mut notes);
    let services = services?;
    services.judge(options, mdns, &mut findings);
    let interfaces = seen.interfaces.iter().map(|one| InterfaceReport {
        name: one.interface.name.clone(),
        addresses: one
            .interface
            .addresses
            .iter()
            .map(|(address, _)| address.to_string())
            .collect(),
        echoes: one
            .links
            .iter()
            .map(|(family, link)| Echo {
                family: probe::name(*family),
                heard: link.echoed,
            })
            .collect(),
        heard: one.heard().iter().map(ToString::to_string).collect(),
    });
    Ok(Report {
        ok: findings.is_empty(),
        port: mdns.port,
        dialect: mdns.dialect,
        namespace: options.namespace.to_string(),
        interfaces: interfaces.collect(),
        services: services.own(options),
        findings,
        notes,
    })
}
