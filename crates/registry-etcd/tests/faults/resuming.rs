//! What a watch tells when it goes on after an outage, and in which order.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};
use vine_etcd_harness::{Cluster, ClusterOptions, Mode, Proxy};
use vine_registry::{
    Action, Credentials, Error, Node, Options, Registry, RegistryExt, Service, Update,
    WatchOptions, Watcher,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

use crate::truth::PREFIX;

const NAME: &str = "go.vine.resumed";
/// Less than a denied watch waits.
const SOON: Duration = Duration::from_secs(4);
/// Less than a call waits.
const LITTLE: Duration = Duration::from_millis(300);
/// What takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was missed is told before the watch counts as live again, and nobody finds what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_comes_before_live() {
    let (cluster, proxy, reader) = start().await;
    let mut watcher = reader.watch_service(NAME).await.expect("well");
    cut_off(&proxy, &mut watcher).await;
    assert_eq!(cluster.client().delete(&key("passing")).await, 20);
    proxy.set(Mode::Pass).await;
    let mut gone = 0;
    loop {
        match watcher.next().await.expect("the watch goes on") {
            Update::Event(event) => {
                assert_eq!(event.action, Action::Delete, "{event:?}");
                gone += event.service.nodes.len();
            }
            Update::Live => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone, 20, "it was live before it had told what it missed");
    let found = reader.get_service(NAME).await.expect("one is left");
    assert_eq!(found[0].nodes.len(), 1);
    reader.close().await.expect("well");
}

/// The same when there is no history to go on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_compacted_comes_before_live() {
    let (cluster, proxy, reader) = start().await;
    let mut watcher = reader.watch_service(NAME).await.expect("well");
    cut_off(&proxy, &mut watcher).await;
    assert_eq!(cluster.client().delete(&key("")).await, 21);
    cluster.client().compact().await;
    proxy.set(Mode::Pass).await;
    let mut gone = 0;
    while let Update::Event(event) = watcher.next().await.expect("the watch goes on") {
        gone += event.service.nodes.len();
    }
    assert_eq!(gone, 21, "it was live before it had told what it missed");
    let found = reader.get_service(NAME).await;
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
    reader.close().await.expect("well");
}

/// While a watch leaves alone the cluster that denies it, who comes is not left to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_in_an_outage_is_heard() {
    let options = ClusterOptions::new().with_argument("--bcrypt-cost=4");
    let (cluster, _proxy, reader) = start_with(options, Some(("vine", "secret"))).await;
    let mut watcher = reader.watch_service(NAME).await.expect("well");
    cluster.client().forbid("vine", "/vine/").await;
    let options = WatchOptions::new().with_service(NAME);
    for _ in 0..2 {
        let denied = timeout(SOON, reader.watch(options.clone())).await;
        let denied = denied.expect("it was heard");
        assert!(
            matches!(denied, Err(Error::PermissionDenied { .. })),
            "{denied:?}"
        );
    }
    let update = watcher.next().await;
    assert!(matches!(update, Some(Update::Stale(_))), "{update:?}");
    let content = reader.watch(options.with_allow_stale(true));
    let content = timeout(SOON, content).await.expect("it was heard");
    let mut content = content.expect("something is known");
    assert_eq!(content.take_snapshot()[0].nodes.len(), 21);
    reader.close().await.expect("well");
}

/// What nobody waits for any more is not asked for until the outage ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_in_an_outage_leaves_nothing() {
    let (_cluster, proxy, reader) = start().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    reader.init().await.expect("well");
    proxy.set(Mode::Refuse).await;
    for _ in 0..3 {
        let given_up = timeout(LITTLE, reader.watch_service(NAME)).await;
        assert!(given_up.is_err(), "it is waited for: {given_up:?}");
    }
    let gone = async {
        while tasks() > before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the watch goes on");
    reader.close().await.expect("well");
}

/// A server behind a proxy, nodes that somebody else put there, and who is to watch them.
async fn start() -> (Cluster, Proxy, EtcdRegistry) {
    start_with(ClusterOptions::new(), None).await
}

async fn start_with(
    options: ClusterOptions,
    user: Option<(&str, &str)>,
) -> (Cluster, Proxy, EtcdRegistry) {
    let cluster = Cluster::start(options).await;
    let proxy = Proxy::to(cluster.member(0).addr()).await;
    let passing = (0..20).map(|index| format!("passing{index}"));
    for id in passing.chain(["staying".to_owned()]) {
        let service = Service::new(NAME, "v1").with_node(Node::new(&*id, "10.7.7.7:7"));
        let value = serde_json::to_string(&service).expect("a service is JSON");
        cluster.client().put(key(&id), value, 0).await;
    }
    let mut options = Options::new().with_addrs([proxy.addr()]);
    if let Some((name, password)) = user {
        cluster.client().enable_auth(name, password, "/vine/").await;
        options.credentials = Some(Credentials::new(name, password));
    }
    let reader = EtcdRegistry::new(options, EtcdOptions::new()).expect("sound");
    (cluster, proxy, reader)
}

async fn cut_off(proxy: &Proxy, watcher: &mut Watcher) {
    proxy.set(Mode::Refuse).await;
    let update = watcher.next().await;
    assert!(matches!(update, Some(Update::Stale(_))), "{update:?}");
}

fn key(id: &str) -> String {
    format!("{PREFIX}vine/{NAME}/{id}")
}
