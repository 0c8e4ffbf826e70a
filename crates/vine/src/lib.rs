//! Vine for microservices: a service registers under its name, is found by it, and stops in good
//! order.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use vine::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), RunError> {
//!     let routes = Router::new().route("/", get(|| async { "Hello, world!" }));
//!     App::builder("go.vine.helloworld")
//!         .version("v1.0.0")
//!         .run(|listener, shutdown| async move {
//!             axum::serve(listener, routes).with_graceful_shutdown(shutdown.wait()).await
//!         })
//!         .await
//! }
//! ```
//!
//! That is all: it listens on a free port, registers with the default registry (mDNS, which needs
//! no server), and on SIGINT or SIGTERM deregisters, drains and stops.
//!
//! # What is inside
//!
//! - [`App`]: the runtime, for any server that takes a listening socket; [`Health`] for probes,
//!   [`Advertise`] for the address that others are told.
//! - [`cli::Flags`] (feature `cli`): Vine's flags and environment variables, to flatten into a
//!   command line by clap.
//! - [`Registries`]: the engines that can be chosen by name or by URL, also those of third parties.
//! - Everything of [`vine_registry`]: the model, [`Registry`] with [`RegistryExt`],
//!   [`MemoryRegistry`], [`Registration`], [`Watcher`].
//! - `discovery` (feature `discovery`): a cache that goes on through outages of the registry, and a
//!   selector that picks a live node for each call.
//! - [`prelude`]: what most programs need.
//!
//! Features: `cli`, `etcd` and `mdns` are on by default; `axum` brings [`Health`]'s routes, `tonic` its
//! gRPC service.
//!
//! # A registry, step by step
//!
//! Make one; any engine will do:
//!
//! ```
//! use vine::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine::Result<()> {
//! let registry = Registries::new().open("memory", Options::new())?;
//! registry.init().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Register a service, and end that:
//!
//! ```
//! # use std::time::Duration;
//! # use vine::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine::Result<()> {
//! # let registry = MemoryRegistry::new();
//! let service = Service::new("go.vine.test", "v1.0.0")
//!     .with_metadata([("Content-Type", "application/json")])
//!     .with_endpoint(Endpoint::new("Test.Call"))
//!     .with_node(Node::new("test-1", "127.0.0.1:11500").with_metadata([("os", "linux")]))
//!     .with_ttl(Duration::from_secs(30));
//! registry.register(service.clone()).await?;
//! registry.deregister(&service).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Look services up; a listing tells little of each, by design:
//!
//! ```
//! # use vine::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine::Result<()> {
//! # let registry = MemoryRegistry::new();
//! # registry.register(Service::new("go.vine.test", "v1").with_node(Node::new("a", "127.0.0.1:1"))).await?;
//! for summary in registry.list_services().await? {
//!     println!("{}", summary.name);
//! }
//! for service in &registry.get_service("go.vine.test").await? {
//!     println!("{} {}: {} nodes", service.name, service.version, service.nodes.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Watch one; dropping the watcher stops it:
//!
//! ```
//! # use vine::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine::Result<()> {
//! # let registry = MemoryRegistry::new();
//! let mut watcher = registry.watch_service("go.vine.test").await?;
//! # registry.register(Service::new("go.vine.test", "v1").with_node(Node::new("a", "127.0.0.1:1"))).await?;
//! # registry.close().await?;
//! while let Some(event) = watcher.next_event().await {
//!     println!("{}: {}, {}", event.timestamp, event.action, event.service.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Run a service on another registry than the default:
//!
//! ```
//! # use vine::prelude::*;
//! # async fn serve(_: tokio::net::TcpListener, shutdown: Shutdown) -> std::io::Result<()> { Ok(shutdown.wait().await) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), RunError> {
//! App::builder("go.vine.test")
//!     .registry(MemoryRegistry::new())
//! #   .address("127.0.0.1:0").after_start(|app| async move { Ok(app.stop()) })
//!     .run(serve)
//!     .await
//! # }
//! ```
//!
//! or choose it at the start: `./helloworld --registry.default=memory`.
//!
//! # From Go
//!
//! | Vine for Go | here |
//! |---|---|
//! | `vine.NewService(opts...)` | [`App::builder`] |
//! | `vine.Name`, `vine.Version`, `vine.ID`, `vine.Metadata`, `vine.Address` | [`AppBuilder::name`], [`version`](AppBuilder::version), [`id`](AppBuilder::id), [`node_metadata`](AppBuilder::node_metadata), [`address`](AppBuilder::address) |
//! | `vine.Registry(r)` | [`AppBuilder::registry`] |
//! | `vine.RegisterTTL`, `vine.RegisterInterval` | [`AppBuilder::register_ttl`], [`register_interval`](AppBuilder::register_interval) |
//! | `vine.BeforeStart`, `vine.AfterStart`, `vine.BeforeStop`, `vine.AfterStop` | [`AppBuilder::before_start`], [`after_start`](AppBuilder::after_start), [`before_stop`](AppBuilder::before_stop), [`after_stop`](AppBuilder::after_stop) |
//! | `service.Init()` | [`AppBuilder::flags`] |
//! | `service.Run()` | [`AppBuilder::run`]; [`run_until`](AppBuilder::run_until) where signals are handled elsewhere |
//! | `cmd.DefaultRegistries` | [`Registries`] |
//! | package `registry` | [`vine_registry`], all of it re-exported here |

mod advertise;
mod app;
#[cfg(feature = "cli")]
pub mod cli;
pub mod health;
pub mod prelude;
mod registries;

pub use advertise::Advertise;
pub use app::{App, AppBuilder, BoxError, RunError, Shutdown};
#[cfg(feature = "cli")]
#[doc(inline)]
pub use cli::Flags;
pub use health::Health;
pub use registries::Registries;
/// The client's half: `Cache` and `Selector` (feature `discovery`).
#[cfg(feature = "discovery")]
#[doc(inline)]
pub use vine_discovery as discovery;
pub use vine_registry::*;
#[cfg(feature = "mdns")]
pub use vine_registry_mdns::doctor;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// And those of the Chinese one.
#[cfg(doctest)]
#[doc = include_str!("../../../README.zh.md")]
struct ReadmeZh;
