//! Which service a URL names.

mod names;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use tokio::time::Instant;

use self::names::Names;
use super::{Budget, CallError, Retries};
use crate::{Cache, LeastLoaded, NoNode, Selector};

/// The services that URLs name.
#[derive(Debug)]
pub(crate) struct Hosts {
    cache: Cache,
    retries: Retries,
    names: Arc<Names>,
}

/// A service that URLs name.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) selector: Selector,
    /// Its own: the nodes of one service that fail take no retries from the others.
    pub(crate) budget: Arc<Budget>,
    /// The header `Host`: the name as it stands in the URL.
    pub(crate) header: HeaderValue,
    /// The era in which a call used it last; none if it was not a call that brought the name.
    used: Option<AtomicU64>,
}

impl Hosts {
    /// Names that calls bring are kept for as long, and as many of them, as the cache keeps names.
    pub(crate) fn new(cache: Cache, retries: Retries) -> Self {
        let (idle, max) = cache.limits();
        Self {
            names: Arc::new(Names::new(idle, max)),
            cache,
            retries,
        }
    }

    /// Without effect if no URL can hold the name.
    pub(crate) fn insert(&self, name: &str, selector: Selector) {
        let name = name.to_ascii_lowercase();
        if let Ok(header) = HeaderValue::from_str(&name) {
            let host = Host::new(selector, self.budget(), header);
            self.names.pin(name.into(), Arc::new(host));
        }
    }

    /// The service that a URL names; none if it is to go where it says.
    pub(crate) async fn find(&self, uri: &Uri) -> Result<Option<Arc<Host>>, CallError> {
        // Mostly a name without a port, seen before: then nothing has to be taken apart.
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        let whole = uri.authority().filter(|_| is_plain).map(Authority::as_str);
        if let Some(host) = whole.and_then(|name| self.names.get(name)) {
            return Ok(Some(host));
        }
        let invalid = |reason: &str| CallError::InvalidUrl {
            url: uri.to_string(),
            reason: reason.to_owned(),
        };
        let name = uri
            .host()
            .ok_or_else(|| invalid("it names no service; write http://go.vine.helloworld/path"))?;
        if !is_plain || uri.port().is_some() || is_address(name) {
            return Ok(None);
        }
        let header = |name: &str| {
            let header = HeaderValue::from_str(name);
            header.map_err(|error| invalid(&error.to_string()))
        };
        let lower = name.to_ascii_lowercase();
        let host = self.learn(&lower, header(&lower)?).await?;
        if host.header == name {
            return Ok(Some(host));
        }
        let header = header(name)?;
        let (selector, budget) = (host.selector.clone(), Arc::clone(&host.budget));
        Ok(Some(Arc::new(Host::new(selector, budget, header))))
    }

    /// Names that are no service's are not kept.
    async fn learn(&self, name: &str, header: HeaderValue) -> Result<Arc<Host>, CallError> {
        if let Some(host) = self.names.get(name) {
            return Ok(host);
        }
        let host = self.names.learn(name, || {
            // Whoever calls may try names without end, and each is followed for a while.
            self.cache.make_room();
            let selector = Selector::builder(self.cache.subscribe(name))
                .strategy(LeastLoaded)
                .build();
            let mut host = Host::new(selector, self.budget(), header);
            host.used = Some(AtomicU64::new(0));
            Arc::new(host)
        });
        match host.selector.ready().await {
            Err(error @ (NoNode::NotFound { .. } | NoNode::Unknown { .. })) => Err(error.into()),
            _ => {
                self.names.keep(name, &host);
                Ok(host)
            }
        }
    }

    fn budget(&self) -> Arc<Budget> {
        Arc::new(Budget::new(self.retries, Instant::now()))
    }
}

impl Host {
    const fn new(selector: Selector, budget: Arc<Budget>, header: HeaderValue) -> Self {
        Self {
            selector,
            budget,
            header,
            used: None,
        }
    }

    fn is_learned(&self) -> bool {
        self.used.is_some()
    }

