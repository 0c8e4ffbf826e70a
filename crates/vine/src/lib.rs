//! In the making.

#[cfg(feature = "cli")]
pub mod cli;
mod registries;

#[cfg(feature = "cli")]
#[doc(inline)]
pub use cli::Flags;
pub use registries::Registries;
pub use vine_registry::*;
