//! What a service says about itself.

mod endpoint;
mod event;
mod metadata;
mod node;
mod nodes;
mod service;
mod services;
mod text;

pub use endpoint::{Endpoint, Value};
pub use event::{Action, Event};
pub use metadata::Metadata;
pub use node::{Node, NodeRef};
pub use nodes::Nodes;
pub use service::{DEFAULT_NAMESPACE, Service, ServiceSummary};
pub(crate) use services::List;
pub use services::Services;
use text::Text;

use serde::{Deserialize, Deserializer};

/// Takes `null` for the empty value: Go writes it for nil slices, maps and pointers.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
