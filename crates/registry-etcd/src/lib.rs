//! The etcd registry of Vine, for many machines.
//!
//! [`EtcdRegistry`] implements [`vine_registry::Registry`] over an etcd cluster, version 3.4 or later,
//! and shares its keys with Vine for Go. [`EtcdOptions`] chooses their [`Layout`].
//!
//! ```no_run
//! use vine_registry::{Node, Options, RegistryExt, Service};
//! use vine_registry_etcd::{EtcdOptions, EtcdRegistry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine_registry::Result<()> {
//! let options = Options::new().with_addrs(["10.0.0.1:2379", "10.0.0.2:2379"]);
//! let registry = EtcdRegistry::new(options, EtcdOptions::new())?;
//! registry.register(Service::new("go.vine.test", "v1.0.0").with_node(Node::new("a", "10.0.0.7:11500"))).await?;
//! for service in &registry.get_service("go.vine.test").await? {
//!     println!("{} has {} nodes", service.version, service.nodes.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect of it
//!
//! - A registration is a key under a lease. It ends with its deregistration, its ttl, or
//!   [`close`](vine_registry::Registry::close), which revokes the leases; if its process is killed, with
//!   its ttl or else after [`EtcdOptions::lease_ttl`].
//! - Whatever happens to the cluster, the lease or the key, it is put back. Until then `register` says
//!   [`Unavailable`](vine_registry::Error::Unavailable); one that failed so is tried on in the background
//!   until it is deregistered.
//! - A look-up is linearizable, or is answered by a watch of this handle that was proven to be true
//!   within five seconds and has seen what this handle wrote.
//! - A watch misses nothing: it goes on from where it was, or lists again and tells the difference.
//!   It says stale after a second without the cluster, and live when it is back.
//! - A watch tells by [`Event::deregistered`](vine_registry::Event::deregistered) what was deregistered,
//!   by whatever process, from what was lost. A Vine for Go does not say, so what it deregisters counts as
//!   lost, unless it was draining.
//! - A node id belongs to whoever registered it last; the other one is told so by
//!   [`Replaced`](vine_registry::Error::Replaced). Two ids of which only `/` and `-` differ have one key,
//!   and the second one is refused.
//! - A value has at most 1 MiB. ttls are whole seconds.
//!
//! # Inside
//!
//! `client` makes requests of whichever member answers. `own` brings about and keeps what is registered,
//! `scopes` watches into a `catalog`, `lookups` asks; `decoder` turns `keys` and `value`s into nodes. ARCHITECTURE.md in
//! the repository says more. What it counts is named in [`vine_registry::telemetry`].

mod address;
mod catalog;
mod client;
mod decoder;
mod keys;
mod listing;
mod lookups;
mod options;
mod own;
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    reason = "generated from proto/etcd.proto"
)]
mod proto {
    tonic::include_proto!("etcdserverpb");
}
mod registry;
mod scopes;
mod stream;
mod value;

pub use options::{EtcdOptions, Layout};
pub use registry::EtcdRegistry;

/// What this engine is called.
const NAME: &str = "etcd";

const TELEMETRY: vine_registry::telemetry::Telemetry =
    vine_registry::telemetry::Telemetry::new(NAME);

/// How long a cluster that denies permission is left alone at most.
const AFTER_DENIAL: std::time::Duration = std::time::Duration::from_secs(10);
