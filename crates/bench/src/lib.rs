//! What the benchmarks share: services to register, and the alternative to measure beside.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use vine_registry::{Node, Service};

/// A service with nodes `n0`, `n1`, and so on.
#[must_use]
pub fn service(name: &str, nodes: usize) -> Service {
    Service::new(name, "v1.0.0").with_nodes((0..nodes).map(node))
}

/// The node number `i`, with an address and one fact.
#[must_use]
pub fn node(i: usize) -> Node {
    Node::new(
        format!("n{i}"),
        format!("10.{}.{}.{}:8080", i >> 16 & 255, i >> 8 & 255, i & 255),
    )
    .with_metadata([("os", "linux")])
}

/// What a registry is without thought, as Go's is: one lock, and a deep copy for each look-up.
#[derive(Debug, Default)]
pub struct Naive {
    services: RwLock<HashMap<String, Vec<Plain>>>,
}

/// A node as plain owned values.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The node's id.
    pub id: String,
    /// The node's address.
    pub address: String,
    /// The node's metadata.
    pub metadata: HashMap<String, String>,
}

impl Naive {
    /// Adds the nodes of a service.
    pub fn register(&self, service: &Service) {
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let nodes = services.entry(service.name.to_string()).or_default();
        nodes.extend(service.nodes.iter().map(|node: &Arc<Node>| {
            Plain {
                id: node.id.to_string(),
                address: node.address.to_string(),
                metadata: node
                    .metadata
                    .iter()
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .collect(),
            }
        }));
    }

    /// A copy of the nodes of a service.
    #[must_use]
    pub fn get(&self, name: &str) -> Vec<Plain> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(name).cloned().unwrap_or_default()
    }
}
