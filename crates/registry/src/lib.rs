//! In the making.

pub mod address;
mod epoch;
mod error;
mod memory;
mod model;
mod options;
mod registration;
mod registry;
mod url;
pub mod validate;
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
