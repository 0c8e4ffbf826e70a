//! Service registration and discovery for microservices: the model, the [`Registry`] trait that
//! every engine implements, watches, and the memory registry.
//!
//! A service says under which name, version and address it can be reached; a client asks for the
//! name, gets the live nodes and hears of every change.
//!
//! ```
//! use vine_registry::{Action, MemoryRegistry, Node, RegistryExt, Service};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> vine_registry::Result<()> {
//! let registry = MemoryRegistry::new();
//! let mut watcher = registry.watch_service("go.vine.test").await?;
//!
//! let service = Service::new("go.vine.test", "v1.0.0").with_node(Node::new("test-1", "127.0.0.1:11500"));
//! registry.register(service).await?;
//!
//! let services = registry.get_service("go.vine.test").await?;
//! assert_eq!(&*services[0].nodes.nth(0).unwrap().address, "127.0.0.1:11500");
//! assert_eq!(watcher.next_event().await.unwrap().action, Action::Create);
//! # Ok(())
//! # }
//! ```
//!
//! # What is inside
//!
//! - The model: [`Service`], [`Node`] and [`Nodes`], [`Endpoint`] and [`Value`], [`Metadata`],
//!   [`Event`]; results are [`Services`], shared and immutable.
//! - [`Registry`], object-safe, and [`RegistryExt`], its short forms.
//! - [`Registration`]: holds a service registered through every outage.
//! - [`Watcher`] and [`Publisher`]: both ends of a watch. [`Fold`]: the state after some events.
//! - [`MemoryRegistry`]: the engine that lives in the process.
//! - [`Options`] and the options of each call, [`Url`], [`Error`].
//! - For authors of engines: [`view`], [`validate`], [`address`], [`next_epoch`], [`telemetry`].
//!
//! It does not choose a node or call it, and knows no network: engines such as
//! `vine-registry-mdns` are crates of their own.
//!
//! # From Go
//!
//! | Vine for Go | here |
//! |---|---|
//! | `registry.Registry` | [`Registry`], with [`RegistryExt`] |
//! | `memory.NewRegistry(opts...)` | [`MemoryRegistry::new`], [`MemoryRegistry::with_options`] |
//! | `mdns.NewRegistry(opts...)`, `etcd.NewRegistry(opts...)` | the constructors in the engines' crates |
//! | `Init(opts...)` | [`Registry::init`]; options are given once, to the constructor |
//! | `Options()` | [`Registry::options`] |
//! | `Register(ctx, svc, opts...)` | [`RegistryExt::register`], [`Registry::register_with`]; held through outages: [`Registration`] |
//! | `Deregister(ctx, svc, opts...)` | [`RegistryExt::deregister`], [`Registry::deregister_with`] |
//! | `GetService(ctx, name, opts...)` | [`RegistryExt::get_service`], [`Registry::get_service_with`] |
//! | `ListServices(ctx, opts...)` | [`RegistryExt::list_services`], [`Registry::list_services_with`]: [`ServiceSummary`] |
//! | `Watch(ctx, opts...)` | [`Registry::watch`], [`RegistryExt::watch_service`] |
//! | `String()` | [`Registry::name`] |
//! | `registry.ErrNotFound` | [`Error::NotFound`] |
//! | `Addrs(addrs...)` | [`Options::addrs`] |
//! | `Timeout(t)` | [`Options::timeout`] |
//! | `Secure(b)` | [`Options::secure`] |
//! | `TLSConfig(t)` | [`Options::tls`]: [`TlsOptions`] |
//! | `RegisterTTL(ttl)` | [`RegisterOptions::ttl`] |
//! | `RegisterContext`, `DeregisterContext`, `GetServiceContext`, `ListServicesContext`, `WatchServiceContext` | none: dropping the future cancels, [`Options::timeout`] bounds |
//! | `WatchService(name)` | [`WatchOptions::service`] |
//! | `Watcher.Next()` | [`Watcher::next_event`]; with outages: [`Watcher::next`] |
//! | `Watcher.Stop()` | dropping the [`Watcher`]; from elsewhere: [`Watcher::stopper`], [`Stopper::stop`] |
//! | `Result.Timestamp`, `Result.Action`, `Result.Service` | [`Event::timestamp`], [`Event::action`], [`Event::service`] |
//! | `Service{Name, Version, Namespace, Metadata, Endpoints, Nodes, TTL, Apis}` | [`Service`], the same names |
//! | `Endpoint{Name, Request, Response, Metadata}` | [`Endpoint`] |
//! | `Value{Name, Type, Values}` | [`Value`]; `Type` is [`Value::kind`] |
//! | `Node{Id, Address, Port, Metadata}` | [`Node`]; the port is [`Node::port`], taken from the address |

pub mod address;
mod epoch;
mod error;
mod memory;
mod model;
mod options;
mod registration;
mod registry;
pub mod telemetry;
mod trie;
mod url;
pub mod validate;
mod vector;
pub mod view;
mod watch;

pub use epoch::next_epoch;
pub use error::{Error, Result, Source};
pub use memory::MemoryRegistry;
pub use model::{
    Action, DEFAULT_NAMESPACE, Endpoint, Event, Metadata, Node, NodeRef, Nodes, Service,
    ServiceSummary, Services, Value,
};
pub use options::{
    Credentials, DeregisterOptions, GetOptions, ListOptions, Namespaces, Options, RegisterOptions,
    TlsOptions, Wait, WatchOptions,
};
pub use registration::{Observer, Registration, RegistrationOptions, RegistrationState};
pub use registry::{Capabilities, Registry, RegistryExt};
pub use url::Url;
pub use watch::{Fold, Publisher, Stopper, Update, Watcher};
