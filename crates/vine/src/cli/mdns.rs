use clap::builder::{BoolishValueParser, PossibleValuesParser};
use vine_registry::Options;

use super::value::{Secret, env};

const HEADING: &str = "Registry mdns";

/// How the mDNS registry uses the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct MdnsFlags {
    /// UDP port; those who are to find each other need the same [default: 5353]
    #[arg(
        id = "registry.mdns.port", long = "registry.mdns.port", value_name = "PORT",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_PORT"),
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub port: Option<u16>,

    /// Interface to use, by name or address; several with commas, may be repeated [default: each
    /// that can multicast]
    #[arg(
        id = "registry.mdns.interface", long = "registry.mdns.interface",
        value_name = "INTERFACE", help_heading = HEADING,
        env = env("VINE_REGISTRY_MDNS_INTERFACE"), value_delimiter = ',',
    )]
    pub interface: Vec<String>,

    /// Use IPv4 [default: true]
    #[arg(
        id = "registry.mdns.ipv4", long = "registry.mdns.ipv4", value_name = "BOOL",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_IPV4"),
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub ipv4: Option<bool>,

    /// Use IPv6 where there is any [default: true]
    #[arg(
        id = "registry.mdns.ipv6", long = "registry.mdns.ipv6", value_name = "BOOL",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_IPV6"),
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub ipv6: Option<bool>,

    /// What to speak: DNS-SD, the dialect of Vine for Go and go-micro, or both [default: dns-sd]
    #[arg(
        id = "registry.mdns.dialect", long = "registry.mdns.dialect", value_name = "DIALECT",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_DIALECT"),
        value_parser = PossibleValuesParser::new(["dns-sd", "vine", "both"]),
    )]
    pub dialect: Option<String>,

    /// Domain that all namespaces share in the Go dialect, for instance micro [default: each
    /// namespace is a domain]
    #[arg(
        id = "registry.mdns.domain", long = "registry.mdns.domain", value_name = "DOMAIN",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_DOMAIN"),
    )]
    pub domain: Option<String>,

    /// Key that all who are to believe each other share; @FILE reads keys from its lines. May be
    /// repeated: the first one signs, each is believed [default: everybody is believed]
    #[arg(
        id = "registry.mdns.key", long = "registry.mdns.key", value_name = "ID:SECRET",
        help_heading = HEADING, env = env("VINE_REGISTRY_MDNS_KEY"), hide_env_values = true,
        value_delimiter = ',',
    )]
    pub key: Vec<Secret>,
}

impl MdnsFlags {
    /// Puts down as parameters, as a URL does, what was given.
    pub(super) fn apply(&self, options: &mut Options) {
        let interfaces = (!self.interface.is_empty()).then(|| self.interface.join(","));
        let keys: Vec<_> = self.key.iter().map(Secret::reveal).collect();
        let keys = (!keys.is_empty()).then(|| keys.join(","));
        let given = [
            ("port", self.port.map(|port| port.to_string())),
            ("interface", interfaces),
            ("ipv4", self.ipv4.map(|on| on.to_string())),
            ("ipv6", self.ipv6.map(|on| on.to_string())),
            ("dialect", self.dialect.clone()),
            ("domain", self.domain.clone()),
            ("key", keys),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                options.parameters.insert(key.to_owned(), value);
            }
        }
    }
}
