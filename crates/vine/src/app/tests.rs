use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Duration, Instant},
};
use vine_registry::{
    Action, Error, MemoryRegistry, Node, Options, Registry, RegistryExt, Service, Update, Watcher,
};

use super::*;
use crate::{Advertise, Registries, health::Readiness};

const NAME: &str = "go.vine.test";

fn app(registry: &MemoryRegistry) -> AppBuilder {
    App::builder(NAME)
        .version("v1.0.0")
        .id("one")
        .address("127.0.0.1:0")
        .registry(registry.handle())
}

/// Serves until it is asked to stop.
async fn serve(listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    shutdown.wait().await;
    drop(listener);
    Ok(())
}

async fn next_event(watcher: &mut Watcher) -> (Action, Arc<Service>) {
    let event = watcher.next_event().await.expect("an event");
    (event.action, event.service)
}

/// Notes what happens, and in which order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn add(&self, entry: &'static str) -> std::future::Ready<Result<(), BoxError>> {
        self.0.lock().unwrap().push(entry);
        ready(Ok(()))
    }

    fn entries(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn everything_has_its_order() {
    let registry = MemoryRegistry::new();
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    let health = Health::new();
    let log = Log::default();
    let note = |entry| {
        let log = log.clone();
        move || log.add(entry)
    };
    let (after_start, before_stop, server) = (log.clone(), log.clone(), log.clone());
    let start = Instant::now();
    app(&registry)
        .health(health.clone())
        .drain_time(Duration::from_secs(3))
        .before_start(note("before start"))
        .after_start(move |app: App| async move {
            assert!(app.health().is_ready());
            assert_eq!(
                app.registry().get_service(NAME).await.unwrap().node_count(),
                1
            );
            after_start.add("after start").await.unwrap();
            app.stop();
            Ok(())
        })
        .before_stop(move |app: App| async move {
            assert_eq!(app.health().readiness(), Readiness::Stopping);
            assert_eq!(
                app.registry().get_service(NAME).await.unwrap().node_count(),
                1
            );
            before_stop.add("before stop").await
        })
        .after_stop(note("after stop"))
        .run_until(pending(), |listener, shutdown| async move {
            server.add("serving").await.unwrap();
            serve(listener, shutdown).await?;
            assert_eq!(start.elapsed(), Duration::from_secs(3), "the drain time");
            server.add("served").await.unwrap();
            io::Result::Ok(())
        })
        .await
        .unwrap();
    let order = [
        "before start",
        "serving",
        "after start",
        "before stop",
        "served",
        "after stop",
    ];
    assert_eq!(log.entries(), order);
    assert_eq!(health.readiness(), Readiness::Stopping);

    let (action, service) = next_event(&mut watcher).await;
    assert_eq!(action, Action::Create);
    assert_eq!(&*service.version, "v1.0.0");
    let (action, service) = next_event(&mut watcher).await;
    assert_eq!(action, Action::Update);
    let node = service.nodes.get("one").unwrap();
    assert_eq!(node.metadata.get(Node::STATE), Some("draining"));
    assert_eq!(next_event(&mut watcher).await.0, Action::Delete);
}

#[tokio::test(start_paused = true)]
async fn registers_what_it_was_told() {
    let registry = MemoryRegistry::with_options(Options::new().with_namespace("other")).unwrap();
    App::builder("wrong")
        .name(NAME)
        .namespace("mine")
        .metadata([("kind", "test")])
        .node_metadata([(Node::ZONE, "north")])
        .endpoints([vine_registry::Endpoint::new("Test.Call")])
        .apis([serde_json::json!({"openapi": "3.1.0"})])
        .address("127.0.0.1:0")
        .advertise("10.1.2.3".parse::<Advertise>().unwrap())
        .register_ttl(Duration::from_secs(30))
        .registry(registry.handle())
        .after_start(|app: App| async move {
            let options = vine_registry::GetOptions::new().with_namespace("mine");
            let services = app.registry().get_service_with(NAME, &options).await?;
            let service = &services[0];
            assert_eq!(service.metadata.get("kind"), Some("test"));
            assert_eq!(service.endpoints.len(), 1);
            assert_eq!(service.apis.len(), 1);
            assert_eq!(service.ttl, Some(Duration::from_secs(30)));
            let node = service.nodes.nth(0).unwrap();
            assert_eq!(node.metadata.get(Node::ZONE), Some("north"));
            assert_eq!(
                *node.address,
                format!("10.1.2.3:{}", app.local_addr().port())
            );
            assert_eq!(node.id.len(), 36, "a random id");
            app.stop();
            Ok(())
        })
        .run_until(pending(), serve)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_deregistered_at_once() {
    let registry = MemoryRegistry::new();
    let start = Instant::now();
    let error = app(&registry)
        .run_until(pending(), |_listener, _shutdown| async {
            Err::<(), _>("broken")
        })
        .await
        .unwrap_err();
    assert!(matches!(&error, RunError::Serve(source) if source.to_string() == "broken"));
    assert!(start.elapsed().is_zero(), "nobody is there to drain");
    assert!(registry.get_service(NAME).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_stop_is_cut_off() {
    let registry = MemoryRegistry::new();
    let (dropped, is_dropped) = oneshot::channel::<()>();
    let start = Instant::now();
    let error = app(&registry)
        .drain_time(Duration::from_secs(1))
        .stop_deadline(Duration::from_secs(5))
        .run_until(ready(()), |_listener, _shutdown| async move {
            let _held = dropped;
            pending::<io::Result<()>>().await
        })
        .await;
    // Asked before it had started: nothing was to stop.
    assert!(error.is_ok() && is_dropped.await.is_err());

    let (started, is_started) = oneshot::channel();
    let error = app(&registry)
        .drain_time(Duration::from_secs(1))
        .stop_deadline(Duration::from_secs(5))
        .run_until(
            async { is_started.await.unwrap() },
            |_listener, _shutdown| async {
                started.send(()).unwrap();
                pending::<io::Result<()>>().await
            },
        )
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Deadline { after } if after == Duration::from_secs(5)));
    assert_eq!(start.elapsed(), Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_be_given_all_the_time_there_is() {
    let (stop, is_stopped) = oneshot::channel();
    let start = Instant::now();
    app(&MemoryRegistry::new())
        .stop_deadline(Duration::MAX)
        .after_start(|_| async {
            stop.send(()).unwrap();
            Ok(())
        })
        .run_until(
            async { is_stopped.await.unwrap() },
            |listener, shutdown| async {
                serve(listener, shutdown).await?;
                tokio::time::sleep(Duration::from_secs(3600)).await;
                io::Result::Ok(())
            },
        )
        .await
        .unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(3601), "with the drain");
}

#[tokio::test(start_paused = true)]
async fn a_second_request_ends_it_at_once() {
    /// Asks whenever it is told to.
    struct Told(tokio::sync::mpsc::Receiver<()>);

    impl signals::Requests for Told {
        async fn next(&mut self) {
            self.0.recv().await.expect("a request");
        }
    }

    let registry = MemoryRegistry::new();
    let (tell, told) = tokio::sync::mpsc::channel(2);
    let start = Instant::now();
    let error = run::run(
        app(&registry).drain_time(Duration::from_secs(60)),
        Told(told),
        |_listener, _shutdown| async move {
            tell.send(()).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            tell.send(()).await?;
            pending::<Result<(), BoxError>>().await
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(error, RunError::Aborted));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn wrong_settings_end_it_before_any_hook() {
    let registry = MemoryRegistry::new();
    let log = Log::default();
    let hook = {
        let log = log.clone();
        move || log.add("before start")
    };
    let error = app(&registry)
        .address("nonsense")
        .before_start(hook)
        .run_until(pending(), serve)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RunError::Start(Error::InvalidOption { .. })
    ));
    assert!(log.entries().is_empty());

    let start = Instant::now();
    let error = app(&registry)
        .id("")
        .run_until(pending(), serve)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RunError::Register(Error::InvalidService { .. })
    ));
    assert!(start.elapsed().is_zero(), "nobody knows it yet");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_stops_it_in_order() {
    let registry = MemoryRegistry::new();
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    let error = app(&registry)
        .after_start(|_| ready(Err("no cake".into())))
        .run_until(pending(), serve)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RunError::Hook {
            when: "after start",
            ..
        }
    ));
    let mut last = None;
    while let Some(Update::Event(event)) = watcher.next().await {
        last = Some(event.action);
        if event.action == Action::Delete {
            break;
        }
    }
    assert_eq!(last, Some(Action::Delete));
}