    fn used(&self) -> u64 {
        let used = self.used.as_ref();
        used.map_or(u64::MAX, |used| used.load(Ordering::Relaxed))
    }

    /// Mostly nothing is written, so that threads do not wait for each other.
    fn touch(&self, era: u64) {
        if let Some(used) = &self.used
            && used.load(Ordering::Relaxed) != era
        {
            used.store(era, Ordering::Relaxed);
        }
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;
    use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

    use super::*;
    use crate::CacheOptions;

    async fn hosts(services: &[&str], options: CacheOptions) -> Hosts {
        let cache = Cache::with_options(MemoryRegistry::new(), options);
        for name in services {
            let node = Node::new("a", "10.0.0.7:80");
            let service = Service::new(*name, "v1").with_node(node);
            cache.register(service).await.unwrap();
        }
        Hosts::new(cache, Retries::new())
    }

    async fn find(hosts: &Hosts, name: &str) -> Arc<Host> {
        let uri = format!("http://{name}/").parse().unwrap();
        hosts.find(&uri).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_burst_of_first_calls_makes_one_selector() {
        let hosts = hosts(&["x"], CacheOptions::new()).await;
        // In upper case as well: these find a likeness of it, with the same budget.
        let names = ["X", "x"].into_iter().cycle().take(20);
        let found = join_all(names.map(|name| find(&hosts, name))).await;
        let budgets = found.iter().map(|host| Arc::as_ptr(&host.budget));
        let budgets = std::collections::HashSet::<_>::from_iter(budgets);
        assert_eq!(budgets.len(), 1);
        for name in ["x", "X"] {
            assert_eq!(find(&hosts, name).await.header, name, "as it is written");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_call_uses_is_let_go() {
        let hosts = hosts(&["x", "y", "z"], CacheOptions::new()).await;
        let selector = Selector::builder(hosts.cache.subscribe("z")).build();
        hosts.insert("z", selector);
        let x = Arc::as_ptr(&find(&hosts, "x").await);
        find(&hosts, "y").await;
        assert_eq!(hosts.cache.name_count(), 3);
        // Used now and then.
        for _ in 0..5 {
            sleep(Duration::from_secs(250)).await;
            assert_eq!(Arc::as_ptr(&find(&hosts, "x").await), x);
        }
        assert_eq!(hosts.cache.name_count(), 2, "y is not followed any more");
        sleep(Duration::from_secs(1_000)).await;
        assert_eq!(hosts.cache.name_count(), 1, "nor x");
        find(&hosts, "z").await;
        find(&hosts, "y").await;
        assert_eq!(hosts.cache.name_count(), 2, "y is found again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_uses_stays_as_long_as_that_takes() {
        let hosts = hosts(&["x"], CacheOptions::new()).await;
        let call = find(&hosts, "x").await;
        sleep(Duration::from_secs(10_000)).await;
        assert!(Arc::ptr_eq(&call, &find(&hosts, "x").await));
    }

    #[tokio::test]
    async fn of_too_many_names_the_one_not_used_the_longest_is_let_go() {
        let hosts = hosts(&["x", "y", "z"], CacheOptions::new().with_max_names(2)).await;
        let x = find(&hosts, "x").await;
        let y = find(&hosts, "y").await;
        find(&hosts, "x").await;
        find(&hosts, "z").await;
        assert!(Arc::ptr_eq(&x, &find(&hosts, "x").await));
        assert!(!Arc::ptr_eq(&y, &find(&hosts, "y").await));
        assert!(y.selector.pick().is_ok(), "a call goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_are_no_services_are_not_followed_without_end() {
        let hosts = hosts(&["x"], CacheOptions::new().with_max_names(10)).await;
        find(&hosts, "x").await;
        for number in 0..100 {
            let uri = format!("http://nobody-{number}/").parse().unwrap();
            let error = hosts.find(&uri).await.unwrap_err();
            assert!(matches!(error, CallError::NoNode(NoNode::NotFound { .. })));
            // What is let go is by then.
            sleep(Duration::from_millis(1)).await;
            assert!(hosts.cache.name_count() <= 10, "{number}");
        }
    }
}
