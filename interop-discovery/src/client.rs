//! One client of each kind.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use tokio::sync::mpsc;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use vine_discovery::{
    Cache, CacheOptions, LeastLoaded, Selector, SelectorBuilder,
    clients::{BoxError, hyper, reqwest, tonic::Channel},
};

use crate::{load::Load, node, stage};

/// Their names, by number.
pub(crate) const KINDS: [&str; 3] = ["tonic", "hyper", "reqwest"];

/// One of each kind, all for one service; the least loaded node gets the call.
#[derive(Clone)]
pub(crate) struct Clients {
    url: String,
    tonic: HealthClient<Channel>,
    hyper: hyper::Client<Empty<Bytes>>,
    reqwest: reqwest::Client,
}

/// A process that does nothing but call, and begins with what was saved on disk.
pub(crate) async fn run(word: &str, service: &str, snapshots: &str, calls: &str) -> bool {
    let options = CacheOptions::new().with_snapshots(snapshots);
    let cache = Cache::with_options(stage::open(word), options);
    let load = Load::start(&Clients::new(&cache, service));
    load.reach(calls.parse().unwrap()).await;
    load.stop().await.check();
    true
}

impl Clients {
    pub(crate) fn new(cache: &Cache, service: &str) -> Self {
        Self::with(cache, service, |builder| builder)
    }

    /// With selectors of a special kind.
    pub(crate) fn with(
        cache: &Cache,
        service: &str,
        shape: impl Fn(SelectorBuilder) -> SelectorBuilder,
    ) -> Self {
        let selector =
            || shape(Selector::builder(cache.subscribe(service)).strategy(LeastLoaded)).build();
        let channel = Channel::builder(selector()).idempotent(true).build();
        Self {
            url: format!("http://{service}"),
            tonic: HealthClient::new(channel.unwrap()),
            hyper: hyper::Client::new(cache.clone()).with_service(service, selector()),
            reqwest: reqwest::Client::new(cache.clone()).with_service(service, selector()),
        }
    }

    /// Calls by the one of that number; gives the node that answered.
    pub(crate) async fn call(mut self, kind: usize) -> Result<String, BoxError> {
        match KINDS[kind] {
            "tonic" => {
                let answer = self.tonic.check(HealthCheckRequest::default()).await?;
                Ok(id(answer.metadata().as_ref()))
            }
            "hyper" => {
                let (head, body) = self.hyper.get(self.url.parse()?).await?.into_parts();
                body.collect().await?;
                answered(head.status, &head.headers)
            }
            _ => {
                let answer = self.reqwest.get(&self.url).await?;
                let (status, headers) = (answer.status(), answer.headers().clone());
                answer.bytes().await?;
                answered(status, &headers)
            }
        }
    }

    /// How many beats of a stream of so many arrive, and from which node; tells when the first has
    /// arrived.
    pub(crate) async fn beats(
        &self,
        count: usize,
        begun: mpsc::UnboundedSender<()>,
    ) -> Result<(String, usize), BoxError> {
        let url = format!("{}/beats/{count}", self.url);
        let (head, mut body) = self.hyper.get(url.parse()?).await?.into_parts();
        let node = answered(head.status, &head.headers)?;
        let mut beats = 0;
        // A stream that is cut ends with an error.
        while let Some(Ok(frame)) = body.frame().await {
            if beats == 0 {
                begun.send(())?;
            }
            beats += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok((node, beats))
    }
}

fn answered(status: http::StatusCode, headers: &HeaderMap) -> Result<String, BoxError> {
    if !status.is_success() {
        return Err(format!("{status}").into());
    }
    Ok(id(headers))
}

fn id(headers: &HeaderMap) -> String {
    let node = headers.get(node::ID).and_then(|id| id.to_str().ok());
    node.unwrap_or_default().to_owned()
}