#[tokio::test(start_paused = true)]
async fn another_holder_of_the_id_makes_it_unready() {
    let registry = MemoryRegistry::new();
    let health = Health::new();
    let other = registry.handle();
    let observer = health.clone();
    let usurper = Service::new(NAME, "v1.0.0").with_node(Node::new("one", "127.0.0.1:1"));
    app(&registry)
        .health(health)
        .after_start(move |app: App| async move {
            other.register(usurper).await?;
            let unregistered =
                |readiness: &Readiness| matches!(readiness, Readiness::Unregistered(_));
            observer.wait_for(unregistered).await;
            app.stop();
            Ok(())
        })
        .run_until(pending(), serve)
        .await
        .unwrap();
    let services = registry.get_service(NAME).await.unwrap();
    assert_eq!(
        &*services[0].nodes.nth(0).unwrap().address,
        "127.0.0.1:1",
        "the later one stays"
    );
}

#[tokio::test]
async fn it_can_run_in_a_task_of_its_own() {
    let registry = MemoryRegistry::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(
        app(&registry)
            .drain_time(Duration::ZERO)
            .run_until(async { stopped.await.unwrap() }, serve),
    );
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
}

/// A registry that answers nothing once it is told so.
#[derive(Clone, Debug)]
struct Silent {
    inner: MemoryRegistry,
    is_silent: Arc<AtomicBool>,
}

