//! Calls an HTTP service by name, by the client that Rust programs have for that.

use std::{error::Error, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue},
    http::uri::Authority,
};
use serde::de::IgnoredAny;
use tokio::time::Instant;
use vine::{Node, Registry};
use vine_discovery::{
    Cache, ConsistentHash, LeastLoaded, NoNode, Random, RoundRobin, Selector, Weighted,
    clients::{
        CallError, Ending,
        http::{Held, Idempotent, Key, Trail, Tried},
        hyper::Client,
    },
};

use crate::{
    args::{Body, Strategy, Target},
    failure::{Failure, with_causes},
};

/// The share of a zone's nodes that must be healthy for it to be preferred.
const HEALTHY: f64 = 0.5;
/// The service in URLs, where not every name can stand; and its `Host` if its name can't be one.
const SERVICE: &str = "service";

/// Makes the same call again and again, each time to a node that is picked anew.
pub(crate) struct Caller {
    selector: Selector,
    client: Client<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    timeout: Duration,
}

/// What came back; the body is still to come.
pub(crate) struct Answer {
    pub(crate) node: Arc<Node>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Until it began, or until it was read if that was asked for.
    pub(crate) took: Duration,
    /// The nodes that refused a connection before.
    pub(crate) refused: Vec<Arc<Node>>,
    body: Held<Incoming>,
}

impl Caller {
    /// Waits until it is known whom to call.
    pub(crate) async fn new(
        target: &Target,
        timeout: Duration,
        registry: &Arc<dyn Registry>,
    ) -> Result<Self, Failure> {
        let strategy = target.strategy()?;
        let request = request(target)?;
        let cache = Cache::new(Arc::clone(registry));
        let subscription = cache.subscribe(&target.name);
        subscription.clone().ready().await?;
        let mut builder = Selector::builder(subscription);
        if let Some(range) = &target.version {
            builder = builder.versions(range)?;
        }
        if let Some(zone) = &target.zone {
            builder = builder.zone(zone.as_str(), HEALTHY);
        }
        let builder = match strategy {
            Strategy::Random => builder.strategy(Random),
            Strategy::RoundRobin => builder.strategy(RoundRobin::new()),
            Strategy::Weighted => builder.strategy(Weighted),
            Strategy::LeastLoaded => builder.strategy(LeastLoaded),
            Strategy::ConsistentHash => builder.strategy(ConsistentHash),
        };
        let selector = builder.build();
        Ok(Self {
            client: Client::new(cache).with_service(SERVICE, selector.clone()),
            selector,
            request,
            timeout,
        })
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Waits until there is somebody to call.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let ready = self.selector.ready().await;
        ready.map_err(|error| Failure::Failed(nobody(&error)))
    }

    /// Calls a node, and another one if that has not seen the call; or says why no answer began in time.
    pub(crate) async fn call(&self) -> Result<Answer, String> {
        let trail = Trail::new();
        let answer = tokio::time::timeout(self.timeout, self.begin(&trail)).await;
        answer.unwrap_or_else(|_| Err(self.too_late(&trail, false)))
    }

    /// [`call`](Self::call), and reads the answer to its end within the same time.
    pub(crate) async fn call_to_the_end(
        &self,
        mut read: impl FnMut(&Bytes) -> Result<(), String>,
    ) -> Result<Answer, String> {
        let (start, trail) = (Instant::now(), Trail::new());
        let mut is_begun = false;
        let call = async {
            let mut answer = self.begin(&trail).await?;
            is_begun = true;
            while let Some(part) = self.part(&mut answer).await? {
                read(&part).map_err(|reason| self.at(&answer.node, &reason))?;
            }
            answer.took = start.elapsed();
            Ok(answer)
        };
        let done = tokio::time::timeout(self.timeout, call).await;
        done.unwrap_or_else(|_| Err(self.too_late(&trail, is_begun)))
    }

