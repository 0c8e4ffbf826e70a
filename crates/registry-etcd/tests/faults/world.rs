//! Two hundred services, ten watchers, and what must be true of them after any fault.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};
use vine_etcd_harness::{Client, Cluster, ClusterOptions, Mode, Proxy};
use vine_registry::{
    Credentials, Node, Options, Registration, RegistrationOptions, Registry, RegistryExt, Service,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

use crate::{leaks::Usage, probe::Probe, truth::Holding, watching::Watching};

const SERVICES: usize = 200;
pub(crate) const NAMESPACE: &str = "faults";
const USER: &str = "vine";
const PASSWORD: &str = "secret";
/// What takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a registration may be wrong about itself: a second, and how coarsely that is seen.
const TRUE_TO: Duration = Duration::from_millis(1500);

/// At so many looks in a row, at most, a registration that is back may say that it is not: it asks
/// once a second, or three times in a ttl, and looks are a tenth of a second apart or more.
const MOST_DENIED: usize = 40;

/// How a [`World`] is to be.
pub(crate) struct Shape {
    cluster: ClusterOptions,
    ttl: Duration,
    credentials: Option<Credentials>,
    wants_password: bool,
}

impl Shape {
    pub(crate) fn members(members: usize) -> Self {
        Self {
            cluster: ClusterOptions::new().with_members(members),
            ttl: Duration::from_secs(5),
            credentials: None,
            wants_password: false,
        }
    }

    pub(crate) fn with_ttl(mut self, seconds: u64) -> Self {
        self.ttl = Duration::from_secs(seconds);
        self
    }

    /// Wants a password, for which tokens hold so many seconds.
    pub(crate) fn with_user(mut self, token_ttl: u64) -> Self {
        self.wants_password = true;
        self.credentials = Some(Credentials::new(USER, PASSWORD));
        self.cluster = self
            .cluster
            .with_argument(format!("--auth-token-ttl={token_ttl}"))
            .with_argument("--bcrypt-cost=4");
        self
    }

    /// The same, but nobody is asked for the password until [`World::want_password`].
    pub(crate) fn with_user_later(mut self) -> Self {
        self = self.with_user(300);
        self.wants_password = false;
        self
    }
}

/// Services, watchers, servers, and a proxy in front of each server.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) owner: EtcdRegistry,
    pub(crate) reader: EtcdRegistry,
    pub(crate) ttl: Duration,
    options: Options,
    registrations: Vec<Registration>,
    watchings: Vec<Watching>,
    probe: Probe,
    before: Usage,
    tasks_outside: usize,
}

impl World {
    pub(crate) async fn start(shape: Shape) -> Self {
        let cluster = Cluster::start(shape.cluster).await;
        if shape.wants_password {
            want_password(&cluster).await;
        }
        let mut proxies = Vec::new();
        for addr in cluster.addrs() {
            proxies.push(Proxy::to(addr).await);
        }
        let mut options = Options::new()
            .with_addrs(proxies.iter().map(Proxy::addr))
            .with_namespace(NAMESPACE);
        options.credentials = shape.credentials;
        let handle = || EtcdRegistry::new(options.clone(), EtcdOptions::new()).expect("sound");
        let tasks_outside = Handle::current().metrics().num_alive_tasks();
        let (owner, reader) = (handle(), handle());
        let registrations = register(&owner, shape.ttl).await;
        let watchings = watch(&owner, &reader).await;
        let clients = clients(&cluster);
        let observers = registrations.iter().map(|registration| {
            let name = &registration.service().name;
            (format!("{NAMESPACE}/{name}/n"), registration.observer())
        });
        let mut world = Self {
            before: Usage::now(&cluster, &proxies).await,
            probe: Probe::start(clients, observers),
            ttl: shape.ttl,
            cluster,
            proxies,
            owner,
            reader,
            options,
            registrations,
            watchings,
            tasks_outside,
        };
        world.settle().await;
        world.before = Usage::now(&world.cluster, &world.proxies).await;
        world
    }

