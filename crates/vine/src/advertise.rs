//! Under which address others reach a server.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

use ipnet::IpNet;
use vine_registry::{Error, Result, address::HostPort};

/// Which address of a node others are told.
///
/// ```
/// use vine::Advertise;
///
/// let _: Advertise = "10.0.0.7:8080".parse()?; // just this
/// let _: Advertise = "api.example".parse()?;   // this host, and the port listened on
/// let _: Advertise = "10.0.0.0/8".parse()?;    // this host's address in this network
/// # Ok::<(), vine::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advertise {
    /// The address listened on; if that is the unspecified one, this host's address towards the
    /// default route, or else one that reaches furthest.
    #[default]
    Auto,
    /// This host, a name or an address without brackets, with the port listened on if none is
    /// given.
    Host {
        /// A name or an IP address.
        host: String,
        /// The port.
        port: Option<u16>,
    },
    /// This host's address in this network, with the port listened on.
    Network(IpNet),
}

impl FromStr for Advertise {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains('/') {
            return text.parse().map(Self::Network).map_err(|_| {
                invalid(format!(
                    "{text:?} is not a network, for instance 10.0.0.0/8"
                ))
            });
        }
        let bare = HostPort::join(text, 0);
        let Some(HostPort { host, port, .. }) =
            HostPort::parse(text).or_else(|| HostPort::parse(&bare))
        else {
            return Err(invalid(format!(
                "{text:?} is not an address; give host:port, a host, or a network such as 10.0.0.0/8"
            )));
        };
        if host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
            return Err(invalid(format!(
                "{text:?} can't be reached by others; give an address of this host"
            )));
        }
        Ok(Self::Host {
            host: host.to_owned(),
            port: Some(port).filter(|&port| port != 0),
        })
    }
}

/// What was chosen, as it is registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advertised {
    pub(crate) address: String,
    /// This host has no address that others could reach.
    pub(crate) lonely: bool,
}

impl Advertise {
    /// Chooses for a socket that listens on `local`, and on both families if `dual`.
    pub(crate) fn choose(
        &self,
        local: SocketAddr,
        dual: bool,
        host: &HostAddresses,
    ) -> Result<Advertised> {
        let chosen = |ip: IpAddr| Advertised {
            address: HostPort::join(&ip.to_string(), local.port()),
            lonely: false,
        };
        let listens = |ip: &IpAddr| {
            let unspecified =
                local.ip().is_unspecified() && (dual || ip.is_ipv4() == local.is_ipv4());
            unspecified || *ip == local.ip()
        };
        match self {
            Self::Host { host, port } => Ok(Advertised {
                address: HostPort::join(host, port.unwrap_or(local.port())),
                lonely: false,
            }),
            Self::Network(network) => {
                let mut own = host.by_reach().filter(listens).chain([local.ip()]);
                own.find(|ip| network.contains(ip))
                    .map(chosen)
                    .ok_or_else(|| {
                        invalid(format!(
                            "no address listened on is in {network}; this host has {:?}",
                            host.by_reach().collect::<Vec<_>>()
                        ))
                    })
            }
            Self::Auto if !local.ip().is_unspecified() => Ok(chosen(local.ip())),
            Self::Auto => {
                let loopback = if local.is_ipv6() && !dual {
                    IpAddr::from(Ipv6Addr::LOCALHOST)
                } else {
                    Ipv4Addr::LOCALHOST.into()
                };
                let reachable = host.by_reach().filter(listens).find(|ip| !ip.is_loopback());
                Ok(Advertised {
                    lonely: reachable.is_none(),
                    ..chosen(reachable.unwrap_or(loopback))
                })
            }
        }
    }
}

/// The addresses that this host has.
#[derive(Debug, Default)]
pub(crate) struct HostAddresses {
    /// Those towards the default routes.
    default_route: Vec<IpAddr>,
    interfaces: Vec<IpAddr>,
}

impl HostAddresses {
    /// Asks the system. Sends nothing.
    pub(crate) fn discover() -> Self {
        // Addresses for documentation (RFC 5737, RFC 3849): connecting a datagram socket only
        // makes the system choose a route.
        let v4 = toward(
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        );
        let v6 = toward(
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
        );
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::debug!(%error, "can't list the interfaces");
            Vec::new()
        });
        Self {
            default_route: v4.into_iter().chain(v6).collect(),
            interfaces: interfaces.iter().map(if_addrs::Interface::ip).collect(),
        }
    }

    /// Those that reach furthest first. A link-local IPv6 address means nothing without the
    /// interface it belongs to, so it is none of them.
    fn by_reach(&self) -> impl Iterator<Item = IpAddr> {
        let mut interfaces: Vec<_> = self.interfaces.clone();
        interfaces.retain(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        interfaces.sort_by_key(|ip| {
            let link_local = matches!(ip, IpAddr::V4(v4) if v4.is_link_local());
            (ip.is_loopback(), link_local, ip.is_ipv6())
        });
        self.default_route.clone().into_iter().chain(interfaces)
    }
}

