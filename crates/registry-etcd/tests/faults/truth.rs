//! What the cluster holds, and what somebody takes it to hold, in a form to compare.

use std::{collections::BTreeSet, sync::Arc};

use vine_etcd_harness::Cluster;
use vine_registry::Service;

/// Where registrations stand in the cluster.
pub(crate) const PREFIX: &str = "/vine/registry/";

/// Nodes, each as a line that says everything of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding(pub(crate) BTreeSet<String>);

impl Holding {
    /// What stands in the cluster, decoded without the engine.
    pub(crate) async fn of_cluster(cluster: &Cluster) -> Self {
        let kvs = cluster.client().range(PREFIX).await;
        let services = kvs.iter().map(|kv| {
            serde_json::from_slice::<Service>(&kv.value)
                .unwrap_or_else(|error| panic!("{error}: {:?}", kv.value))
        });
        Self::of_services(services)
    }

    /// What somebody knows, of `name` alone if given.
    pub(crate) fn of(services: &[Arc<Service>], name: Option<&str>) -> Self {
        let wanted = |service: &&Arc<Service>| name.is_none_or(|name| *service.name == *name);
        Self::of_services(
            services
                .iter()
                .filter(wanted)
                .map(|service| (**service).clone()),
        )
    }

    /// Only what is of `name`, if given.
    pub(crate) fn only(&self, name: Option<&str>) -> Self {
        let Some(name) = name else {
            return self.clone();
        };
        let name = format!("/{name}/");
        Self(
            self.0
                .iter()
                .filter(|line| line.contains(&name))
                .cloned()
                .collect(),
        )
    }

    /// What is here and not there, and the other way round.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let missing: Vec<_> = self.0.difference(&other.0).take(5).collect();
        let extra: Vec<_> = other.0.difference(&self.0).take(5).collect();
        format!(
            "{} and {}; missing {missing:?}; too much {extra:?}",
            self.0.len(),
            other.0.len()
        )
    }

    fn of_services(services: impl Iterator<Item = Service>) -> Self {
        let mut lines = BTreeSet::new();
        for service in services {
            for node in &service.nodes {
                lines.insert(format!(
                    "{}/{}/{} {} {} {:?} {:?}",
                    service.namespace,
                    service.name,
                    service.version,
                    node.id,
                    node.address,
                    node.metadata,
                    service.metadata,
                ));
            }
        }
        Self(lines)
    }
}
