use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::Uri;

use super::CallError;
use crate::{Cache, LeastLoaded, NoNode, Selector};

/// The services that URLs name, and their selectors.
#[derive(Debug)]
pub(crate) struct Hosts {
    cache: Cache,
    known: ArcSwap<HashMap<Arc<str>, Selector, RandomState>>,
}

impl Hosts {
    pub(crate) fn new(cache: Cache) -> Self {
        Self {
            cache,
            known: ArcSwap::default(),
        }
    }

    pub(crate) fn insert(&self, host: &str, selector: Selector) {
        let host: Arc<str> = host.to_ascii_lowercase().into();
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(Arc::clone(&host), selector.clone());
            known
        });
    }

    /// The selector that a URL goes by; none if it is to go where it says.
    pub(crate) async fn selector(&self, uri: &Uri) -> Result<Option<Selector>, CallError> {
        let invalid = |reason: &str| CallError::InvalidUrl {
            url: uri.to_string(),
            reason: reason.to_owned(),
        };
        let host = uri
            .host()
            .ok_or_else(|| invalid("it names no service; write http://go.vine.helloworld/path"))?;
        if uri.port().is_some() || is_address(host) {
            return Ok(None);
        }
        if uri.scheme() != Some(&http::uri::Scheme::HTTP) {
            return Err(invalid(
                "services are called by http:// alone; a URL with a port goes where it says",
            ));
        }
        let known = self.known.load().get(host).cloned();
        if let Some(selector) = known {
            return Ok(Some(selector));
        }
        self.learn(&host.to_ascii_lowercase()).await.map(Some)
    }

    /// Names that are no service's are not kept.
    async fn learn(&self, host: &str) -> Result<Selector, CallError> {
        if let Some(selector) = self.known.load().get(host) {
            return Ok(selector.clone());
        }
        let selector = Selector::builder(self.cache.subscribe(host))
            .strategy(LeastLoaded)
            .build();
        match selector.ready().await {
            Err(error @ (NoNode::NotFound { .. } | NoNode::Unknown { .. })) => Err(error.into()),
            _ => {
                self.insert(host, selector.clone());
                Ok(selector)
            }
        }
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}
