//! Clients that call a service by its name. Each is a feature of this crate.
//!
//! | feature | gives | for |
//! |---|---|---|
//! | `tower` | `tower::Balanced`, `tower::Discover` | any protocol with a tower service |
//! | `tonic` | `tonic::Channel` | clients that tonic generates, plain and TLS, streams included |
//! | `hyper` | `hyper::Client` | `http://go.vine.helloworld/path` by hyper |
//! | `reqwest` | `reqwest::Client` | the same by reqwest |
//!
//! They have in common:
//!
//! - The node is chosen anew for each call, by a [`Selector`](crate::Selector). Outcomes are
//!   reported, so nodes that fail are ejected, and [`LeastLoaded`](crate::LeastLoaded) knows latencies.
//! - A call that no node has seen (the connection was refused, or ended before) is tried on another
//!   node. One that a node may have acted on is tried again only if it is idempotent, and as long as
//!   what was sent of its body is still there. [`Retries`] bounds both.
//! - What goes wrong on this side (no file descriptor is left for a connection, the body of a request
//!   breaks off) is charged to no node by the clients for hyper and reqwest.
//! - Calls that belong together, where [`ConsistentHash`](crate::ConsistentHash) chooses, say so by a
//!   `http::Key` in the extensions of their requests, to the clients for hyper and tonic;
//!   `tower::Policy::key` tells it of any protocol. The requests of reqwest have no room for it.
//! - A call that runs out of its time, where the client knows that (a timeout in tonic's and reqwest's
//!   requests, `tower::Policy::timeout`), is a failure of the node that it is at. One that is dropped says nothing.
//! - An answer in parts counts as under way until it ends. A node that is deregistered or draining gets
//!   no new calls; those under way go on.

mod attempts;
mod budget;
mod error;
#[cfg(feature = "hyper")]
mod hosts;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod limit;
#[cfg(any(feature = "hyper", feature = "tower"))]
mod local;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "tonic")]
pub mod tonic;
#[cfg(feature = "tower")]
pub mod tower;

use std::time::Duration;

pub(crate) use attempts::Attempts;
pub use attempts::Ending;
pub(crate) use budget::Budget;
pub use budget::Retries;
#[cfg(feature = "tonic")]
pub(crate) use error::with_causes;
pub use error::{BoxError, CallError};

/// How long connecting to a node may take, unless set.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
