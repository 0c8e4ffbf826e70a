use std::sync::Arc;

use smallvec::SmallVec;

use super::Entry;
use crate::{Node, Nodes, Service, Services};

/// A service as these nodes make it up, each of another id: what a [`View`](super::View) with just them
/// shows, for those who ask once.
///
/// ```
/// use std::sync::Arc;
/// use vine_registry::{Node, Service, view::{Entry, merge}};
///
/// let entry = |id: &str, weight: &str, changed| Entry {
///     source: Arc::new(Service::new("s", "v1").with_metadata([("weight", weight)])),
///     node: Arc::new(Node::new(id, "10.0.0.7:80")),
///     changed,
///     tag: (),
/// };
/// let entries = [entry("a", "heavy", 2), entry("b", "light", 1)];
/// let services = merge(&"vine".into(), &"s".into(), &entries);
/// assert_eq!(services.node_count(), 2);
/// assert_eq!(services[0].metadata.get("weight"), Some("heavy"), "by the latest change");
/// ```
pub fn merge<'a, T: 'a>(
    namespace: &Arc<str>,
    name: &Arc<str>,
    entries: impl IntoIterator<Item = &'a Entry<T>>,
) -> Services {
    let mut versions: SmallVec<[Version<'_, T>; 1]> = SmallVec::new();
    for entry in entries {
        let node = Arc::clone(&entry.node);
        match versions.iter_mut().find(|known| known.has(entry)) {
            Some(version) => {
                version.nodes.push(node);
                if order(entry) > order(version.last) {
                    version.last = entry;
                }
            }
            None => versions.push(Version {
                last: entry,
                nodes: vec![node],
            }),
        }
    }
    let services = versions.into_iter().map(|Version { last, nodes }| {
        let nodes = nodes.into_iter().collect();
        show(namespace, name, &last.source, nodes)
    });
    services.collect()
}

struct Version<'a, T> {
    /// The latest change.
    last: &'a Entry<T>,
    nodes: Vec<Arc<Node>>,
}

impl<T> Version<'_, T> {
    fn has(&self, entry: &Entry<T>) -> bool {
        self.last.source.version == entry.source.version
    }
}

/// What a change counts by.
fn order<T>(entry: &Entry<T>) -> (u64, &str) {
    (entry.changed, &entry.node.id)
}

/// A service in one version, which says of itself what stands in `source`.
pub(super) fn show(
    namespace: &Arc<str>,
    name: &Arc<str>,
    source: &Service,
    nodes: Nodes,
) -> Service {
    Service {
        name: Arc::clone(name),
        version: Arc::clone(&source.version),
        namespace: Arc::clone(namespace),
        metadata: source.metadata.clone(),
        endpoints: Arc::clone(&source.endpoints),
        nodes,
        ttl: source.ttl,
        apis: Arc::clone(&source.apis),
    }
}
