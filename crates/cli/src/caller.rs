//! Calls an HTTP service by name.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use vine::{
    Node, Registry,
    discovery::{
        Cache, ConsistentHash, Guard, LeastLoaded, NoNode, Outcome, Pick, Random, RoundRobin,
        Selector, Weighted,
    },
};

use crate::{
    args::{Strategy, Target},
    failure::Failure,
};

/// The share of a zone's nodes that must be healthy for it to be preferred.
const HEALTHY: f64 = 0.5;

/// Makes the same call again and again, each time to a node that is picked anew.
pub(crate) struct Caller {
    selector: Selector,
    client: Client<HttpConnector, Full<Bytes>>,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    key: Option<String>,
    timeout: Duration,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) node: Arc<Node>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) took: Duration,
    /// The nodes that refused a connection before.
    pub(crate) refused: Vec<Arc<Node>>,
}

/// Why nothing came back.
pub(crate) enum NoAnswer {
    /// There is nobody to call.
    NoNode(NoNode),
    /// The call failed at this node.
    Failed(Arc<Node>, String),
}

/// How one attempt ended that brought no answer.
enum Attempt {
    Refused(String),
    Failed(String),
}

impl Caller {
    /// Waits until it is known whom to call.
    pub(crate) async fn new(
        target: &Target,
        registry: &Arc<dyn Registry>,
    ) -> Result<Self, Failure> {
        let (method, headers) = (method(target)?, headers(target)?);
        let subscription = Cache::new(Arc::clone(registry)).subscribe(&target.name);
        subscription.clone().ready().await?;
        let mut builder = Selector::builder(subscription);
        if let Some(range) = &target.version {
            builder = builder.versions(range)?;
        }
        if let Some(zone) = &target.zone {
            builder = builder.zone(zone.as_str(), HEALTHY);
        }
        let builder = match target.strategy {
            Strategy::Random => builder.strategy(Random),
            Strategy::RoundRobin => builder.strategy(RoundRobin::new()),
            Strategy::Weighted => builder.strategy(Weighted),
            Strategy::LeastLoaded => builder.strategy(LeastLoaded),
            Strategy::ConsistentHash => builder.strategy(ConsistentHash),
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(target.timeout));
        Ok(Self {
            selector: builder.build(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            method,
            path: target.path.clone(),
            headers,
            body: Bytes::from(target.body.clone().unwrap_or_default()),
            key: target.key.clone(),
            timeout: target.timeout,
        })
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Calls a node; one that refuses the connection has not seen the call, so another one gets it.
    pub(crate) async fn call(&self) -> Result<Answer, NoAnswer> {
        let mut refused = Vec::<Arc<Node>>::new();
        let mut last = None;
        loop {
            let mut guard = match self.pick(&refused) {
                Ok(guard) => guard,
                // All have refused: the last one's words say more than that.
                Err(error) => return Err(last.unwrap_or(NoAnswer::NoNode(error))),
            };
            match self.attempt(&mut guard).await {
                Ok((status, headers, body)) => {
                    return Ok(Answer {
                        node: Arc::clone(guard.node()),
                        took: guard.elapsed(),
                        status,
                        headers,
                        body,
                        refused,
                    });
                }
                Err(Attempt::Refused(reason)) => {
                    refused.push(Arc::clone(guard.node()));
                    last = Some(NoAnswer::Failed(Arc::clone(guard.node()), reason));
                }
                Err(Attempt::Failed(reason)) => {
                    return Err(NoAnswer::Failed(Arc::clone(guard.node()), reason));
                }
            }
        }
    }

    fn pick(&self, refused: &[Arc<Node>]) -> Result<Guard, NoNode> {
        let tried: Vec<_> = refused.iter().map(|node| Arc::clone(&node.id)).collect();
        let mut pick = Pick::new().avoiding(&tried);
        if let Some(key) = &self.key {
            pick = pick.with_key(key);
        }
        self.selector.pick_by(&pick)
    }

    async fn attempt(&self, guard: &mut Guard) -> Result<(StatusCode, HeaderMap, Bytes), Attempt> {
        let request = self.request(guard.node()).map_err(Attempt::Failed)?;
        let call = async {
            let response = self.client.request(request).await.map_err(|error| {
                let reason = with_causes(&error);
                if error.is_connect() {
                    Attempt::Refused(reason)
                } else {
                    Attempt::Failed(reason)
                }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await;
            let body = body.map_err(|error| Attempt::Failed(with_causes(&error)))?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        let done = tokio::time::timeout(self.timeout, call).await;
        let done = done.unwrap_or_else(|_| {
            let reason = format!("no answer within {:?}; see --timeout", self.timeout);
            Err(Attempt::Failed(reason))
        });
        guard.report(match &done {
            Ok((status, ..)) if status.is_server_error() => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(Attempt::Refused(_)) => Outcome::Refused,
            Err(Attempt::Failed(_)) => Outcome::Failure,
        });
        done
    }

    fn request(&self, node: &Node) -> Result<Request<Full<Bytes>>, String> {
        let uri = format!("http://{}{}", node.address, self.path);
        let uri: Uri = uri
            .parse()
            .map_err(|error| format!("{uri:?} is no address for HTTP: {error}"))?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

fn method(target: &Target) -> Result<Method, Failure> {
    match (&target.method, &target.body) {
        (Some(method), _) => method.parse().map_err(|_| {
            Failure::Usage(format!("{method:?} is no method of HTTP, for instance PUT"))
        }),
        (None, Some(_)) => Ok(Method::POST),
        (None, None) => Ok(Method::GET),
    }
}

fn headers(target: &Target) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let wrong = |what: &str| Failure::Usage(format!("--header {name:?}: {what}"));
        let name: HeaderName = name
            .parse()
            .map_err(|_| wrong("that is no name of a header"))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| wrong("the value can't stand in a header"))?;
        headers.append(name, value);
    }
    if let Some(body) = &target.body
        && !headers.contains_key(CONTENT_TYPE)
    {
        let is_json = serde_json::from_str::<serde_json::Value>(body).is_ok();
        let kind = if is_json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // A name that can't stand in a header is left out: the node's address is taken then.
    if let Ok(host) = HeaderValue::from_str(&target.name)
        && !headers.contains_key(HOST)
    {
        headers.insert(HOST, host);
    }
    Ok(headers)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<NoAnswer> for Failure {
    fn from(no_answer: NoAnswer) -> Self {
        Self::Failed(no_answer.to_string())
    }
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNode(error) => error.fmt(f),
            Self::Failed(node, reason) => {
                write!(f, "node {} at {}: {reason}", node.id, node.address)
            }
        }
    }
}