    /// The next part of an answer's body, or why there will be none.
    ///
    /// # Cancel safety
    /// No part is lost.
    pub(crate) async fn part(&self, answer: &mut Answer) -> Result<Option<Bytes>, String> {
        while let Some(frame) = answer.body.frame().await {
            let frame = frame.map_err(|error| self.at(&answer.node, &with_causes(&error)))?;
            if let Ok(part) = frame.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    async fn begin(&self, trail: &Trail) -> Result<Answer, String> {
        let start = Instant::now();
        let mut request = self.request.clone();
        request.extensions_mut().insert(trail.clone());
        let answer = self.client.request(request).await;
        let (head, body) = answer.map_err(|error| unanswered(&error))?.into_parts();
        let mut tried = trail.tried();
        let last = tried.pop();
        let refused = tried
            .into_iter()
            .filter(|tried| tried.ending == Some(Ending::Refused));
        Ok(Answer {
            node: last.ok_or("nobody was called")?.node,
            status: head.status,
            headers: head.headers,
            took: start.elapsed(),
            refused: refused.map(|tried| tried.node).collect(),
            body,
        })
    }

    /// What went wrong in time at the node that the call was tried on last.
    fn too_late(&self, trail: &Trail, is_begun: bool) -> String {
        let what = if is_begun {
            "its answer did not end"
        } else {
            "no answer"
        };
        let reason = format!("{what} within {:?}; see --timeout", self.timeout);
        match trail.tried().last() {
            Some(Tried { node, .. }) => self.at(node, &reason),
            None => format!("{}: {reason}", self.selector.subscription().name()),
        }
    }

    /// What went wrong at a node.
    fn at(&self, node: &Node, reason: &str) -> String {
        let service = self.selector.subscription().name();
        let Node { id, address, .. } = node;
        format!("node {id} of {service} at {address}: {reason}")
    }
}

/// Why no answer came, and what to do.
fn unanswered(error: &CallError) -> String {
    match error {
        CallError::NoNode(error) => nobody(error),
        CallError::Failed { source, .. } if is_no_http(&**source) => {
            format!("{}; does it speak HTTP/1.1?", with_causes(error))
        }
        _ => with_causes(error),
    }
}

/// Why there is nobody to call, and what to do.
fn nobody(error: &NoNode) -> String {
    match error {
        NoNode::NotFound { .. } => {
            format!("{error} 'vine list --all-namespaces' shows what there is")
        }
        NoNode::Excluded { .. } => format!("{error}; 'vine call --explain' says why"),
        _ => error.to_string(),
    }
}

/// Whether something came that is no answer of HTTP/1.
fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    let is_parse = |error: &hyper::Error| error.is_parse();
    error.downcast_ref().is_some_and(is_parse) || error.source().is_some_and(is_no_http)
}

fn request(target: &Target) -> Result<Request<Full<Bytes>>, Failure> {
    let uri: Uri = format!("http://{SERVICE}{}", target.path)
        .parse()
        .map_err(|error| Failure::Usage(format!("{:?} is no path: {error}", target.path)))?;
    let body = target.body.as_ref().map(Body::read).transpose()?;
    let mut headers = headers(target);
    if let Some(body) = &body
        && !headers.contains_key(CONTENT_TYPE)
    {
        headers.insert(CONTENT_TYPE, kind(body));
    }
    let method = match &target.method {
        Some(method) => method.clone(),
        None if body.is_some() => Method::POST,
        None => Method::GET,
    };
    let mut request = Request::new(Full::from(body.unwrap_or_default()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    // Who calls by hand wants to hear of a node that fails.
    request.extensions_mut().insert(Idempotent(false));
    if let Some(key) = &target.key {
        request.extensions_mut().insert(Key::new(key));
    }
    Ok(request)
}

fn headers(target: &Target) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        headers.append(name, value.clone());
    }
    // Servers answer 400 to what is no host, as "orders/eu": then the client gives the one of the URL.
    if let Some(host) = host(&target.name)
        && !headers.contains_key(HOST)
    {
        headers.insert(HOST, host);
    }
    headers
}

/// The type of a body of which nothing is said.
fn kind(body: &[u8]) -> HeaderValue {
    HeaderValue::from_static(match std::str::from_utf8(body) {
        _ if serde_json::from_slice::<IgnoredAny>(body).is_ok() => "application/json",
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    })
}

/// The name of a service as the header `Host`, if it can be one.
fn host(name: &str) -> Option<HeaderValue> {
    let authority: Authority = name.parse().ok()?;
    // As it is, and not a user or a port and something else.
    (authority.host() == name).then(|| HeaderValue::from_str(name).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_servers_take_for_a_host_is_one() {
        for name in ["go.vine.helloworld", "orders", "Orders_1", "a-b~c"] {
            assert_eq!(host(name).unwrap(), name);
        }
        let unfit = [
            "orders/eu",
            "my service",
            "服务",
            "user@orders",
            "a:b",
            "a:80",
            "a%2fb",
            "a?b",
        ];
        for name in unfit {
            assert_eq!(host(name), None, "{name}");
        }
    }
}