    /// Refuses everybody without the password from now on.
    pub(crate) async fn want_password(&self) {
        want_password(&self.cluster).await;
    }

    /// Another handle, as another process would have it.
    pub(crate) fn handle(&self) -> EtcdRegistry {
        EtcdRegistry::new(self.options.clone(), EtcdOptions::new()).expect("sound")
    }

    /// Holds one more service registered, until [`release`](Self::release).
    pub(crate) async fn hold(&mut self, service: Service) {
        let options = RegistrationOptions::new().with_ttl(self.ttl);
        let registration = Registration::start(self.owner.clone(), service, options);
        registration
            .registered()
            .await
            .expect("the cluster is well");
        self.registrations.push(registration);
        self.before.tasks += 1;
    }

    /// Ends what was held last.
    pub(crate) async fn release(&mut self) {
        if let Some(registration) = self.registrations.pop() {
            registration.close().await.expect("the cluster is well");
            self.before.tasks -= 1;
        }
    }

    /// What every connection does from now on.
    pub(crate) async fn spoil(&self, mode: Mode) {
        join_all(self.proxies.iter().map(|proxy| proxy.set(mode))).await;
    }

    /// Waits until every watcher has said that it is stale.
    pub(crate) async fn stale(&self) {
        join_all(
            self.watchings
                .iter()
                .map(|one| one.until(|heard| heard.stale)),
        )
        .await;
    }

    /// Waits until every registration says that it can't tell of itself.
    pub(crate) async fn in_doubt(&self) {
        for registration in &self.registrations {
            while registration.state().is_registered() {
                registration.changed().await;
            }
        }
    }

    /// What must be true once the cluster has returned, which is now: the time counts from here.
    pub(crate) async fn check(&self) {
        let returned = Instant::now();
        self.probe.returned();
        let took = self.all_back().await.duration_since(returned);
        let limit = self.ttl;
        assert!(took <= limit, "back after {took:?}, not within {limit:?}");
        self.settle().await;
        let denied = self.probe.settled();
        assert!(denied <= MOST_DENIED, "denied at {denied} looks in a row");
        self.nothing_leaks().await;
        // What a lease that was lost held goes with it, and is told a moment later.
        self.settle().await;
        let longest = self.probe.longest();
        assert!(longest.looks > 0, "the truth was never known");
        assert!(longest.claimed <= TRUE_TO, "{longest:?}");
    }

    /// That each watcher said at least so often that it was stale; those of a service, too.
    pub(crate) fn assert_outages(&self, least: usize) {
        for watching in &self.watchings {
            let heard = watching.heard();
            assert!(heard.outages >= least, "stale {} times", heard.outages);
        }
    }

    /// That no watcher heard of any change so far: an outage is not a mass death.
    pub(crate) fn assert_no_events(&self) {
        for watching in &self.watchings {
            assert_eq!(watching.heard().events, 0);
        }
    }

    /// Ends everything in order; nothing may be left, in the cluster or here.
    pub(crate) async fn close(mut self) {
        for closed in join_all(self.registrations.drain(..).map(Registration::close)).await {
            closed.expect("the cluster is well");
        }
        self.settle().await;
        drop(self.probe);
        self.owner.close().await.expect("the cluster is well");
        self.reader.close().await.expect("the cluster is well");
        join_all(self.watchings.drain(..).map(Watching::ended)).await;
        assert_eq!(Holding::of_cluster(&self.cluster).await, Holding::default());
        let (cluster, proxies) = (&self.cluster, &self.proxies);
        let gone = Usage {
            leases: 0,
            tasks: self.tasks_outside,
            sockets: 0,
        };
        await_usage(cluster, proxies, gone).await;
    }

