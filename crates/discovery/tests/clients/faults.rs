//! What goes wrong on the caller's side is not charged to nodes.

use std::{error::Error, iter::successors, time::Duration};

use ::hyper::body::Frame;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::Request;
use http_body_util::StreamBody;
use vine_discovery::{
    Ejection, RoundRobin, Selector, Verdict,
    clients::{BoxError, Ending, Retries, http::Trail, hyper, reqwest},
};
use vine_registry::Node;

use super::{
    http::{Backend, NAME, cache, settle},
    world::until_ejected,
};

/// Lets connections to what has a name fail with this error of the system.
struct Fails(i32);

const TOO_MANY_FILES: i32 = 24;
#[cfg(target_os = "linux")]
const NO_ADDRESS: i32 = 99;

impl ::reqwest::dns::Resolve for Fails {
    fn resolve(&self, _: ::reqwest::dns::Name) -> ::reqwest::dns::Resolving {
        let error = std::io::Error::from_raw_os_error(self.0);
        Box::pin(async { Err(error.into()) })
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_can_make_no_connection_blames_no_node() {
    let nodes = ["a", "b"].map(|id| Backend {
        node: Node::new(id, format!("{id}.invalid:80")),
    });
    let cache = cache(&nodes).await;
    let selector = Selector::builder(cache.subscribe(NAME)).build();
    let http = ::reqwest::Client::builder()
        .no_proxy()
        .dns_resolver(Fails(TOO_MANY_FILES));
    let client = reqwest::Client::with_client(cache, http.build().unwrap(), Retries::new())
        .with_service(NAME, selector.clone());
    let error = client.get("http://go.vine.test/").await.unwrap_err();
    let causes = successors(Some(&error as &dyn Error), |&error| error.source());
    let last = causes.last().unwrap().to_string();
    assert!(last.contains("os error 24"), "{last}");
    settle().await;
    let verdicts = selector.explain().into_iter().map(|node| node.verdict);
    assert_eq!(Vec::from_iter(verdicts), [Verdict::In; 2]);
}

/// As a node with an IPv6 address is, to a host that has none.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn calls_pass_over_a_node_that_this_host_has_no_address_for() {
    let away = Node::new("away", "away.invalid:80");
    let cache = cache(&[Backend { node: away }, Backend::start("a").await]).await;
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
    let hour = Duration::from_secs(3600);
    let selector = selector.ejection(Ejection::new().with_times(hour, hour));
    let selector = selector.build();
    let http = ::reqwest::Client::builder()
        .no_proxy()
        .dns_resolver(Fails(NO_ADDRESS));
    let client = reqwest::Client::with_client(cache, http.build().unwrap(), Retries::new())
        .with_service(NAME, selector.clone());
    for _ in 0..2 {
        client.get("http://go.vine.test/").await.unwrap();
    }
    until_ejected(&selector, "away").await;
}

/// A body that ends with an error of its source.
fn broken_off() -> StreamBody<impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Unpin> {
    let part = Ok(Frame::data(Bytes::from_static(b"some")));
    StreamBody::new(stream::iter([part, Err("the source is gone".into())]))
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_the_fault_of_the_node() {
    let backends = [Backend::start("a").await, Backend::start("b").await];
    let cache = cache(&backends).await;
    let selector = Selector::builder(cache.subscribe(NAME)).build();
    let by_hyper = hyper::Client::new(cache.clone()).with_service(NAME, selector.clone());
    let by_reqwest = reqwest::Client::new(cache).with_service(NAME, selector.clone());
    // More than would eject both.
    for _ in 0..20 {
        let trail = Trail::new();
        let request = Request::put("http://go.vine.test/").extension(trail.clone());
        let request = request.body(broken_off()).unwrap();
        by_hyper.request(request).await.unwrap_err();
        let endings = trail.tried().into_iter().map(|tried| tried.ending);
        assert_eq!(Vec::from_iter(endings), [Some(Ending::Aborted)]);
        let request = by_reqwest.http().put("http://go.vine.test/");
        let request = request.body(::reqwest::Body::wrap(broken_off()));
        by_reqwest.send(request).await.unwrap_err();
    }
    settle().await;
    let verdicts = selector.explain().into_iter().map(|node| node.verdict);
    assert_eq!(Vec::from_iter(verdicts), [Verdict::In; 2]);
}
