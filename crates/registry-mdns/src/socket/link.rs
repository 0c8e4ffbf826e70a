use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::{Arrival, platform};
use crate::{
    engine::{Family, Interface, Port},
    interfaces,
};

/// RFC 6762 section 3.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Asked for; the system gives what it allows, on Linux usually 208 KiB.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Section 11: packets are sent with 255, which no router leaves.
const TTL: u32 = 255;

/// One version of IP on one interface: all that mDNS ever reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Link {
    pub(crate) interface: u32,
    pub(crate) family: Family,
}

/// The address that packets on a link are sent from.
pub(super) type Source = IpAddr;

impl Link {
    /// The link of an interface that an address belongs to.
    pub(crate) fn new(interface: u32, address: IpAddr) -> Self {
        Self {
            interface,
            family: Family::of(address),
        }
    }

    /// The links of an interface, with the address to send from.
    pub(super) fn of(interface: &Interface) -> impl Iterator<Item = (Self, Source)> {
        [Family::V4, Family::V6].into_iter().filter_map(|family| {
            let link = Self {
                interface: interface.id,
                family,
            };
            Some((link, interfaces::source(interface, family)?))
        })
    }

    /// Where everybody on the link listens.
    pub(super) fn group(self, port: u16) -> SocketAddr {
        match self.family {
            Family::V4 => (GROUP_V4, port).into(),
            Family::V6 => SocketAddrV6::new(GROUP_V6, port, 0, self.interface).into(),
        }
    }

    /// An address of this host on the link.
    fn local(self, address: Source, port: u16) -> SocketAddr {
        match address {
            IpAddr::V4(v4) => (v4, port).into(),
            IpAddr::V6(v6) => {
                let scope = if v6.is_unicast_link_local() {
                    self.interface
                } else {
                    0
                };
                SocketAddrV6::new(v6, port, 0, scope).into()
            }
        }
    }
}

/// Whether the system knows a way to the group; Linux has none for IPv6 on loopback.
pub(super) fn check_route(link: Link, source: Source, port: u16) -> io::Result<()> {
    let socket = new_socket(link.family)?;
    platform::prepare(&socket, link, source)?;
    socket.bind(&link.local(source, 0).into())?;
    socket.connect(&link.group(port).into())
}

fn new_socket(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match family {
        Family::V4 => {
            socket.set_multicast_ttl_v4(TTL)?;
            socket.set_ttl_v4(TTL)?;
        }
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(TTL)?;
            socket.set_unicast_hops_v6(TTL)?;
        }
    }
    Ok(socket)
}

/// A socket that is bound to a port.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) io: UdpSocket,
    pub(super) port: Port,
    family: Family,
    /// The interfaces it serves.
    interfaces: Vec<u32>,
    /// Packets that the system dropped since the socket was made, and how many were told of.
    overflowed: u32,
    told: u32,
}