    /// Waits until the fold of every watcher is what the cluster holds, every one is live, and
    /// every registration says that it is registered.
    pub(crate) async fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let truth = Holding::of_cluster(&self.cluster).await;
            let Some(wrong) = self.unsettled(&truth) else {
                break;
            };
            assert!(Instant::now() < deadline, "{wrong}");
            sleep(PAUSE).await;
        }
        for watching in &self.watchings {
            let heard = watching.heard();
            assert!(heard.wrong.is_empty(), "{:?}", heard.wrong);
        }
    }

    fn unsettled(&self, truth: &Holding) -> Option<String> {
        for registration in &self.registrations {
            if !registration.state().is_registered() {
                return Some(format!("{registration:?}"));
            }
        }
        for (index, watching) in self.watchings.iter().enumerate() {
            let (wanted, holding) = (truth.only(watching.service.as_deref()), watching.holding());
            if wanted != holding {
                return Some(format!("watcher {index}: {}", wanted.difference(&holding)));
            }
            if watching.heard().stale {
                return Some(format!("watcher {index} is stale"));
            }
        }
        None
    }

    /// Waits until everything that is registered stands in the cluster.
    async fn all_back(&self) -> Instant {
        let services: Vec<_> = self
            .registrations
            .iter()
            .map(Registration::service)
            .collect();
        let wanted = Holding::of(&services, None).0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let holding = Holding::of_cluster(&self.cluster).await.0;
            let missing = wanted.difference(&holding).count();
            if missing == 0 {
                return Instant::now();
            }
            assert!(Instant::now() < deadline, "{missing} are missing");
            sleep(PAUSE).await;
        }
    }

    /// A lease that was lost may last until its ttl ends.
    async fn nothing_leaks(&self) {
        await_usage(&self.cluster, &self.proxies, self.before).await;
    }
}

async fn await_usage(cluster: &Cluster, proxies: &[Proxy], wanted: Usage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Usage::now(cluster, proxies).await;
        if now.within(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{now:?} instead of {wanted:?}");
        sleep(PAUSE).await;
    }
}

async fn want_password(cluster: &Cluster) {
    let client = cluster.client();
    client.enable_auth(USER, PASSWORD, "/vine/").await;
}

/// The name of service number `index`.
pub(crate) fn name(index: usize) -> String {
    format!("go.vine.s{index}")
}

/// The service number `index`, with one node.
pub(crate) fn service(index: usize) -> Service {
    let node = Node::new("n", format!("10.0.0.{}:{}", index % 250, 8000 + index))
        .with_metadata([("index", index.to_string())]);
    Service::new(name(index), "v1.0.0")
        .with_namespace(NAMESPACE)
        .with_node(node)
}

fn clients(cluster: &Cluster) -> Vec<Client> {
    let members = (0..cluster.size()).map(|index| cluster.member(index));
    members.map(|member| member.client().clone()).collect()
}

async fn register(owner: &EtcdRegistry, ttl: Duration) -> Vec<Registration> {
    let options = RegistrationOptions::new().with_ttl(ttl);
    let start =
        |index| Registration::start(owner.clone(), Arc::new(service(index)), options.clone());
    let registrations: Vec<_> = (0..SERVICES).map(start).collect();
    for registration in &registrations {
        registration
            .registered()
            .await
            .expect("the cluster is well");
    }
    registrations
}

/// Four of each handle watch everything, one a single service.
async fn watch(owner: &EtcdRegistry, reader: &EtcdRegistry) -> Vec<Watching> {
    let mut watchings = Vec::new();
    for registry in [owner, reader] {
        for _ in 0..4 {
            let watcher = registry.watch(Default::default()).await;
            watchings.push(Watching::start(watcher.expect("the cluster is well"), None));
        }
        let watcher = registry.watch_service(name(7)).await;
        let watcher = watcher.expect("the cluster is well");
        watchings.push(Watching::start(watcher, Some(name(7))));
    }
    watchings
}
