//! Real etcd servers for tests: started on free ports, broken in every way, and mended again.
//!
//! - [`Cluster`]: one or three members in a folder of their own; kill, pause, restart, wipe, restore.
//! - [`Client`]: bare calls, for what a test does behind the registry's back.
//! - [`Certificates`]: an authority, a server and a client, made for one test.
//! - [`Turn`]: one of a few clusters that the tests of one program use one after the other.
//! - [`Proxy`]: a connection that delays, hangs, is reset or refused, and is counted.
//!
//! The server is that of the crate `etcd-bin-vendored`, or the program that `VINE_ETCD_BIN` names.
//! What goes wrong in here fails the test at once, by a panic that says what the server said.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what fails here, fails the test"
)]

mod binary;
mod certificates;
mod client;
mod cluster;
mod data;
mod folder;
mod frames;
mod member;
mod ports;
mod proxy;
mod turn;
mod users;

pub use binary::version;
pub use certificates::{Certificates, Identity};
pub use client::{Client, Events, prefix_end};
pub use cluster::{Cluster, ClusterOptions};
pub use data::Saved;
pub use member::Member;
pub use proxy::{Counts, Mode, Proxy};
pub use turn::Turn;

/// The generated client.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::missing_errors_doc,
    clippy::use_self,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("etcdserverpb");
}
