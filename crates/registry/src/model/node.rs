use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use super::{Metadata, Service, Text, null_as_default};
use crate::address::HostPort;

/// One running instance of a service: where it can be reached.
///
/// A node is identified by namespace, service name and id. In JSON it has a `port` as well,
/// taken from the address.
#[doc(alias = "instance")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Json")]
#[non_exhaustive]
pub struct Node {
    /// What tells this node from the others of the service.
    pub id: Arc<str>,
    /// `host:port`, `[v6]:port` or a name with a port.
    pub address: Arc<str>,
    /// Facts about the node. Selectors and tools know `vine.state` (`up`, `draining`, `down`),
    /// `vine.weight` (a positive number) and `vine.zone`.
    pub metadata: Metadata,
}

impl Node {
    /// Metadata key: `up`, `draining` or `down`.
    pub const STATE: &'static str = "vine.state";
    /// Metadata key: the node's share of the calls, a positive number.
    pub const WEIGHT: &'static str = "vine.weight";
    /// Metadata key: where the node runs, to prefer a near one.
    pub const ZONE: &'static str = "vine.zone";

    /// A node without metadata.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, address: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            address: address.into(),
            metadata: Metadata::default(),
        }
    }

    /// Sets the facts about the node.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Metadata>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// The host of the address, without brackets.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        HostPort::parse(&self.address).map(|address| address.host)
    }

    /// The port of the address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        HostPort::parse(&self.address).map(|address| address.port)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let port = self.port();
        let len = 2 + usize::from(port.is_some()) + usize::from(!self.metadata.is_empty());
        let mut node = serializer.serialize_struct("Node", len)?;
        node.serialize_field("id", &self.id)?;
        node.serialize_field("address", &self.address)?;
        if let Some(port) = port {
            node.serialize_field("port", &port)?;
        }
        if !self.metadata.is_empty() {
            node.serialize_field("metadata", &self.metadata)?;
        }
        node.end()
    }
}

/// A node as other writers put it down: the port may stand beside the address.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Json {
    #[serde(deserialize_with = "null_as_default")]
    id: Text,
    #[serde(deserialize_with = "null_as_default")]
    address: Text,
    #[serde(deserialize_with = "null_as_default")]
    port: u16,
    #[serde(deserialize_with = "null_as_default")]
    metadata: Metadata,
}

impl From<Json> for Node {
    fn from(json: Json) -> Self {
        let Text(mut address) = json.address;
        if json.port != 0 && HostPort::parse(&address).is_none() {
            address = HostPort::join(&address, json.port).into();
        }
        Self {
            id: json.id.0,
            address,
            metadata: json.metadata,
        }
    }
}

/// Names one node of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct NodeRef {
    /// The namespace of the service; empty means that of the registry's options.
    pub namespace: Arc<str>,
    /// The name of the service.
    pub service: Arc<str>,
    /// The id of the node.
    pub id: Arc<str>,
}

impl NodeRef {
    /// Names the node `id` of `service` in the registry's own namespace.
    #[must_use]
    pub fn new(service: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: Arc::default(),
            service: service.into(),
            id: id.into(),
        }
    }

    /// Names the node `id` of `service`, namespace included.
    #[must_use]
    pub fn of(service: &Service, id: impl Into<Arc<str>>) -> Self {
        Self::new(Arc::clone(&service.name), id).with_namespace(Arc::clone(&service.namespace))
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = namespace.into();
        self
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.service, self.id)
    }
}
