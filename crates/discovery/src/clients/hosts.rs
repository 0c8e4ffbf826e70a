use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use tokio::time::Instant;

use super::{Budget, CallError, Retries};
use crate::{Cache, LeastLoaded, NoNode, Selector};

/// The services that URLs name.
#[derive(Debug)]
pub(crate) struct Hosts {
    cache: Cache,
    retries: Retries,
    known: ArcSwap<HashMap<Arc<str>, Arc<Host>, RandomState>>,
}

/// A service that URLs name.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) selector: Selector,
    /// Its own: the nodes of one service that fail take no retries from the others.
    pub(crate) budget: Arc<Budget>,
    /// The header `Host`: the name as it stands in the URL.
    pub(crate) header: HeaderValue,
}

impl Hosts {
    pub(crate) fn new(cache: Cache, retries: Retries) -> Self {
        Self {
            cache,
            retries,
            known: ArcSwap::default(),
        }
    }

    /// Without effect if no URL can hold the name.
    pub(crate) fn insert(&self, name: &str, selector: Selector) {
        let name = name.to_ascii_lowercase();
        if let Ok(header) = HeaderValue::from_str(&name) {
            self.put(name.into(), self.host(selector, header));
        }
    }

    /// The service that a URL names; none if it is to go where it says.
    pub(crate) async fn find(&self, uri: &Uri) -> Result<Option<Arc<Host>>, CallError> {
        // Mostly a name without a port, seen before: then nothing has to be taken apart.
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        let whole = uri.authority().filter(|_| is_plain).map(Authority::as_str);
        if let Some(host) = whole.and_then(|name| self.known.load().get(name).cloned()) {
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
        let host = self.learn(&name.to_ascii_lowercase()).await?;
        if host.header == name {
            return Ok(Some(host));
        }
        let header = HeaderValue::from_str(name).map_err(|error| invalid(&error.to_string()))?;
        let (selector, budget) = (host.selector.clone(), Arc::clone(&host.budget));
        Ok(Some(Arc::new(Host {
            selector,
            budget,
            header,
        })))
    }

    /// Names that are no service's are not kept.
    async fn learn(&self, name: &str) -> Result<Arc<Host>, CallError> {
        if let Some(host) = self.known.load().get(name) {
            return Ok(Arc::clone(host));
        }
        let header = HeaderValue::from_str(name).map_err(|error| CallError::InvalidUrl {
            url: name.to_owned(),
            reason: error.to_string(),
        })?;
        let selector = Selector::builder(self.cache.subscribe(name))
            .strategy(LeastLoaded)
            .build();
        match selector.ready().await {
            Err(error @ (NoNode::NotFound { .. } | NoNode::Unknown { .. })) => Err(error.into()),
            _ => {
                let host = self.host(selector, header);
                self.put(name.into(), Arc::clone(&host));
                Ok(host)
            }
        }
    }

    fn host(&self, selector: Selector, header: HeaderValue) -> Arc<Host> {
        Arc::new(Host {
            selector,
            budget: Arc::new(Budget::new(self.retries, Instant::now())),
            header,
        })
    }

    fn put(&self, name: Arc<str>, host: Arc<Host>) {
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(Arc::clone(&name), Arc::clone(&host));
            known
        });
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}
