//! For tonic: [`Channel`], for generated clients.

mod connect;
mod deadline;
mod policy;
mod source;
mod tls;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use ::hyper::body::Incoming;
use ::tonic::{Status, body::Body};
use tower_service::Service;
use vine_registry::{Result, TlsOptions};

use self::{
    connect::{Connect, Connection},
    policy::Grpc,
    source::{Fault, Source},
    tls::Tls,
};
use super::{
    CallError, Retries,
    http::{Held, Replay},
    tower::Balanced,
    with_causes,
};
use crate::{Cache, LeastLoaded, Selector};

/// A channel to a service by its name, for the clients that tonic generates.
///
/// It keeps an HTTP/2 connection to each live node and chooses the node anew for each call; a stream
/// stays with its node. Where a node is deregistered or draining, streams go on, and new calls go
/// elsewhere. Clones share the connections.
///
/// Calls that no node has seen are tried on another node. Those that a node may have acted on, or that it
/// answers with `UNAVAILABLE`, are tried again only if they are idempotent: all of the channel
/// ([`ChannelBuilder::idempotent`]), or one, by [`Idempotent`](super::http::Idempotent) in the
/// extensions of its request.
///
/// [`Key`](super::http::Key) in the extensions of a request says which ones go to the same node, where
/// [`ConsistentHash`](crate::ConsistentHash) chooses.
///
/// # TLS, and the name that is checked
/// With [`ChannelBuilder::tls`], each node's certificate must be for the **name of the service**, for
/// instance `go.vine.helloworld`, or for [`TlsOptions::server_name`] if that is set; never for the
/// node's address, since that comes from the registry, and whoever may write there could name a host
/// of his own.
///
/// # Errors
/// Of a call: `UNAVAILABLE` if there is no node, none can be connected to, or the connection breaks; what
/// the node answers otherwise. A timeout (`tonic::Request::set_timeout`) holds for all attempts together,
/// until an answer begins, and ends with `DEADLINE_EXCEEDED`; it counts as a failure of the node that the
/// call was at. Each attempt tells its node what is left of it. What breaks off the request itself is given back as it is (`OUT_OF_RANGE` for a message
/// that is larger than the client may send), and says nothing of the node.
///
/// ```no_run
/// # fn channel(cache: vine_discovery::Cache) {
/// use vine_discovery::clients::tonic::Channel;
///
/// let channel = Channel::new(&cache, "go.vine.helloworld");
/// // let mut client = GreeterClient::new(channel);
/// # }
/// ```
#[derive(Clone)]
pub struct Channel {
    balanced: Balanced<Connection, Call, Grpc>,
    origin: Uri,
}

/// A request on its way to a node.
type Call = Request<Replay<Source>>;

/// A call of a [`Channel`].
pub type CallFuture =
    Pin<Box<dyn Future<Output = std::result::Result<Response<Held<Incoming>>, Status>> + Send>>;

/// Makes a [`Channel`].
#[derive(Debug)]
#[must_use]
pub struct ChannelBuilder {
    selector: Selector,
    tls: Option<TlsOptions>,
    retries: Retries,
    idempotent: bool,
    connect_timeout: Duration,
    keep_alive: Option<(Duration, Duration)>,
}

impl Channel {
    /// A channel to a service, without TLS; [`LeastLoaded`] chooses the node.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(cache: &Cache, name: &str) -> Self {
        let selector = Selector::builder(cache.subscribe(name)).strategy(LeastLoaded);
        Self::builder(selector.build()).plain()
    }

    /// Begins to make a channel to the nodes of a selector.
    pub fn builder(selector: Selector) -> ChannelBuilder {
        ChannelBuilder {
            selector,
            tls: None,
            retries: Retries::new(),
            idempotent: false,
            connect_timeout: super::CONNECT_TIMEOUT,
            keep_alive: None,
        }
    }

    /// The selector that picks its nodes.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        self.balanced.selector()
    }
}

impl ChannelBuilder {
    /// Sets that connections use TLS; see [`Channel`] for the name that is checked.
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = Some(options);
        self
    }

    /// Sets how often calls are tried again.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Sets that all calls are idempotent, those that say otherwise excepted. They are not unless set.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets how long connecting may take, TLS included; two seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how often a connection with calls under way is asked for a sign of life, and how long that
    /// may take. It is not asked unless set: servers may hang up on whom they find to ask too often,
    /// those of grpc-go within five minutes.
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = Some((interval, timeout));
        self
    }

    /// Makes the channel.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](vine_registry::Error::InvalidOption) when the TLS options can't be
    /// used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(mut self) -> Result<Channel> {
        let tls = match self.tls.take() {
            Some(options) => Some(Tls::new(&options, self.selector.subscription().name())?),
            None => None,
        };
        Ok(self.channel(tls))
    }

    fn plain(self) -> Channel {
        self.channel(None)
    }

    fn channel(self, tls: Option<Tls>) -> Channel {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let name = self.selector.subscription().name();
        // A name that can't stand in a URL is not needed to be called.
        let origin = format!("{scheme}://{name}").parse();
        let origin = origin.unwrap_or_else(|_| Uri::from_static("http://service"));
        let connect = Connect::new(tls, self.keep_alive);
        let balanced = Balanced::builder(self.selector)
            .policy(Grpc::new(self.idempotent))
            .retries(self.retries)
            .connect_timeout(self.connect_timeout)
            .build(connect);
        Channel { balanced, origin }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Held<Incoming>>;
    type Error = Status;
    type Future = CallFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> CallFuture {
        let fault = Fault::default();
        let mut request = request.map(|body| Replay::new(Source::new(body, &fault)));
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = self.origin.scheme().cloned();
        parts.authority = self.origin.authority().cloned();
        match Uri::from_parts(parts) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => {
                let status = Status::internal(error.to_string());
                return Box::pin(std::future::ready(Err(status)));
            }
        }
        let agent = HeaderValue::from_static(concat!("vine-rs/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        deadline::start(&mut request);
        let call = self.balanced.call(request);
        Box::pin(async move {
            let result = call.await;
            result.map_err(|error| fault.get().unwrap_or_else(|| status(&error)))
        })
    }
}

/// A connection that breaks means that the service is not there for this call, as no service at all
/// does.
fn status(error: &CallError) -> Status {
    match error {
        CallError::TimedOut { .. } => Status::deadline_exceeded(error.to_string()),
        _ => Status::unavailable(with_causes(error)),
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("balanced", &self.balanced)
            .finish_non_exhaustive()
    }
}
