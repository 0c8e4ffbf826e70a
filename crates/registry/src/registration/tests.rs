use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::timeout;

use super::*;
use crate::{
    Capabilities, GetOptions, ListOptions, MemoryRegistry, Options, RegistryExt, ServiceSummary,
    Services, WatchOptions, Watcher,
};

/// A memory registry that fails when told to, and counts calls.
#[derive(Clone, Debug)]
struct Flaky {
    inner: MemoryRegistry,
    state: Arc<Mutex<(Option<Error>, usize)>>,
}

impl Flaky {
    fn new() -> Self {
        Self {
            inner: MemoryRegistry::new(),
            state: Arc::default(),
        }
    }

    fn fail(&self, error: impl Into<Option<Error>>) {
        self.state.lock().unwrap().0 = error.into();
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().1
    }

    /// The next call does.
    fn panic(&self) {
        self.state.lock().unwrap().1 = usize::MAX;
    }

    fn check(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        assert_ne!(state.1, usize::MAX, "told to");
        state.1 += 1;
        state.0.clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Registry for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }
    fn options(&self) -> &Options {
        self.inner.options()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        self.check()?;
        self.inner.register_with(service, options).await
    }
    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        self.check()?;
        self.inner.deregister_with(service, options).await
    }
    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        self.inner.get_service_with(name, options).await
    }
    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        self.inner.list_services_with(options).await
    }
    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        self.inner.watch(options).await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

fn service(version: &str, ids: &[&str]) -> Service {
    Service::new("s", version).with_nodes(ids.iter().map(|id| Node::new(*id, "127.0.0.1:80")))
}

fn start(registry: &Flaky, service: Service) -> Registration {
    Registration::start(registry.clone(), service, RegistrationOptions::new())
}

async fn ids(registry: &Flaky) -> Vec<String> {
    let services = registry.get_service("s").await.unwrap_or_default();
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id.to_string()).collect();
    ids.sort();
    ids
}

fn outage() -> Error {
    Error::unavailable("flaky", "told to")
}

