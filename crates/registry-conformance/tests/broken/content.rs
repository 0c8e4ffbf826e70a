//! Faults of what is registered: other text, other fields, another ttl.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vine_registry::{Metadata, Node, RegisterOptions, Registry, Service};

use crate::{engine::Broken, faults::Fault};

impl Broken {
    /// What is registered instead of `service`.
    pub(crate) async fn altered(&self, service: &Arc<Service>) -> Arc<Service> {
        let new = Service::clone(service);
        let current = self.current(service).await;
        let known = service.nodes.nth(0).is_some_and(|node| {
            let current = current.as_ref();
            current.is_some_and(|current| current.nodes.get(&node.id).is_some())
        });
        let altered = match (self.fault, &current) {
            (Fault::FirstFieldsStay, Some(current)) => with_fields(new, current),
            (Fault::NodeChangesBringNoFields, Some(current)) if known => with_fields(new, current),
            (Fault::MergesMetadata, Some(current)) => {
                let merged = current.metadata.iter().chain(service.metadata.iter());
                new.with_metadata(merged.collect::<Metadata>())
            }
            (Fault::KeepsSixtyFourNodes, _) => each_node(new, |i, node| (i < 64).then_some(node)),
            (Fault::FoldsNames, _) => {
                let mut folded = new;
                folded.name = folded.name.to_lowercase().into();
                folded
            }
            (Fault::FoldsIds, _) => each_node(new, |_, mut node| {
                node.id = node.id.to_lowercase().into();
                Some(node)
            }),
            (Fault::LowersAddresses, _) => each_node(new, |_, mut node| {
                node.address = node.address.to_lowercase().into();
                Some(node)
            }),
            (Fault::DropsApis, _) => new.with_apis([]),
            (Fault::AsciiOnly, _) => each_pair(new, |key, value| {
                Some((key.to_owned(), value.replace(|c: char| !c.is_ascii(), "?")))
            }),
            (Fault::DropsEmptyValues, _) => each_pair(new, |key, value| {
                (!value.is_empty()).then(|| (key.to_owned(), value.to_owned()))
            }),
            (Fault::FoldsKeys, _) => each_pair(new, |key, value| {
                Some((key.to_lowercase(), value.to_owned()))
            }),
            (Fault::CutsLongText, _) => each_pair(new, |key, value| {
                Some((key.to_owned(), value.chars().take(255).collect()))
            }),
            (Fault::HoldsWeak, _) => new,
            (Fault::IgnoresNamespaces, _) => new.with_namespace(""),
            (Fault::HardWiredNamespace, _) if new.namespace.is_empty() => {
                new.with_namespace("vine")
            }
            _ => return Arc::clone(service),
        };
        Arc::new(altered)
    }

    /// What ttl is registered.
    pub(crate) fn with_ttl(
        &self,
        service: Arc<Service>,
        options: &RegisterOptions,
    ) -> (Arc<Service>, RegisterOptions) {
        let given = options.ttl.or(service.ttl);
        let capabilities = self.capabilities();
        let ttl = match self.fault {
            Fault::NeverExpires => None,
            Fault::ExpiresEarly => given.map(|ttl| ttl / 2),
            Fault::ExpiresLate => given.map(|ttl| ttl + Duration::from_secs(10)),
            Fault::ExpiresByDefault => given.or(Some(Duration::from_secs(1))),
            Fault::IgnoresTtlOption => service.ttl,
            Fault::ClampsTtl => {
                given.map(|ttl| ttl.clamp(capabilities.min_ttl, capabilities.max_ttl))
            }
            Fault::FirstTtlStays => {
                let known = service
                    .nodes
                    .nth(0)
                    .map(|node| self.key(&service, &node.id));
                let deadline = known.and_then(|key| self.state().known.get(&key)?.deadline);
                let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                left.filter(|left| !left.is_zero()).or(given)
            }
            _ => return (service, options.clone()),
        };
        let mut service = Service::clone(&service);
        service.ttl = ttl;
        (Arc::new(service), RegisterOptions::new())
    }
}

/// The nodes of one with the fields of another.
pub(crate) fn with_fields(service: Service, of: &Service) -> Service {
    let mut fields = of.clone();
    fields.nodes = service.nodes;
    fields.namespace = service.namespace;
    fields
}

fn each_node(service: Service, alter: impl Fn(usize, Node) -> Option<Node>) -> Service {
    let nodes = service.nodes.iter().enumerate();
    let nodes: Vec<_> = nodes
        .filter_map(|(i, node)| alter(i, Node::clone(node)))
        .collect();
    service.with_nodes(nodes)
}

fn each_pair(service: Service, alter: impl Fn(&str, &str) -> Option<(String, String)>) -> Service {
    let pairs = |metadata: &Metadata| -> Metadata {
        metadata
            .iter()
            .filter_map(|(key, value)| alter(key, value))
            .collect()
    };
    let metadata = pairs(&service.metadata);
    each_node(service.with_metadata(metadata), |_, mut node| {
        node.metadata = pairs(&node.metadata);
        Some(node)
    })
}