fn toward(local: SocketAddr, remote: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect(remote).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

fn invalid(reason: String) -> Error {
    Error::invalid_option("server.advertise", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(default_route: &[&str], interfaces: &[&str]) -> HostAddresses {
        let parse = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        HostAddresses {
            default_route: parse(default_route),
            interfaces: parse(interfaces),
        }
    }

    fn choose(
        advertise: &str,
        local: &str,
        dual: bool,
        host: &HostAddresses,
    ) -> Result<Advertised> {
        let advertise = match advertise {
            "" => Advertise::Auto,
            text => text.parse()?,
        };
        advertise.choose(local.parse().unwrap(), dual, host)
    }

    #[test]
    fn reaches_as_far_as_it_can() {
        let routed = host(
            &["10.0.0.7", "fd00::7"],
            &["127.0.0.1", "192.168.1.1", "10.0.0.7", "fd00::7"],
        );
        let lan = host(
            &[],
            &[
                "::1",
                "127.0.0.1",
                "fe80::1",
                "169.254.1.1",
                "fd00::7",
                "10.77.0.1",
            ],
        );
        let v6 = host(&[], &["::1", "127.0.0.1", "fe80::1", "fd00::7"]);
        for (advertise, local, dual, host, expected) in [
            ("", "0.0.0.0:80", false, &routed, "10.0.0.7:80"),
            ("", "[::]:80", true, &routed, "10.0.0.7:80"),
            ("", "[::]:80", false, &routed, "[fd00::7]:80"),
            ("", "192.168.1.1:80", false, &routed, "192.168.1.1:80"),
            ("", "127.0.0.1:80", false, &routed, "127.0.0.1:80"),
            ("", "0.0.0.0:80", false, &lan, "10.77.0.1:80"),
            ("", "[::]:80", true, &v6, "[fd00::7]:80"),
            (
                "192.168.0.0/16",
                "0.0.0.0:80",
                false,
                &routed,
                "192.168.1.1:80",
            ),
            ("fd00::/8", "[::]:80", true, &lan, "[fd00::7]:80"),
            ("127.0.0.0/8", "127.0.0.1:80", false, &lan, "127.0.0.1:80"),
            ("1.2.3.4:5", "0.0.0.0:80", false, &routed, "1.2.3.4:5"),
            ("1.2.3.4", "0.0.0.0:80", false, &routed, "1.2.3.4:80"),
            (
                "2001:db8::1",
                "0.0.0.0:80",
                false,
                &routed,
                "[2001:db8::1]:80",
            ),
            (
                "[2001:db8::1]:5",
                "0.0.0.0:80",
                false,
                &routed,
                "[2001:db8::1]:5",
            ),
            (
                "api.example:0",
                "0.0.0.0:80",
                false,
                &routed,
                "api.example:80",
            ),
        ] {
            let chosen = choose(advertise, local, dual, host).unwrap();
            assert_eq!(chosen.address, expected, "{advertise} {local}");
            assert!(!chosen.lonely);
        }
    }

    #[test]
    fn says_so_when_nobody_else_can_reach_it() {
        for (local, dual, expected) in [
            ("0.0.0.0:80", false, "127.0.0.1:80"),
            ("[::]:80", true, "127.0.0.1:80"),
            ("[::]:80", false, "[::1]:80"),
        ] {
            for host in [host(&[], &["127.0.0.1", "::1"]), host(&[], &[])] {
                let chosen = choose("", local, dual, &host).unwrap();
                assert_eq!((&*chosen.address, chosen.lonely), (expected, true));
            }
        }
    }

    #[test]
    fn wrong_ones_come_with_a_remedy() {
        let routed = host(&["10.0.0.7"], &["10.0.0.7"]);
        for (advertise, local, remedy) in [
            ("10.0.0.0/99", "0.0.0.0:80", "10.0.0.0/8"),
            ("a b", "0.0.0.0:80", "host:port"),
            ("0.0.0.0", "0.0.0.0:80", "of this host"),
            ("192.168.0.0/16", "0.0.0.0:80", "10.0.0.7"),
            ("10.0.0.0/8", "127.0.0.1:80", "10.0.0.7"),
        ] {
            let error = choose(advertise, local, false, &routed)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("server.advertise") && error.contains(remedy),
                "{error}"
            );
        }
    }
}
