use std::{convert::Infallible, fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};
use vine_registry::{Error, Result};

use crate::{Key, engine::check_name};

/// Where mDNS lives, unless set otherwise: RFC 6762 section 3.
pub(crate) const PORT: u16 = 5353;

/// How the mDNS registry uses the network; what every engine knows is in
/// [`vine_registry::Options`].
///
/// ```
/// use vine_registry_mdns::MdnsOptions;
///
/// let options = MdnsOptions::new()
///     .with_interfaces(["eth0", "192.168.7.2"])
///     .with_ipv6(false);
/// assert_eq!(options.port, 5353);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MdnsOptions {
    /// The UDP port; 5353 unless set. Registries on different ports don't see each other, nor do
    /// other mDNS programs see those on another port than 5353.
    pub port: u16,
    /// The interfaces to use; none means each that can multicast, and loopback. Point-to-point
    /// interfaces (tunnels) are used only if they are named here.
    pub interfaces: Vec<InterfaceFilter>,
    /// Whether to use IPv4; true unless set.
    pub ipv4: bool,
    /// Whether to use IPv6 where there is any; true unless set.
    pub ipv6: bool,
    /// What to speak; DNS-SD unless set.
    pub dialect: Dialect,
    /// The domain that all namespaces share in the Go dialect. Unless set, each namespace is a domain
    /// of its own, as in Vine for Go from 1.6 on; `micro` finds processes of go-micro.
    pub domain: Option<String>,
    /// Keys that are shared with all who are to be believed. The first one signs what is registered
    /// here; what none of them signed is not seen. None unless set: then everybody is believed.
    ///
    /// To change a key, give everybody the new one behind the old one, then in front of it, and then
    /// alone.
    pub keys: Vec<Key>,
}

/// How services are told and found on the network.
///
/// In the Go dialect names and ids are plain ASCII, addresses are IP addresses, and a node with
/// everything that belongs to it fits into one packet. What does not is refused with
/// [`Dialect::Vine`]; with [`Dialect::Both`] it is seen by DNS-SD alone, and a warning is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// DNS-SD (RFC 6763), as Avahi, Bonjour and the like understand it.
    #[default]
    DnsSd,
    /// That of Vine for Go and of go-micro.
    Vine,
    /// Both at once: each node is there once, and everybody sees everybody.
    Both,
}

impl FromStr for Dialect {
    type Err = Error;

    /// Reads `dns-sd`, `vine` or `both`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "dns-sd" => Ok(Self::DnsSd),
            "vine" => Ok(Self::Vine),
            "both" => Ok(Self::Both),
            _ => Err(Error::invalid_option(
                "mdns.dialect",
                format!("is {text:?}; give dns-sd, vine or both"),
            )),
        }
    }
}

impl Serialize for Dialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DnsSd => "dns-sd",
            Self::Vine => "vine",
            Self::Both => "both",
        })
    }
}

impl MdnsOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the UDP port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the interfaces to use, by name or by address.
    #[must_use]
    pub fn with_interfaces(
        mut self,
        interfaces: impl IntoIterator<Item = impl Into<InterfaceFilter>>,
    ) -> Self {
        self.interfaces = interfaces.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether to use IPv4.
    #[must_use]
    pub fn with_ipv4(mut self, use_it: bool) -> Self {
        self.ipv4 = use_it;
        self
    }

    /// Sets whether to use IPv6.
    #[must_use]
    pub fn with_ipv6(mut self, use_it: bool) -> Self {
        self.ipv6 = use_it;
        self
    }

    /// Sets what to speak.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Sets the domain that all namespaces share in the Go dialect.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Sets the keys that are shared with all who are to be believed; the first one signs.
    #[must_use]
    pub fn with_keys(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        self.keys = keys.into_iter().collect();
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.check_domain()?;
        self.check_keys()?;
        if self.port == 0 {
            return Err(Error::invalid_option(
                "mdns.port",
                "is 0; all who are to find each other need the same port, by default 5353",
            ));
        }
        if !self.ipv4 && !self.ipv6 {
            return Err(Error::invalid_option(
                "mdns.ipv4 and mdns.ipv6",
                "are both off; at least one of them is needed",
            ));
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<()> {
        if !self.keys.is_empty() && self.dialect != Dialect::DnsSd {
            return Err(Error::invalid_option(
                "mdns.key",
                format!(
                    "is set, but nothing is signed in the Go dialect, so nobody could be believed there; set mdns.dialect to dns-sd instead of {}, or leave out the key",
                    self.dialect
                ),
            ));
        }
        Ok(())
    }

    fn check_domain(&self) -> Result<()> {
        let Some(domain) = &self.domain else {
            return Ok(());
        };
        if self.dialect == Dialect::DnsSd {
            return Err(Error::invalid_option(
                "mdns.domain",
                format!(
                    "is {domain:?}, but only the Go dialect has domains; set mdns.dialect to vine or both, too"
                ),
            ));
        }
        check_name("mdns.domain", domain).map_err(|error| {
            Error::invalid_option("mdns.domain", format!("can't be used: {error}"))
        })
    }
}

impl Default for MdnsOptions {
    fn default() -> Self {
        Self {
            port: PORT,
            interfaces: Vec::new(),
            ipv4: true,
            ipv6: true,
            dialect: Dialect::default(),
            domain: None,
            keys: Vec::new(),
        }
    }
}

/// Says which interface is meant: by its name, or by an address that it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceFilter {
    /// The interface with this name, for instance `eth0`.
    Name(String),
    /// The interface that has this address.
    Address(IpAddr),
}

impl FromStr for InterfaceFilter {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl From<&str> for InterfaceFilter {
    /// What reads as an address is one; everything else is a name.
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Address)
    }
}

impl From<String> for InterfaceFilter {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<IpAddr> for InterfaceFilter {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for InterfaceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}
