//! Sending packets and seeing what comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::host;
use crate::{
    MdnsOptions,
    codec::{Ask, Message, kind},
    engine::{Family, Interface, Port},
    interfaces,
    mapping::Names,
    socket::{Arrival, Link, MAX_PACKET, Sockets},
};

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_millis(1_400);
/// When to ask again: the first question may get lost.
const AGAIN: Duration = Duration::from_millis(400);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) interfaces: Vec<SeenInterface>,
    /// Links that could not be used.
    pub(super) failed: Vec<(String, Family, io::Error)>,
    /// Packets that could not be sent.
    pub(super) unsent: u64,
}

/// What was seen on an interface.
#[derive(Debug)]
pub(super) struct SeenInterface {
    pub(super) interface: Interface,
    pub(super) links: BTreeMap<Family, SeenLink>,
}

/// What was seen by one version of IP.
#[derive(Debug, Default)]
pub(super) struct SeenLink {
    /// Whether the own question to the group came back.
    pub(super) echoed: bool,
    /// Others whose packets to the group, or answers, were heard.
    pub(super) heard: BTreeSet<IpAddr>,
    /// Those who answered to a port other than the shared one.
    pub(super) answered: BTreeSet<IpAddr>,
    /// Those who answered when they were asked directly.
    pub(super) direct: BTreeSet<IpAddr>,
}

impl SeenInterface {
    pub(super) fn heard(&self) -> BTreeSet<IpAddr> {
        let links = self.links.values();
        links
            .flat_map(|link| link.heard.iter().chain(&link.answered).copied())
            .collect()
    }

    pub(super) fn direct(&self) -> BTreeSet<IpAddr> {
        let links = self.links.values();
        links.flat_map(|link| link.direct.clone()).collect()
    }
}

pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The ids of the questions, by which their answers are told apart.
#[derive(Clone, Copy, Debug)]
struct Ids {
    shared: u16,
    multicast: u16,
    direct: u16,
}

/// Asks on every interface, and listens.
pub(super) async fn probe(options: &MdnsOptions) -> Seen {
    let interfaces = interfaces::usable(options).unwrap_or_default();
    let mut sockets = Sockets::new(options.port);
    let mut seen = Seen::default();
    for (link, error) in sockets.follow(&interfaces) {
        let interface = interfaces.iter().find(|one| one.id == link.interface);
        let name = interface.map_or_else(String::new, |one| one.name.clone());
        seen.failed.push((name, link.family, error));
    }
    for interface in interfaces {
        let links = [Family::V4, Family::V6].into_iter().filter(|family| {
            sockets.is_open(Link {
                interface: interface.id,
                family: *family,
            })
        });
        seen.interfaces.push(SeenInterface {
            links: links.map(|family| (family, SeenLink::default())).collect(),
            interface,
        });
    }
    let base = fastrand::u16(1..u16::MAX - 2);
    let ids = Ids {
        shared: base,
        multicast: base + 1,
        direct: base + 2,
    };
    let began = Instant::now();
    seen.ask(&mut sockets, ids, options.port);
    seen.listen(&mut sockets, ids, began + AGAIN).await;
    seen.ask(&mut sockets, ids, options.port);
    seen.listen(&mut sockets, ids, began + PATIENCE).await;
    seen.unsent = sockets.take_losses().unsent;
    seen
}

impl Seen {
    /// Asks everybody from both ports, and whom the system knows as a neighbour directly.
    fn ask(&self, sockets: &mut Sockets, ids: Ids, port: u16) {
        let names = Names::new();
        let question = |id| {
            let mut message = Message::query();
            message.id = id;
            message.questions = [&names.types, &names.service_type]
                .map(|name| Ask::new(name.clone(), kind::PTR))
                .into();
            message.encode().unwrap_or_default()
        };
        for one in &self.interfaces {
            for family in one.links.keys() {
                let link = Link {
                    interface: one.interface.id,
                    family: *family,
                };
                sockets.send_to_group(link, Port::Standing, &question(ids.shared));
                sockets.send_to_group(link, Port::Query, &question(ids.multicast));
                if *family == Family::V4 {
                    for neighbour in host::neighbours(&one.interface.name) {
                        let to = SocketAddr::new(neighbour, port);
                        sockets.send(link, Port::Query, to, &question(ids.direct));
                    }
                }
            }
        }
    }

    async fn listen(&mut self, sockets: &mut Sockets, ids: Ids, until: Instant) {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = poll_fn(|cx| sockets.poll_ready(cx)) => {}
            }
            sockets.flush();
            while let Some(arrival) = sockets.receive(&mut buffer) {
                let payload = buffer.get(..arrival.len).unwrap_or_default();
                if let Ok(message) = Message::decode(payload) {
                    self.take(&arrival, &message, ids);
                }
            }
        }
    }

    fn take(&mut self, arrival: &Arrival, message: &Message, ids: Ids) {
        let source = arrival.source.ip().to_canonical();
        let mut all = self
            .interfaces
            .iter()
            .flat_map(|one| &one.interface.addresses);
        let is_own = all.any(|(address, _)| *address == source);
        let interface = self
            .interfaces
            .iter_mut()
            .find(|one| one.interface.id == arrival.link.interface);
        let link = interface.and_then(|one| one.links.get_mut(&arrival.link.family));
        let Some(link) = link else {
            return;
        };
        match arrival.port {
            Port::Standing if is_own => {
                link.echoed |= !message.response && message.id == ids.shared;
            }
            Port::Standing => drop(link.heard.insert(source)),
            Port::Query if is_own => {}
            Port::Query if message.id == ids.direct => drop(link.direct.insert(source)),
            Port::Query if message.id == ids.multicast => drop(link.answered.insert(source)),
            Port::Query => {}
        }
    }
}
