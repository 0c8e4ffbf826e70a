//! The mDNS registry of Vine: processes on one network find each other without any server.
//!
//! [`MdnsRegistry`] implements [`vine_registry::Registry`] by multicast DNS (RFC 6762) and DNS-based
//! service discovery (RFC 6763), so Avahi, Bonjour and every other such program sees what is
//! registered here. [`MdnsOptions`] chooses the port, the interfaces and the versions of IP.
//!
//! ```no_run
//! use vine_registry::{Node, Options, RegistryExt, Service};
//! use vine_registry_mdns::{MdnsOptions, MdnsRegistry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine_registry::Result<()> {
//! let registry = MdnsRegistry::new(Options::new(), MdnsOptions::new())?;
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
//! - A registration is visible to others at once, while its name is still being probed. It ends with
//!   a goodbye; if its process is killed, it is forgotten after its ttl, by default two minutes.
//! - The first look-up of a name asks everybody and waits until nothing new is to be expected
//!   ([`Wait`](vine_registry::Wait)). It also begins a standing browse: from then on answers come
//!   from memory, until nobody has asked for five minutes.
//! - A node id belongs to whoever registered it last; the other one is told so by
//!   [`Error::Replaced`](vine_registry::Error::Replaced).
//! - Metadata, endpoints and OpenAPI documents of up to 64 KB (as JSON, together) survive unchanged.
//!   What does not fit into a small TXT record is fetched by its digest, in chunks, and shared by all
//!   nodes that have the same. A node is shown when all of it is here.
//! - When the last interface to other hosts is gone, it is an outage: calls give
//!   [`Error::Unavailable`](vine_registry::Error::Unavailable), watches say stale, and nothing is
//!   forgotten until ten seconds after it is over. What is on the same host goes on by loopback.
//!   Interfaces that come and go are followed.
//! - Who cannot reach a node says so
//!   ([`report_unreachable`](vine_registry::Registry::report_unreachable)): if it does not answer
//!   then, it is gone after two seconds.
//! - Processes of Vine for Go and of go-micro speak a dialect of their own
//!   ([below](#the-go-dialect)); [`Dialect::Both`] is understood by them and by all others.
//! - It does not cross routers, and it does not encrypt: whoever is on the link can read everything,
//!   and claim everything, unless [keys](MdnsOptions::keys) are shared: then only what one of them
//!   signed counts. [`MdnsRegistry::statistics`] says how many records did not.
//!
//! # The Go dialect
//!
//! With [`Dialect::Vine`] or [`Dialect::Both`], Go processes find, list and watch what is registered
//! here, and the other way round. The namespace is the domain, as in Vine for Go from 1.6 on;
//! [`MdnsOptions::domain`] sets one domain for all namespaces (`micro` for go-micro).
//!
//! | | told to Go processes | told by Go processes | told among processes of this crate |
//! |---|---|---|---|
//! | name, version, endpoints | yes | yes | yes |
//! | node: id, metadata, IP address and port | yes | yes | yes |
//! | namespace | as the domain | the domain; with one domain for all, what they say, else that of the registry | yes |
//! | service metadata, OpenAPI documents, ttl, who holds an id | no | no | yes, in a key that Go passes over |
//! | the end of a killed process | | after at most 120 s | after its ttl, at most 120 s |
//!
//! Its limits: names, namespaces and ids are plain ASCII with at most 63 bytes between dots (Go writes
//! others in another way when it compares); an address is an IP address; a node with all that belongs
//! to it takes one packet. [`Dialect::Vine`] refuses the rest with an error that says what to do; with
//! [`Dialect::Both`] it is registered by DNS-SD alone, and a warning is logged. With both, DNS-SD
//! decides who holds an id, and what is seen twice is there once.
//! [`list_services`](vine_registry::Registry::list_services_with) and watches of all namespaces
//! know the domains that processes of this crate tell of, the own one and those that announcements
//! name: Go can't be asked for domains.
//!
//! What would upset Go processes is not done: no question leaves from port 5353 (so there are no
//! probes), no answer is answered, every answer has SRV, address and TXT of one node.
//!
//! # Inside
//!
//! The protocol is a state machine that knows neither sockets nor clocks (`engine`). One task
//! (`driver`) owns it, the sockets (`socket`, `interfaces`) and the view of all services that handles
//! read without a lock. `mapping` turns services into records, `codec` records into packets.
//! Which rules of RFC 6762 and RFC 6763 it keeps, where, which tests show it, what is left out and
//! what it costs the network: [`rfc`]. Beside them:
//!
//! | what | where |
//! |---|---|
//! | shared keys | `engine/trust.rs`, `mapping/seal.rs`, `key.rs` |
//! | blobs, of records that would be too large | `engine/blobs.rs`, `mapping/blob.rs` |
//! | the Go dialect: names, payload, packets, questions, answers | `engine/go.rs` and its folder |
//! | one dialect or both as one engine | `engine/dialects.rs` |
//! | why nothing is found here: [`doctor`] | `doctor.rs` and its folder |

mod codec;
mod driver;
mod interfaces;
mod key;
mod mapping;
mod options;
mod registry;
mod socket;

pub use engine::Counters as Statistics;
pub use key::Key;
pub use options::{Dialect, InterfaceFilter, MdnsOptions};
pub use registry::MdnsRegistry;

pub mod doctor;
#[cfg(any(doc, test))]
#[doc = include_str!("../RFC.md")]
pub mod rfc {
    #[cfg(test)]
    mod tests;
}

#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