impl Silent {
    async fn answer(&self) {
        if self.is_silent.load(Ordering::Relaxed) {
            pending().await
        }
    }
}

#[async_trait::async_trait]
impl Registry for Silent {
    fn name(&self) -> &str {
        "silent"
    }
    fn options(&self) -> &Options {
        self.inner.options()
    }
    fn capabilities(&self) -> vine_registry::Capabilities {
        self.inner.capabilities()
    }
    async fn register_with(
        &self,
        service: Arc<Service>,
        options: &vine_registry::RegisterOptions,
    ) -> vine_registry::Result<()> {
        self.answer().await;
        self.inner.register_with(service, options).await
    }
    async fn deregister_with(
        &self,
        service: &Service,
        options: &vine_registry::DeregisterOptions,
    ) -> vine_registry::Result<()> {
        self.answer().await;
        self.inner.deregister_with(service, options).await
    }
    async fn get_service_with(
        &self,
        name: &str,
        options: &vine_registry::GetOptions,
    ) -> vine_registry::Result<vine_registry::Services> {
        self.inner.get_service_with(name, options).await
    }
    async fn list_services_with(
        &self,
        options: &vine_registry::ListOptions,
    ) -> vine_registry::Result<Vec<vine_registry::ServiceSummary>> {
        self.inner.list_services_with(options).await
    }
    async fn watch(&self, options: vine_registry::WatchOptions) -> vine_registry::Result<Watcher> {
        self.inner.watch(options).await
    }
    async fn close(&self) -> vine_registry::Result<()> {
        self.answer().await;
        self.inner.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_silent_keeps_nobody_from_stopping() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let (silent, inner) = (Arc::clone(&is_silent), MemoryRegistry::new());
    let mut registries = Registries::new();
    registries.insert("silent", move |_| {
        let (inner, is_silent) = (inner.clone(), Arc::clone(&silent));
        Ok(Silent { inner, is_silent })
    });
    registries.set_default("silent");
    let start = Instant::now();
    App::builder(NAME)
        .address("127.0.0.1:0")
        .registries(registries)
        .after_start(move |app: App| {
            is_silent.store(true, Ordering::Relaxed);
            app.stop();
            ready(Ok(()))
        })
        .after_stop(move || {
            assert_eq!(start.elapsed(), Duration::from_secs(1));
            ready(Ok(()))
        })
        .run_until(pending(), |listener, shutdown| async move {
            serve(listener, shutdown).await?;
            assert_eq!(start.elapsed(), Duration::from_secs(1));
            io::Result::Ok(())
        })
        .await
        .unwrap();
    let taken = start.elapsed();
    assert!(taken <= Duration::from_secs(10), "{taken:?}");
}