impl Bound {
    /// A socket on the port that all mDNS programs share.
    pub(super) fn standing(link: Link, source: Source, port: u16) -> io::Result<Self> {
        let socket = new_socket(link.family)?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        let any: SocketAddr = match link.family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        };
        Self::bind(&socket, link, source, any)?;
        Self::new(socket, link.family, Port::Standing)
    }

    /// A socket on a port of its own.
    pub(super) fn query(link: Link, source: Source) -> io::Result<Self> {
        let socket = new_socket(link.family)?;
        Self::bind(&socket, link, source, link.local(source, 0))?;
        let mut bound = Self::new(socket, link.family, Port::Query)?;
        bound.interfaces.push(link.interface);
        Ok(bound)
    }

    fn bind(socket: &Socket, link: Link, source: Source, to: SocketAddr) -> io::Result<()> {
        platform::prepare(socket, link, source)?;
        if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
            tracing::debug!(%error, "the receive buffer stays as it is");
        }
        socket.bind(&to.into())
    }

    fn new(socket: Socket, family: Family, port: Port) -> io::Result<Self> {
        Ok(Self {
            io: UdpSocket::from_std(socket.into())?,
            port,
            family,
            interfaces: Vec::new(),
            overflowed: 0,
            told: 0,
        })
    }

    pub(super) fn serves(&self, link: Link) -> bool {
        self.family == link.family && self.interfaces.contains(&link.interface)
    }

    pub(super) fn has_room(&self, family: Family) -> bool {
        self.port == Port::Standing
            && self.family == family
            && self.interfaces.len() < platform::INTERFACES
    }

    pub(super) fn is_used(&self) -> bool {
        !self.interfaces.is_empty()
    }

    pub(super) fn join(&mut self, link: Link, source: Source) -> io::Result<()> {
        let socket = SockRef::from(&self.io);
        match source {
            IpAddr::V4(v4) => platform::join_v4(&socket, GROUP_V4, link.interface, v4)?,
            IpAddr::V6(_) => socket.join_multicast_v6(&GROUP_V6, link.interface)?,
        }
        self.interfaces.push(link.interface);
        Ok(())
    }

    /// Forgets a link. That the system has forgotten it already, with the interface, is fine.
    pub(super) fn leave(&mut self, link: Link, source: Option<Source>) {
        self.interfaces.retain(|index| *index != link.interface);
        let socket = SockRef::from(&self.io);
        let left = match source.filter(|_| self.port == Port::Standing) {
            Some(IpAddr::V4(v4)) => platform::leave_v4(&socket, GROUP_V4, link.interface, v4),
            Some(IpAddr::V6(_)) => socket.leave_multicast_v6(&GROUP_V6, link.interface),
            None => Ok(()),
        };
        if let Err(error) = left {
            tracing::trace!(%error, ?link, "the group was left already");
        }
    }

    /// How many packets got lost since the last call for want of room.
    pub(super) fn take_overflowed(&mut self) -> u64 {
        let new = self.overflowed.wrapping_sub(self.told);
        self.told = self.overflowed;
        new.into()
    }

    /// Reads the next packet that came by a link that is in use.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        links: &BTreeMap<Link, Source>,
    ) -> Option<Arrival> {
        loop {
            let datagram = match platform::receive(&self.io, buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // Windows and BSD report here that an earlier packet was not welcome.
                Err(error) => {
                    tracing::debug!(%error, "can't receive");
                    return None;
                }
            };
            self.overflowed = datagram.overflowed.unwrap_or(self.overflowed);
            if let Some(link) = self.link(&datagram, links) {
                return Some(Arrival {
                    link,
                    port: self.port,
                    source: datagram.source,
                    multicast: match datagram.destination {
                        Some(destination) => destination.is_multicast(),
                        None => self.port == Port::Standing,
                    },
                    len: datagram.len,
                });
            }
        }
    }

    /// The link that a packet came by. One from this very host may be said to have come by
    /// loopback, whatever interface it was sent to: then the address tells.
    fn link(&self, datagram: &Datagram, links: &BTreeMap<Link, Source>) -> Option<Link> {
        let on = |interface| Link {
            interface,
            family: self.family,
        };
        match datagram.interface {
            Some(interface) if self.port == Port::Standing => {
                let by_address = || {
                    let mut all = self.interfaces.iter().map(|index| on(*index));
                    all.find(|link| links.get(link) == datagram.destination.as_ref())
                };
                let link = Some(on(interface)).filter(|link| links.contains_key(link));
                link.or_else(by_address)
            }
            _ => self.interfaces.first().map(|index| on(*index)),
        }
    }
}

/// A packet as the system hands it over.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) len: usize,
    pub(super) source: SocketAddr,
    /// Where it was sent to, and what it came by, where the system tells.
    pub(super) destination: Option<IpAddr>,
    pub(super) interface: Option<u32>,
    /// How many packets the system has dropped since the socket was made.
    pub(super) overflowed: Option<u32>,
}
