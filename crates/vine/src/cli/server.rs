use std::time::Duration;

use super::value::{Pairs, duration, env};

const SERVER: &str = "Server";

/// What a service that runs says about itself. What is given wins over what the program says.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct ServerFlags {
    /// Name of the service
    #[arg(
        id = "server.name", long = "server.name", value_name = "NAME", help_heading = SERVER,
        env = env("VINE_SERVER_NAME"),
    )]
    pub name: Option<String>,

    /// Version of the service, for instance v1.0.0
    #[arg(
        id = "server.version", long = "server.version", value_name = "VERSION",
        help_heading = SERVER, env = env("VINE_SERVER_VERSION"),
    )]
    pub version: Option<String>,

    /// Id of this node; random if not given
    #[arg(
        id = "server.id", long = "server.id", value_name = "ID", help_heading = SERVER,
        env = env("VINE_SERVER_ID"),
    )]
    pub id: Option<String>,

    /// Where to listen, for instance 127.0.0.1:8080 or :8080; port 0 is any free one
    #[arg(
        id = "server.address", long = "server.address", value_name = "HOST:PORT",
        help_heading = SERVER, env = env("VINE_SERVER_ADDRESS"),
    )]
    pub address: Option<String>,

    /// Where others reach this node: host:port, a host, or a network such as 10.0.0.0/8 to take
    /// this host's address in it; by default the address listened on, or that of the default route
    #[arg(
        id = "server.advertise", long = "server.advertise", value_name = "ADDRESS",
        help_heading = SERVER, env = env("VINE_SERVER_ADVERTISE"),
    )]
    pub advertise: Option<String>,

    /// A fact about this node, for instance vine.zone=north; may be repeated
    #[arg(
        id = "server.metadata", long = "server.metadata", value_name = "KEY=VALUE",
        help_heading = SERVER, env = env("VINE_SERVER_METADATA"), value_parser = Pairs::parse,
    )]
    pub metadata: Vec<Pairs>,

    /// How long a registration holds without being renewed; by default the registry's choice
    #[arg(
        id = "server.register-ttl", long = "server.register-ttl", value_name = "DURATION",
        help_heading = SERVER, env = env("VINE_SERVER_REGISTER_TTL"), value_parser = duration,
    )]
    pub register_ttl: Option<Duration>,

    /// How often the registration is renewed and checked; by default a third of its ttl, at most 1s
    #[arg(
        id = "server.register-interval", long = "server.register-interval",
        value_name = "DURATION", help_heading = SERVER,
        env = env("VINE_SERVER_REGISTER_INTERVAL"), value_parser = duration,
    )]
    pub register_interval: Option<Duration>,
}
