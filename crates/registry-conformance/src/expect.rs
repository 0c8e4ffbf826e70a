//! How the cases look at a registry: again and again until a deadline, never with a hopeful sleep.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use vine_registry::{
    Error, GetOptions, Nodes, Registry, RegistryExt, Service, ServiceSummary, Services,
};

use crate::{Handle, samples::NAME};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long is watched that something does not happen.
pub(crate) const WHILE: Duration = Duration::from_millis(500);

const POLL: Duration = Duration::from_millis(10);

/// Asks until the answer is right.
pub(crate) async fn eventually<T, F, Fut>(what: impl Display, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => {
                panic!("{what}: still {seen} after {PATIENCE:?}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Waits for what has to come.
pub(crate) async fn soon<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}

/// Registers what has to be taken.
pub(crate) async fn register(registry: Handle<'_>, service: impl Into<Arc<Service>> + Send) {
    let service = service.into();
    if let Err(error) = registry.register(Arc::clone(&service)).await {
        panic!("register refuses {service:?}: {error}");
    }
}

/// Deregisters what there is no reason to refuse.
pub(crate) async fn deregister(registry: Handle<'_>, service: &Service) {
    if let Err(error) = registry.deregister(service).await {
        panic!("deregister refuses {service:?}: {error}");
    }
}

/// The versions and ids, for instance `v1: n1 n2; v2: n3`.
pub(crate) fn shape(services: &[Arc<Service>]) -> String {
    let versions = services
        .iter()
        .map(|service| format!("{}: {}", service.version, ids(&service.nodes)));
    versions.collect::<Vec<_>>().join("; ")
}

/// The ids, sorted, with a space between.
pub(crate) fn ids(nodes: &Nodes) -> String {
    let mut ids: Vec<&str> = nodes.iter().map(|node| &*node.id).collect();
    ids.sort_unstable();
    ids.join(" ")
}

/// What a look-up by name gives; nothing when there is none.
pub(crate) async fn found(registry: Handle<'_>, name: &str) -> Services {
    found_with(registry, name, &GetOptions::new()).await
}

/// What a look-up by name gives; nothing when there is none.
pub(crate) async fn found_with(registry: Handle<'_>, name: &str, options: &GetOptions) -> Services {
    let services = match registry.get_service_with(name, options).await {
        Ok(services) => services,
        Err(Error::NotFound { .. }) => return Services::new(),
        Err(error) => panic!("get_service({name:?}) fails: {error}"),
    };
    assert!(
        !services.is_empty() && services.iter().all(|service| !service.nodes.is_empty()),
        "Registry::get_service_with gives live nodes, or else NotFound; got {services:?}"
    );
    assert!(
        services.is_sorted_by(|a, b| a.version < b.version),
        "Registry::get_service_with gives one service for each version, sorted; got {services:?}"
    );
    services
}

/// Waits until a look-up by name gives these versions and ids; `""` is none.
pub(crate) async fn sees(registry: Handle<'_>, name: &str, expected: &str) -> Services {
    sees_with(registry, name, &GetOptions::new(), expected).await
}

/// Waits until a look-up by name gives these versions and ids; `""` is none.
pub(crate) async fn sees_with(
    registry: Handle<'_>,
    name: &str,
    options: &GetOptions,
    expected: &str,
) -> Services {
    eventually(format!("{name:?} shall be {expected:?}"), || async {
        let services = found_with(registry, name, options).await;
        match shape(&services) {
            got if got == expected => Ok(services),
            got => Err(format!("{got:?}")),
        }
    })
    .await
}

/// Waits until both handles see these versions and ids of [`NAME`].
pub(crate) async fn both(a: Handle<'_>, b: Handle<'_>, expected: &str) {
    sees(a, NAME, expected).await;
    sees(b, NAME, expected).await;
}

/// Waits until a look-up gives just this service in its version, field by field.
pub(crate) async fn holds(registry: Handle<'_>, expected: &Service) {
    let mut expected = expected.clone();
    if expected.namespace.is_empty() {
        expected.namespace = Arc::clone(&registry.options().namespace);
    }
    let options = GetOptions::new().with_namespace(Arc::clone(&expected.namespace));
    let what = format!(
        "get_service of {:?} in {:?}",
        expected.name, expected.version
    );
    eventually(what, || async {
        let services = found_with(registry, &expected.name, &options).await;
        match services.version(&expected.version) {
            Some(service) if **service == expected => Ok(()),
            Some(service) => Err(difference(&expected, service)),
            None => Err(format!("without it: {:?}", shape(&services))),
        }
    })
    .await;
}

/// What is not as expected, and nothing else.
fn difference(expected: &Service, got: &Service) -> String {
    fn unequal<T: Debug + PartialEq>(field: &str, expected: &T, got: &T) -> Option<String> {
        (expected != got).then(|| format!("with {field} {got:?} instead of {expected:?}"))
    }
    let ids: BTreeSet<_> = [expected, got]
        .into_iter()
        .flat_map(|service| service.nodes.iter().map(|node| &node.id))
        .collect();
    let nodes = ids
        .into_iter()
        .filter_map(|id| unequal("the node", &expected.nodes.get(id), &got.nodes.get(id)));
    let fields = [
        unequal("name", &expected.name, &got.name),
        unequal("namespace", &expected.namespace, &got.namespace),
        unequal("metadata", &expected.metadata, &got.metadata),
        unequal("endpoints", &expected.endpoints, &got.endpoints),
        unequal("ttl", &expected.ttl, &got.ttl),
        unequal("apis", &expected.apis, &got.apis),
    ];
    fields
        .into_iter()
        .flatten()
        .chain(nodes)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Looks for some time that the versions and ids of [`NAME`] stay these.
pub(crate) async fn stays(registry: Handle<'_>, expected: &str, time: Duration) {
    stays_until(registry, expected, Instant::now() + time).await;
}

/// Looks until a moment that the versions and ids of [`NAME`] stay these.
pub(crate) async fn stays_until(registry: Handle<'_>, expected: &str, end: Instant) {
    while Instant::now() < end {
        let got = shape(&found(registry, NAME).await);
        if Instant::now() < end {
            assert_eq!(got, expected, "{NAME:?} shall stay as it is");
        }
        sleep(POLL).await;
    }
}

/// Waits until a listing is right.
pub(crate) async fn lists<T: PartialEq + Debug + Send + Sync>(
    registry: Handle<'_>,
    of: impl Fn(&[ServiceSummary]) -> T + Send + Sync,
    expected: T,
) -> Vec<ServiceSummary> {
    eventually(format!("list_services shall give {expected:?}"), || {
        registry.list_services().map(|listing| {
            let listing = listing.expect("list_services answers");
            match of(&listing) {
                got if got == expected => Ok(listing),
                got => Err(format!("{got:?}")),
            }
        })
    })
    .await
}

/// Lets the clock go on by which engines order changes of several processes: it counts
/// milliseconds.
pub(crate) async fn tick() {
    sleep(Duration::from_millis(5)).await;
}

/// The namespace that an engine takes for services which name none.
pub(crate) fn own(registry: Handle<'_>) -> Arc<str> {
    Arc::clone(&Registry::options(registry).namespace)
}
