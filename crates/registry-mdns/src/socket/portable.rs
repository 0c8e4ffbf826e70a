//! What every system has: a socket for each interface.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use socket2::{SockRef, Socket};
use tokio::net::UdpSocket;

use super::link::{Datagram, Link, Source};

/// How many interfaces a socket can serve: only so does it tell them apart.
pub(super) const INTERFACES: usize = 1;

/// Whether each packet tells where it was sent to.
pub(crate) const KNOWS_DESTINATIONS: bool = false;

/// Has packets to the group leave by the interface.
pub(super) fn prepare(socket: &Socket, link: Link, source: Source) -> io::Result<()> {
    match source {
        IpAddr::V4(v4) => socket.set_multicast_if_v4(&v4),
        IpAddr::V6(_) => socket.set_multicast_if_v6(link.interface),
    }
}

pub(super) fn join_v4(
    socket: &SockRef<'_>,
    group: Ipv4Addr,
    _interface: u32,
    source: Ipv4Addr,
) -> io::Result<()> {
    socket.join_multicast_v4(&group, &source)
}

pub(super) fn leave_v4(
    socket: &SockRef<'_>,
    group: Ipv4Addr,
    _interface: u32,
    source: Ipv4Addr,
) -> io::Result<()> {
    socket.leave_multicast_v4(&group, &source)
}

pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let (len, source) = socket.try_recv_from(buffer)?;
    Ok(Datagram {
        len,
        source,
        destination: None,
        interface: None,
        overflowed: None,
    })
}

pub(super) fn send(
    socket: &UdpSocket,
    payload: &[u8],
    to: SocketAddr,
    _link: Link,
    _source: &Source,
) -> io::Result<()> {
    socket.try_send_to(payload, to).map(drop)
}
