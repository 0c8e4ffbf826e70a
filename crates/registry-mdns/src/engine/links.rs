//! The links that packets travel by: an interface and an IP version each.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Family, Interface, LinkKind, own::Answer, timers::Alarm};

/// An interface and an IP version.
pub(super) type LinkId = (u32, Family);

/// The interfaces and what goes on there.
#[derive(Debug, Default)]
pub(super) struct Links {
    interfaces: Vec<Interface>,
    links: Vec<Link>,
    /// Whether there has ever been one that leads to other hosts, and one that does not.
    had_network: bool,
    had_loopback: bool,
}

/// What goes on on a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) kind: LinkKind,
    pub(super) delays: Delays,
    /// Answers that wait to be multicast, and until when.
    pub(super) pending: HashMap<Answer, Instant>,
    /// When own records were multicast last.
    pub(super) sent: HashMap<Answer, Instant>,
    pub(super) alarm: Alarm,
}

impl Links {
    /// Takes the new interfaces over; what is known of links that stay is kept. Tells whether
    /// there is anything new on them.
    pub(super) fn replace(&mut self, interfaces: Vec<Interface>) -> bool {
        let is_new = interfaces
            .iter()
            .any(|interface| !self.interfaces.contains(interface));
        let mut old = std::mem::take(&mut self.links);
        for interface in &interfaces {
            for family in [Family::V4, Family::V6] {
                let has = |(address, _): &(IpAddr, u8)| Family::of(*address) == family;
                if !interface.addresses.iter().any(has) {
                    continue;
                }
                let id = (interface.id, family);
                let known = old
                    .iter()
                    .position(|link| link.id == id && link.kind == interface.kind);
                let link = known.map(|at| old.swap_remove(at));
                self.links
                    .push(link.unwrap_or_else(|| Link::new(id, interface.kind)));
            }
        }
        self.interfaces = interfaces;
        self.had_network |= self.has_network();
        self.had_loopback |= self.loopback().is_some();
        is_new
    }

    /// Whether a link leads to other hosts.
    pub(super) fn has_network(&self) -> bool {
        let mut links = self.links.iter();
        links.any(|link| link.kind != LinkKind::Loopback)
    }

    /// The interface that leads nowhere.
    pub(super) fn loopback(&self) -> Option<u32> {
        let mut links = self.links.iter();
        let loopback = links.find(|link| link.kind == LinkKind::Loopback);
        loopback.map(|link| link.id.0)
    }

    pub(super) fn had_network(&self) -> bool {
        self.had_network
    }

    pub(super) fn had_loopback(&self) -> bool {
        self.had_loopback
    }

    /// Whether there was more than there is: other hosts, or anything at all.
    pub(super) fn is_cut_off(&self) -> bool {
        self.links.is_empty() || self.had_network && !self.has_network()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut()
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.links.iter().map(|link| link.id).collect()
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    pub(super) fn interface(&self, id: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }

    /// The longest of the links' quiet times.
    pub(super) fn quiet(&self) -> Duration {
        let quiet = self.links.iter().map(Link::quiet);
        quiet.max().unwrap_or_default()
    }

    /// The addresses of this host, the best ones first.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let all = self.interfaces.iter().flat_map(|i| &i.addresses);
        let mut addresses: Vec<_> = all.map(|(address, _)| *address).collect();
        addresses.sort_by_key(|address| {
            let is_link_local = match address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            (address.is_loopback(), is_link_local, *address)
        });
        addresses.dedup();
        addresses
    }

    /// Whether this host has the address.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        let mut all = self.interfaces.iter().flat_map(|i| &i.addresses);
        all.any(|(own, _)| *own == address)
    }

    /// Whether a host with this address can be on the link of the interface (RFC 6762 section 11).
    pub(super) fn is_on_link(&self, interface: u32, address: IpAddr) -> bool {
        let Some(interface) = self.interface(interface) else {
            return false;
        };
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        link_local
            || interface.kind == LinkKind::PointToPoint
            || self.is_own(address)
            || interface
                .addresses
                .iter()
                .any(|(own, len)| shares_prefix(*own, address, *len))
    }
}

