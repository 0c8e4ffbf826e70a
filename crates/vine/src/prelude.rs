//! What most programs need: `use vine::prelude::*;`.

pub use vine_registry::{
    Action, Endpoint, Event, GetOptions, MemoryRegistry, Metadata, Node, Options, RegisterOptions,
    Registration, RegistrationOptions, Registry, RegistryExt, Service, Update, Value, Wait,
    WatchOptions, Watcher,
};

#[cfg(feature = "discovery")]
pub use crate::discovery::{Cache, Selector};
pub use crate::{App, BoxError, Health, Registries, RunError, Shutdown};
