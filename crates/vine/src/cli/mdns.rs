use clap::builder::BoolishValueParser;
use vine_registry::Options;

use super::value::env;

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
}

impl MdnsFlags {
    /// Puts down as parameters, as a URL does, what was given.
    pub(super) fn apply(&self, options: &mut Options) {
        let interfaces = (!self.interface.is_empty()).then(|| self.interface.join(","));
        let given = [
            ("port", self.port.map(|port| port.to_string())),
            ("interface", interfaces),
            ("ipv4", self.ipv4.map(|on| on.to_string())),
            ("ipv6", self.ipv6.map(|on| on.to_string())),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                options.parameters.insert(key.to_owned(), value);
            }
        }
    }
}