impl Link {
    fn new(id: LinkId, kind: LinkKind) -> Self {
        Self {
            id,
            kind,
            delays: Delays::default(),
            pending: HashMap::new(),
            sent: HashMap::new(),
            alarm: Alarm::default(),
        }
    }

    /// How long nothing new must come before nothing new is to be expected.
    pub(super) fn quiet(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(15);
        match (self.kind, self.delays.expected()) {
            (LinkKind::Loopback, _) => LEAST,
            (LinkKind::Wireless, None) => Duration::from_millis(300),
            (_, None) => Duration::from_millis(100),
            (LinkKind::Wireless, Some(expected)) => expected.max(Duration::from_millis(120)),
            (_, Some(expected)) => expected.max(LEAST),
        }
    }

    /// Whether a question may have been lost without anybody noticing.
    pub(super) fn is_unproven(&self) -> bool {
        self.kind != LinkKind::Loopback && self.delays.expected().is_none()
    }
}

/// Answers that take longer tell nothing about a link: who answers so late was busy, or asleep.
pub(super) const PLAUSIBLE: Duration = Duration::from_millis(500);

/// How long the answers of other hosts take.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// Mean and mean deviation, smoothed as round trips are in RFC 6298.
    smoothed: Option<(Duration, Duration)>,
    /// Whether an answer has ever come only when it was asked for again.
    pub(super) lossy: bool,
}

impl Delays {
    pub(super) fn observe(&mut self, delay: Duration) {
        let delay = delay.min(PLAUSIBLE);
        self.smoothed = Some(match self.smoothed {
            None => (delay, delay / 2),
            Some((mean, deviation)) => (
                (mean * 7 + delay) / 8,
                (deviation * 3 + mean.abs_diff(delay)) / 4,
            ),
        });
    }

    /// The delay that hardly any answer exceeds; none if there was no answer yet.
    fn expected(&self) -> Option<Duration> {
        let (mean, deviation) = self.smoothed?;
        Some(PLAUSIBLE.min(mean + 4 * deviation))
    }
}

fn shares_prefix(a: IpAddr, b: IpAddr, len: u8) -> bool {
    let len = u32::from(len);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= len.min(32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= len.min(128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(kind: LinkKind, addresses: &[(&str, u8)]) -> Interface {
        Interface {
            id: 1,
            name: "eth0".into(),
            addresses: addresses
                .iter()
                .map(|(a, len)| (a.parse().unwrap(), *len))
                .collect(),
            kind,
        }
    }

    #[test]
    fn s11_sources_must_be_on_the_link() {
        let mut links = Links::default();
        let addresses = [("10.0.0.7", 24), ("fd00::7", 64)];
        links.replace(vec![interface(LinkKind::Wired, &addresses)]);
        for (address, on_link) in [
            ("10.0.0.200", true),
            ("10.0.1.1", false),
            ("169.254.3.4", true),
            ("fe80::1", true),
            ("fd00::99", true),
            ("fd00:1::99", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(
                links.is_on_link(1, address.parse().unwrap()),
                on_link,
                "{address}"
            );
        }
        assert!(!links.is_on_link(2, "10.0.0.200".parse().unwrap()));
        links.replace(vec![interface(LinkKind::PointToPoint, &addresses)]);
        assert!(links.is_on_link(1, "8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn the_quiet_time_follows_the_answers() {
        let mut link = Link::new((1, Family::V4), LinkKind::Wired);
        let ms = Duration::from_millis;
        assert_eq!(link.quiet(), ms(100));
        for _ in 0..50 {
            link.delays.observe(Duration::from_micros(200));
        }
        assert_eq!(link.quiet(), ms(15));
        link.delays.observe(ms(80));
        assert!(link.quiet() > ms(80));
        let mut late = Link::new((1, Family::V4), LinkKind::Wired);
        late.delays.observe(ms(1_900));
        assert_eq!(late.quiet(), PLAUSIBLE);
        for _ in 0..40 {
            late.delays.observe(ms(1));
        }
        assert!(
            late.quiet() < ms(100),
            "and is forgotten: {:?}",
            late.quiet()
        );
        let mut wireless = Link::new((1, Family::V4), LinkKind::Wireless);
        assert_eq!(wireless.quiet(), ms(300));
        wireless.delays.observe(ms(1));
        assert_eq!(wireless.quiet(), ms(120));
    }
}
