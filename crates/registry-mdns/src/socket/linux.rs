//! What Linux has of its own: one socket for many interfaces, each packet telling its own.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{InterfaceIndexOrAddress, SockRef, Socket};
use tokio::{io::Interest, net::UdpSocket};

use super::link::{Datagram, Link, Source};
use crate::engine::Family;

/// How many interfaces a socket can serve: the kernel's igmp_max_memberships, unless set.
pub(super) const INTERFACES: usize = 20;

/// Whether each packet tells where it was sent to.
pub(crate) const KNOWS_DESTINATIONS: bool = true;

/// Has each packet tell its interface, and lets in no group that another program joined.
pub(super) fn prepare(socket: &Socket, link: Link, _source: Source) -> io::Result<()> {
    match link.family {
        Family::V4 => {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            socket.set_multicast_all_v4(false)?;
        }
        Family::V6 => {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_multicast_all_v6(false)?;
        }
    }
    Ok(setsockopt(socket, sockopt::RxqOvfl, &1)?)
}

pub(super) fn join_v4(
    socket: &SockRef<'_>,
    group: Ipv4Addr,
    interface: u32,
    _source: Ipv4Addr,
) -> io::Result<()> {
    socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
}

pub(super) fn leave_v4(
    socket: &SockRef<'_>,
    group: Ipv4Addr,
    interface: u32,
    _source: Ipv4Addr,
) -> io::Result<()> {
    socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
}

/// Asks the system whatever the runtime believes, which looks for new packets only between tasks: in a
/// burst they come faster than that.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    match receive_now(socket, buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            socket.try_io(Interest::READABLE, || receive_now(socket, buffer))
        }
        received => received,
    }
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = cmsg_space!(in6_pktinfo, u32);
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match received {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let source = message.address.as_ref().and_then(socket_addr);
        let mut datagram = Datagram {
            len: message.bytes,
            source: source.ok_or(io::ErrorKind::InvalidData)?,
            destination: None,
            interface: None,
            overflowed: None,
        };
        for control in message.cmsgs()? {
            datagram.take(&control);
        }
        return Ok(datagram);
    }
}

impl Datagram {
    fn take(&mut self, control: &ControlMessageOwned) {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                self.destination = Some(address.into());
                self.interface = u32::try_from(info.ipi_ifindex).ok();
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                self.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                self.interface = Some(info.ipi6_ifindex);
            }
            ControlMessageOwned::RxqOvfl(count) => self.overflowed = Some(*count),
            _ => {}
        }
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || Some(SocketAddrV4::from(*address.as_sockaddr_in()?).into());
    let v6 = || Some(SocketAddrV6::from(*address.as_sockaddr_in6()?).into());
    v4().or_else(v6)
}

pub(super) fn send(
    socket: &UdpSocket,
    payload: &[u8],
    to: SocketAddr,
    link: Link,
    source: &Source,
) -> io::Result<()> {
    let (v4, v6);
    let control = match source {
        IpAddr::V4(source) => {
            v4 = in_pktinfo {
                ipi_ifindex: link.interface.cast_signed(),
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(source.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(source) => {
            v6 = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: source.octets(),
                },
                ipi6_ifindex: link.interface,
            };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let parts = [IoSlice::new(payload)];
    let to = SockaddrStorage::from(to);
    // Not by way of the runtime, which lets nothing through before it has polled a new socket.
    let flags = MsgFlags::MSG_DONTWAIT;
    match sendmsg(socket.as_raw_fd(), &parts, &[control], flags, Some(&to)) {
        Ok(_) => Ok(()),
        // Says to the runtime that the socket is full.
        Err(Errno::EAGAIN) => socket.try_io(Interest::WRITABLE, || Err(Errno::EAGAIN.into())),
        Err(errno) => Err(errno.into()),
    }
}
