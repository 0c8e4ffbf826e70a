//! What goes in and out of the engine: packets, and the interfaces that they travel by.

use std::net::{IpAddr, SocketAddr};

/// A network interface that the engine may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The system's index of it.
    pub id: u32,
    /// Its name; it stands in the zone of link-local addresses.
    pub name: String,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What kind of link it is.
    pub kind: LinkKind,
}

/// What kind of link an interface is on. It decides how long answers are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// Only this host.
    Loopback,
    /// Ethernet and the like.
    Wired,
    /// Answers take longer and get lost more often.
    Wireless,
    /// A tunnel: the other end need not share a prefix.
    PointToPoint,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, group 224.0.0.251.
    V4,
    /// IPv6, group ff02::fb.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Which of the driver's sockets a packet comes in by or leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// The socket on the mDNS port, one for each family.
    Standing,
    /// The socket on a port of its own, one for each interface and family: one-shot questions
    /// (RFC 6762 section 5.1) leave from it, and their answers arrive there.
    Query,
}

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The UDP payload.
    pub payload: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// The interface that it arrived on.
    pub interface: u32,
    /// The socket that it arrived at.
    pub port: Port,
    /// Whether it was sent to the multicast group.
    pub multicast: bool,
}

/// A packet to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// The interface to send it on.
    pub interface: u32,
    /// The family to send it by.
    pub family: Family,
    /// The socket to send it from.
    pub port: Port,
    /// Where to.
    pub to: Destination,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The multicast group of its family, on the mDNS port.
    Multicast,
    /// One host.
    Unicast(SocketAddr),
}
