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

mod address;
mod catalog;
mod client;
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
mod telemetry;
mod value;

pub use options::{EtcdOptions, Layout};
pub use registry::EtcdRegistry;

/// What this engine is called.
const NAME: &str = "etcd";
