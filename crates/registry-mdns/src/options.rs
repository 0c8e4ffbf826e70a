use std::{convert::Infallible, fmt, net::IpAddr, str::FromStr};

use vine_registry::{Error, Result};

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

    pub(crate) fn check(&self) -> Result<()> {
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
}

impl Default for MdnsOptions {
    fn default() -> Self {
        Self {
            port: PORT,
            interfaces: Vec::new(),
            ipv4: true,
            ipv6: true,
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
