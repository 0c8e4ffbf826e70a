//! In the making.

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
pub use vine_registry::*;
