//! A cache in front of servers that fail, and look-ups that go on all the time.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use vine_discovery::{Cache, Selector, Subscription};
use vine_etcd_harness::{Cluster, ClusterOptions, Mode, Proxy};
use vine_registry::{
    Credentials, Error, Options, Registration, RegistrationOptions, Registry, RegistryExt, Service,
    Services,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

use crate::{NAME, service, until};

/// The nodes that are always there.
const IDS: [&str; 3] = ["a", "b", "c"];

/// What the servers themselves say meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// The nodes are there all the time.
    Stays,
    /// The servers lose them, and get them back.
    IsLost,
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Between the cache and each member.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) owner: EtcdRegistry,
    registration: Registration,
    pub(crate) cache: Cache,
    pub(crate) subscription: Subscription,
    end: watch::Sender<bool>,
    looking: JoinHandle<usize>,
}

impl World {
    pub(crate) async fn start(members: usize, truth: Truth) -> Self {
        let cluster = Cluster::start(ClusterOptions::new().with_members(members)).await;
        // What is to stay is held through all that is done here.
        let ttl = match truth {
            Truth::Stays => 600,
            Truth::IsLost => 5,
        };
        Self::of(cluster, None, truth, ttl).await
    }

    /// Of one member that wants a password, for which tokens hold so many seconds.
    pub(crate) async fn with_user(token_ttl: u64) -> Self {
        let options = ClusterOptions::new()
            .with_members(1)
            .with_argument(format!("--auth-token-ttl={token_ttl}"))
            .with_argument("--bcrypt-cost=4");
        let cluster = Cluster::start(options).await;
        let client = cluster.client();
        client.enable_auth("vine", "secret", "/vine/").await;
        let user = Credentials::new("vine", "secret");
        Self::of(cluster, Some(user), Truth::Stays, 600).await
    }

    async fn of(cluster: Cluster, user: Option<Credentials>, truth: Truth, ttl: u64) -> Self {
        let handle = |addrs: Vec<String>| {
            let mut options = Options::new().with_addrs(addrs);
            options.credentials.clone_from(&user);
            EtcdRegistry::new(options, EtcdOptions::new()).unwrap()
        };
        let owner = handle(cluster.addrs());
        let options = RegistrationOptions::new().with_ttl(Duration::from_secs(ttl));
        let registration = Registration::start(owner.clone(), service(&IDS), options);
        registration.registered().await.unwrap();

        let proxies = join_all(cluster.addrs().into_iter().map(Proxy::to)).await;
        let cache = Cache::new(handle(proxies.iter().map(Proxy::addr).collect()));
        let mut subscription = cache.subscribe(NAME);
        let selector = Selector::builder(subscription.clone()).build();
        until(&mut subscription, "all there", |it| has_all(&it.services())).await;
        selector.ready().await.unwrap();
        let (end, ends) = watch::channel(false);
        let looking = tokio::spawn(look_up(cache.clone(), selector, truth, ends));
        Self {
            cluster,
            proxies,
            owner,
            registration,
            cache,
            subscription,
            end,
            looking,
        }
    }

    /// What every connection of the cache does from now on.
    pub(crate) async fn spoil(&self, mode: Mode) {
        join_all(self.proxies.iter().map(|proxy| proxy.set(mode))).await;
    }

    pub(crate) async fn stale(&mut self) {
        until(&mut self.subscription, "stale", |it| it.known().is_stale()).await;
    }

    /// The fault is over: waits until the cache hears of what is registered now.
    pub(crate) async fn recover(&mut self) {
        let later: Service = service(&["later"]);
        // If the servers are not ready yet, it is brought about in the background.
        let _ = self.owner.register(later.clone()).await;
        let is_well = |it: &Subscription| {
            !it.known().is_stale() && has_all(&it.services()) && has(&it.services(), "later")
        };
        until(&mut self.subscription, "well", is_well).await;
        let _ = self.owner.deregister(&later).await;
        let is_gone = |it: &Subscription| !has(&it.services(), "later");
        until(&mut self.subscription, "rid of one", is_gone).await;
    }

    /// Ends it; no look-up may have failed.
    pub(crate) async fn close(self) {
        self.end.send_replace(true);
        assert!(
            self.looking.await.unwrap() > 0,
            "it was looked up meanwhile"
        );
        self.cache.close().await.unwrap();
        self.registration.close().await.unwrap();
        self.owner.close().await.unwrap();
    }
}

pub(crate) fn has(services: &Services, id: &str) -> bool {
    services
        .iter()
        .any(|service| service.nodes.get(id).is_some())
}

pub(crate) fn has_all(services: &Services) -> bool {
    IDS.iter().all(|id| has(services, id))
}

/// Looks up again and again, and never in vain, until it is told to end; gives how often.
async fn look_up(
    cache: Cache,
    selector: Selector,
    truth: Truth,
    end: watch::Receiver<bool>,
) -> usize {
    let mut count = 0;
    while !*end.borrow() {
        match cache.get_service(NAME).await {
            Ok(services) if truth == Truth::Stays => assert!(has_all(&services), "{services:?}"),
            Ok(_) => {}
            // The servers are there, and that is what they say.
            Err(Error::NotFound { .. }) if truth == Truth::IsLost => {}
            Err(error) => panic!("a look-up failed: {error}"),
        }
        assert!(cache.peek(NAME).is_some());
        // A call finds a node whatever the servers have lost.
        selector.with_pick(|_| ()).unwrap();
        count += 1;
        sleep(Duration::from_millis(2)).await;
    }
    count
}
