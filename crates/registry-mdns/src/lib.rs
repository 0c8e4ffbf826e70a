//! In the making.

mod codec;
mod driver;
mod interfaces;
mod mapping;
mod options;
mod registry;
mod socket;

pub use options::{InterfaceFilter, MdnsOptions};
pub use registry::MdnsRegistry;

#[doc(hidden)]
pub mod engine;
