use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Endpoint, Metadata, Node, Nodes, null_as_default};

/// The namespace of whoever names none.
pub const DEFAULT_NAMESPACE: &str = "vine";

/// A service in one of its versions: what it is called, what it offers and which nodes run it.
///
/// Cheap to clone: everything in it is shared.
///
/// ```
/// use vine_registry::{Endpoint, Node, Service};
///
/// let service = Service::new("go.vine.test", "v1.0.0")
///     .with_metadata([("Content-Type", "application/json")])
///     .with_endpoint(Endpoint::new("Test.Call"))
///     .with_node(Node::new("test-1", "127.0.0.1:11500"));
/// let json = serde_json::to_value(&service)?;
/// assert_eq!(json["nodes"][0]["port"], 11500);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Service {
    /// The name that clients ask for.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Arc<str>,
    /// The version, for instance `v1.0.0`. Versions are sorted as text.
    #[serde(deserialize_with = "null_as_default")]
    pub version: Arc<str>,
    /// Services in different namespaces do not see each other; empty means that of the
    /// registry's options.
    #[serde(
        skip_serializing_if = "str::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub namespace: Arc<str>,
    /// Facts about the service.
    #[serde(
        skip_serializing_if = "Metadata::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub metadata: Metadata,
    /// The methods that it offers.
    #[serde(
        skip_serializing_if = "<[_]>::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub endpoints: Arc<[Endpoint]>,
    /// The instances that run it.
    #[serde(
        skip_serializing_if = "Nodes::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub nodes: Nodes,
    /// How long a registration holds without being renewed; whole seconds in JSON, rounded up,
    /// and no more than an `i64` holds.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds",
        deserialize_with = "from_seconds"
    )]
    pub ttl: Option<Duration>,
    /// OpenAPI documents.
    #[serde(
        skip_serializing_if = "<[_]>::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub apis: Arc<[serde_json::Value]>,
}

impl Service {
    /// A service with a name and a version and nothing else.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            ..Self::default()
        }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the facts about the service.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Metadata>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Adds a method.
    #[must_use]
    pub fn with_endpoint(self, endpoint: Endpoint) -> Self {
        let endpoints = self
            .endpoints
            .iter()
            .cloned()
            .chain([endpoint])
            .collect::<Vec<_>>();
        self.with_endpoints(endpoints)
    }

    /// Sets the methods.
    #[must_use]
    pub fn with_endpoints(mut self, endpoints: impl Into<Arc<[Endpoint]>>) -> Self {
        self.endpoints = endpoints.into();
        self
    }

    /// Adds a node, or puts it in the place of the one with its id.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<Arc<Node>>) -> Self {
        self.nodes.insert(node.into());
        self
    }

    /// Sets the nodes.
    #[must_use]
    pub fn with_nodes(mut self, nodes: impl IntoIterator<Item = impl Into<Arc<Node>>>) -> Self {
        self.nodes = nodes.into_iter().collect();
        self
    }

    /// Sets how long a registration holds without being renewed.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the OpenAPI documents.
    #[must_use]
    pub fn with_apis(mut self, apis: impl Into<Arc<[serde_json::Value]>>) -> Self {
        self.apis = apis.into();
        self
    }

    /// Whether all that belongs to the service and not to a node is the same in both:
    /// metadata, endpoints, ttl and apis.
    #[must_use]
    pub fn same_fields(&self, other: &Self) -> bool {
        self.ttl == other.ttl
            && self.metadata == other.metadata
            && (Arc::ptr_eq(&self.endpoints, &other.endpoints) || self.endpoints == other.endpoints)
            && (Arc::ptr_eq(&self.apis, &other.apis) || self.apis == other.apis)
    }

    /// The same service with other nodes.
    pub(crate) fn with_only(&self, nodes: Nodes) -> Self {
        Self {
            nodes,
            ..self.clone()
        }
    }
}

/// What a listing tells of a service; ask for the service by name for more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceSummary {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The versions with live nodes, sorted.
    pub versions: Vec<Arc<str>>,
    /// How many nodes there are over all versions, where the engine knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
}

impl ServiceSummary {
    /// A summary of a service in its versions.
    #[must_use]
    pub fn new(
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        versions: impl IntoIterator<Item = Arc<str>>,
        nodes: Option<usize>,
    ) -> Self {
        let mut versions: Vec<_> = versions.into_iter().collect();
        versions.sort_unstable();
        versions.dedup();
        Self {
            namespace: namespace.into(),
            name: name.into(),
            versions,
            nodes,
        }
    }
}

fn as_seconds<S: Serializer>(ttl: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let ttl = ttl.unwrap_or_default();
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    // Go reads a signed number, and so do we.
    serializer.serialize_u64(seconds.min(i64::MAX.unsigned_abs()))
}

fn from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    // Go writes 0 for no ttl; a negative one means nothing else.
    let seconds = Option::<i64>::deserialize(deserializer)?.unwrap_or_default();
    Ok(u64::try_from(seconds)
        .ok()
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Duration = Duration::from_secs(i64::MAX.unsigned_abs());

    fn read_back(ttl: Duration) -> Option<Duration> {
        let json = serde_json::to_string(&Service::new("s", "v1").with_ttl(ttl)).unwrap();
        serde_json::from_str::<Service>(&json).unwrap().ttl
    }

    #[test]
    fn a_ttl_without_end_is_the_longest_that_json_holds() {
        for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), MOST] {
            assert_eq!(read_back(ttl), Some(MOST), "{ttl:?}");
        }
        assert_eq!(
            read_back(Duration::from_millis(1)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(read_back(Duration::ZERO), None);
    }

    proptest! {
        #[test]
        fn a_ttl_in_json_is_not_shorter(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let ttl = Duration::new(seconds, nanos);
            let read = read_back(ttl).unwrap_or_default();
            prop_assert!(read >= ttl.min(MOST) && read <= MOST);
            prop_assert!(read - ttl.min(MOST) < Duration::from_secs(1));
            prop_assert_eq!(read_back(read).unwrap_or_default(), read, "once more changes nothing");
        }
    }
}