#[tokio::test(start_paused = true)]
async fn outlives_an_outage_and_tells_the_truth_to_the_second() {
    let registry = Flaky::new();
    let registration = start(
        &registry,
        service("v1", &["a"]).with_ttl(Duration::from_secs(30)),
    );
    registration.registered().await.unwrap();
    registry.fail(outage());
    let state = timeout(Duration::from_millis(1001), registration.changed())
        .await
        .unwrap();
    assert!(matches!(
        state,
        RegistrationState::Retrying(Error::Unavailable { .. })
    ));
    let before = registry.calls();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let calls = registry.calls() - before;
    assert!(
        (120..1200).contains(&calls),
        "{calls} attempts in ten minutes"
    );
    assert!(ids(&registry).await.is_empty());
    registry.fail(None);
    timeout(Duration::from_secs(6), registration.registered())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ids(&registry).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn need_never_ask_again() {
    let registry = Flaky::new();
    let options = RegistrationOptions::new().with_interval(Duration::MAX);
    let registration = Registration::start(registry.clone(), service("v1", &["a"]), options);
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(registration.state().is_registered());
    assert_eq!(registry.calls(), 1);
    registration.update(service("v1", &["b"]));
    registration.registered().await.unwrap();
    registration.close().await.unwrap();
    assert!(ids(&registry).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn asks_three_times_in_a_short_ttl() {
    let registry = Flaky::new();
    let registration = start(
        &registry,
        service("v1", &["a"]).with_ttl(Duration::from_millis(300)),
    );
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ids(&registry).await, ["a"]);
    assert!(
        (290..=310).contains(&registry.calls()),
        "{}",
        registry.calls()
    );
}

/// Else its ttl would end between two attempts, and an outage would end unseen.
#[tokio::test(start_paused = true)]
async fn asks_as_often_in_an_outage() {
    let registry = Flaky::new();
    registry.fail(outage());
    let registration = start(
        &registry,
        service("v1", &["a"]).with_ttl(Duration::from_secs(3)),
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = registry.calls();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = registry.calls() - before;
    assert!((60..1200).contains(&calls), "{calls}");
    registry.fail(None);
    let from = Instant::now();
    registration.registered().await.unwrap();
    assert!(from.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_update_takes_away_what_is_no_longer_in_it() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a", "b"]));
    registration.registered().await.unwrap();
    registry.fail(outage());
    registration.update(service("v1", &["c"]));
    registration.changed().await;
    registration.update(service("v2", &["b", "d"]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(ids(&registry).await, ["a", "b"]);
    registry.fail(None);
    registration.registered().await.unwrap();
    assert_eq!(ids(&registry).await, ["b", "d"]);
    registration.close().await.unwrap();
    assert!(ids(&registry).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_denied_one_asks_every_half_minute() {
    let registry = Flaky::new();
    registry.fail(Error::PermissionDenied {
        registry: "flaky".into(),
        reason: "told to".into(),
    });
    let registration = start(&registry, service("v1", &["a"]));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(registry.calls(), 11);
    assert!(matches!(
        registration.state(),
        RegistrationState::Retrying(Error::PermissionDenied { .. })
    ));
}

/// Else its ttl would end, or it would say for long that it is not registered when it is.
#[tokio::test(start_paused = true)]
async fn a_denied_one_asks_three_times_in_its_ttl() {
    let registry = Flaky::new();
    registry.fail(Error::PermissionDenied {
        registry: "flaky".into(),
        reason: "told to".into(),
    });
    let brief = service("v1", &["a"]).with_ttl(Duration::from_secs(15));
    let registration = start(&registry, brief);
    tokio::time::sleep(Duration::from_secs(51)).await;
    assert_eq!(registry.calls(), 11);
    registry.fail(None);
    registration.registered().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bad_service_fails_until_it_is_mended() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &[]));
    let wrong = |answer: Result<()>| match answer {
        Err(Error::InvalidService { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(registration.registered().await), "nodes");
    let mut observer = registration.observer();
    registration.update(service("v1", &[]).with_node(Node::new("a", "nowhere")));
    assert_eq!(wrong(registration.registered().await), "node address");
    assert!(observer.changed().await, "another reason is told, too");
    registration.update(service("v1", &["a"]));
    registration.registered().await.unwrap();
    assert!(registration.state().is_registered());
}

#[tokio::test(start_paused = true)]
async fn who_waits_after_an_update_waits_for_that() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    registration.update(service("v1", &["b"]));
    registration.registered().await.unwrap();
    assert_eq!(ids(&registry).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn naming_the_registrys_own_namespace_is_no_change() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    let mut watcher = registry.watch_service("s").await.unwrap();
    let own = Arc::clone(&registry.options().namespace);
    registration.update(service("v1", &["a"]).with_namespace(own));
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(ids(&registry).await, ["a"]);
    let told = timeout(Duration::from_secs(1), watcher.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_ours_is_no_reason_to_give_up() {
    let registry = Flaky::new();
    let other = registry.inner.handle();
    other.register(service("v1", &["a"])).await.unwrap();
    registry.fail(outage());
    let registration = start(&registry, service("v1", &["a", "b"]));
    registration.changed().await;
    let brief = service("v1", &["c"]).with_ttl(Duration::from_secs(3));
    registration.update(brief);
    registry.fail(None);
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ids(&registry).await, ["a", "c"]);
    registration.close().await.unwrap();
    assert_eq!(ids(&registry).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_is_kept_without_a_ttl() {
    let registry = Flaky::new();
    let options = RegistrationOptions::new().with_interval(Duration::from_secs(10));
    let registration = Registration::start(registry.clone(), service("v1", &["a"]), options);
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(95)).await;
    assert_eq!(registry.calls(), 10);

    let registry = Flaky::new();
    let options = RegistrationOptions::new().with_interval(Duration::ZERO);
    let registration = Registration::start(registry.clone(), service("v1", &["a"]), options);
    registration.registered().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        (90..=101).contains(&registry.calls()),
        "{}",
        registry.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_leaves_nobody_waiting() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    registry.panic();
    let answer = registration.changed().await;
    assert!(matches!(answer, RegistrationState::Closed), "{answer:?}");
    let answer = registration.registered().await;
    assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_says_so_and_leaves_the_winner_alone() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    let mut observer = registration.observer();
    let winner = registry.inner.handle();
    winner.register(service("v1", &["a"])).await.unwrap();
    while observer.changed().await && !matches!(observer.state(), RegistrationState::Replaced) {}
    let calls = registry.calls();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(registry.calls(), calls);
    assert!(matches!(
        registration.registered().await,
        Err(Error::Replaced { .. })
    ));
    registration.close().await.unwrap();
    assert_eq!(ids(&registry).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_deregisters() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    let mut watcher = registry.watch_service("s").await.unwrap();
    drop(registration);
    assert_eq!(
        watcher.next_event().await.unwrap().action,
        crate::Action::Delete
    );
}

#[tokio::test(start_paused = true)]
async fn says_closed_with_the_registry() {
    let registry = Flaky::new();
    let registration = start(&registry, service("v1", &["a"]));
    registration.registered().await.unwrap();
    registry.close().await.unwrap();
    assert!(matches!(
        registration.changed().await,
        RegistrationState::Closed
    ));
    registration.close().await.unwrap();
}
