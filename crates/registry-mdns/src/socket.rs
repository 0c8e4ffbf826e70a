//! Multicast sockets: standing ones on the port that every mDNS program shares, and one on each
//! link with a port of its own, for questions whose answers are to come straight back (RFC 6762
//! sections 5.1, 6.7 and 15.1).

mod inbox;
mod link;
#[cfg(target_os = "linux")]
#[path = "socket/linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "socket/portable.rs"]
mod platform;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use inbox::Inbox;
pub(crate) use link::Link;
use link::{Bound, Source};
pub(crate) use platform::KNOWS_DESTINATIONS;

use crate::engine::{Interface, Port};

/// The largest packet there may be: RFC 6762 section 17.
pub(crate) const MAX_PACKET: usize = 9000;

/// Packets that may wait for a full socket to take them.
const MAX_WAITING: usize = 1024;

/// Where a packet came from, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) link: Link,
    pub(crate) port: Port,
    pub(crate) source: SocketAddr,
    /// Whether it was sent to the group and not to this host alone.
    pub(crate) multicast: bool,
    /// Its length.
    pub(crate) len: usize,
}

/// What happened to packets that did not get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Arrived while a receive buffer was full.
    pub(crate) overflowed: u64,
    /// Could not be sent.
    pub(crate) unsent: u64,
}

/// Every socket of a registry.
#[derive(Debug)]
pub(crate) struct Sockets {
    port: u16,
    links: BTreeMap<Link, Source>,
    /// Few: with the usual handful of interfaces a search is quicker than any index.
    sockets: Vec<Bound>,
    inbox: Inbox,
    waiting: VecDeque<Waiting>,
    losses: Losses,
}

#[derive(Debug)]
struct Waiting {
    link: Link,
    port: Port,
    to: SocketAddr,
    payload: Vec<u8>,
}

impl Sockets {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            links: BTreeMap::new(),
            sockets: Vec::new(),
            inbox: Inbox::default(),
            waiting: VecDeque::new(),
            losses: Losses::default(),
        }
    }

    /// Opens what is missing and closes what is gone. Gives what could not be opened; that is
    /// tried again by the next call.
    pub(crate) fn follow(&mut self, interfaces: &[Interface]) -> Vec<(Link, io::Error)> {
        let wanted: BTreeMap<_, _> = interfaces.iter().flat_map(Link::of).collect();
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(link, source)| wanted.get(link) != Some(source))
            .map(|(link, _)| *link)
            .collect();
        for link in gone {
            self.close(link);
        }
        let mut failed = Vec::new();
        for (link, source) in wanted {
            if self.links.contains_key(&link) {
                continue;
            }
            if let Err(error) = self.open(link, source) {
                failed.push((link, error));
            }
        }
        failed
    }

    /// Whether packets can be sent and received there.
    pub(crate) fn is_open(&self, link: Link) -> bool {
        self.links.contains_key(&link)
    }

    /// Counts what got lost since the last call.
    pub(crate) fn take_losses(&mut self) -> Losses {
        for socket in &mut self.sockets {
            self.losses.overflowed += socket.take_overflowed();
        }
        std::mem::take(&mut self.losses)
    }

    /// Waits until there is something to read, or room for what waits to be sent.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.inbox.is_empty() {
            return Poll::Ready(());
        }
        let mut ready = Poll::Pending;
        for socket in &self.sockets {
            if socket.io.poll_recv_ready(cx).is_ready() {
                ready = Poll::Ready(());
            }
        }
        if let Some(waiting) = self.waiting.front()
            && let Some(socket) = self.find(waiting.link, waiting.port)
            && socket.io.poll_send_ready(cx).is_ready()
        {
            ready = Poll::Ready(());
        }
        ready
    }

    /// Takes one packet, if there is any.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Option<Arrival> {
        if self.inbox.is_due() {
            self.read(buffer);
            self.inbox.begin_turn();
        }
        self.inbox.pop(buffer)
    }

    /// Reads what the sockets have, a packet of each in turn.
    fn read(&mut self, buffer: &mut [u8]) {
        let mut is_dry = false;
        while !is_dry && !self.inbox.is_full() {
            is_dry = true;
            for socket in &mut self.sockets {
                if let Some(arrival) = socket.receive(buffer, &self.links)
                    && let Some(payload) = buffer.get(..arrival.len)
                {
                    self.inbox.push(arrival, payload);
                    is_dry = false;
                }
            }
        }
    }

    /// Sends a packet to the group of a link.
    pub(crate) fn send_to_group(&mut self, link: Link, port: Port, payload: &[u8]) {
        self.send(link, port, link.group(self.port), payload);
    }

    /// Sends a packet, or keeps it until there is room for it.
    pub(crate) fn send(&mut self, link: Link, port: Port, to: SocketAddr, payload: &[u8]) {
        if self.waiting.is_empty() && self.try_send(link, port, to, payload) {
            return;
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Waiting {
                link,
                port,
                to,
                payload: payload.to_vec(),
            });
        } else {
            self.losses.unsent += 1;
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(packet) = self.waiting.pop_front() {
            if !self.try_send(packet.link, packet.port, packet.to, &packet.payload) {
                self.waiting.push_front(packet);
                return;
            }
        }
    }

    /// Whether everything was sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the packet needs no more care: sent, or hopeless.
    fn try_send(&mut self, link: Link, port: Port, to: SocketAddr, payload: &[u8]) -> bool {
        let sent = match (self.links.get(&link), self.find(link, port)) {
            (Some(source), Some(socket)) => platform::send(&socket.io, payload, to, link, source),
            _ => return true,
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                tracing::debug!(%error, ?link, %to, "can't send");
                self.losses.unsent += 1;
            }
            Ok(()) => {}
        }
        true
    }

    fn find(&self, link: Link, port: Port) -> Option<&Bound> {
        self.sockets
            .iter()
            .find(|socket| socket.port == port && socket.serves(link))
    }

    fn open(&mut self, link: Link, source: Source) -> io::Result<()> {
        link::check_route(link, source, self.port)?;
        self.serve(link, source)
    }

    /// Joins last: a socket that many links share keeps a membership that nobody knows of, and takes
    /// no second one.
    fn serve(&mut self, link: Link, source: Source) -> io::Result<()> {
        let query = Bound::query(link, source)?;
        let room = |socket: &&mut Bound| socket.has_room(link.family);
        if let Some(socket) = self.sockets.iter_mut().find(room) {
            socket.join(link, source)?;
        } else {
            let mut socket = Bound::standing(link, source, self.port)?;
            socket.join(link, source)?;
            self.sockets.push(socket);
        }
        self.sockets.push(query);
        self.links.insert(link, source);
        Ok(())
    }

    fn close(&mut self, link: Link) {
        let source = self.links.remove(&link);
        for socket in &mut self.sockets {
            if socket.serves(link) {
                socket.leave(link, source);
                self.losses.overflowed += socket.take_overflowed();
            }
        }
        self.sockets.retain(Bound::is_used);
    }
}

#[cfg(test)]
mod tests;
