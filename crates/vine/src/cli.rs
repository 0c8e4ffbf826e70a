//! Flags for a program's command line, by clap; each one is an environment variable as well.
//!
//! [`Flags`] has them all. Flatten it into a struct of your own: every argument has an id with a
//! dot in it, so it meets no field of yours.
//!
//! ```
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     vine: vine::cli::Flags,
//!     /// An argument of this program.
//!     #[arg(long)]
//!     name: Option<String>,
//! }
//!
//! let args = Args::parse_from(["hello", "--registry.default=memory", "--name=x"]);
//! let registry = args.vine.registry.open(&vine::Registries::new())?;
//! assert_eq!(registry.name(), "memory");
//! # Ok::<(), vine::Error>(())
//! ```

#[cfg(feature = "etcd")]
mod etcd;
mod failure;
mod log;
#[cfg(feature = "mdns")]
mod mdns;
mod registry;
mod server;
#[cfg(test)]
mod tests;
mod value;

#[cfg(feature = "etcd")]
pub use etcd::EtcdFlags;
pub use failure::{exit_code, one_line, parse};
pub use log::{LogFlags, LogFormat};
#[cfg(feature = "mdns")]
pub use mdns::MdnsFlags;
pub use registry::RegistryFlags;
pub use server::ServerFlags;
pub use value::{Pairs, Secret, duration};

/// Every flag of Vine: of the registry, of the server and of the log.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct Flags {
    /// Which registry to use.
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// What the service says about itself.
    #[command(flatten)]
    pub server: ServerFlags,
    /// What is logged.
    #[command(flatten)]
    pub log: LogFlags,
}
