//! For reqwest: [`Client`], to which `http://go.vine.helloworld/path` is a URL.

mod redirect;

use std::{fmt, sync::Arc, time::Duration};

use ::http::{Uri, header::HOST};
use ::reqwest::{IntoUrl, Method, Request, RequestBuilder, Response, redirect::Policy};

use self::redirect::Origin;
use super::{
    Attempts, BoxError, CallError, Ending, Retries,
    hosts::Hosts,
    http::{is_idempotent, of_status, pick, was_aborted, was_not_sent},
    limit::{Limit, Over},
    local::is_local,
};
use crate::{Cache, Guard, Selector};

/// An HTTP client that calls services by their names.
///
/// As [`hyper::Client`](super::hyper::Client) (which says what names can stand in a URL), with the
/// requests and answers of reqwest. Settings are those of the [`reqwest::Client`]
/// it is made from.
///
/// A URL with `https` goes where it says, whatever its host: services are called by `http`. The port 80 of
/// a URL with `http` can't be told from none, as [`Url`](::reqwest::Url) leaves it out: the host of
/// `http://go.vine.helloworld:80/` is a service, too.
///
/// A node can't be called whose address is an IPv6 one with a zone (`[fe80::1%eth0]:80`), since no
/// [`Url`](::reqwest::Url) can hold that: calls pass over it. hyper's client calls those as well.
///
/// The [`url`](Response::url) of an answer is the one at the node. A call counts as under way until the
/// head of its answer. What is to be tried again must have a body that is not a stream.
///
/// Redirects are followed ([`with_redirects`](Self::with_redirects)): one to a service, be it the same, is a
/// call of that, for which a node is chosen anew. What stands in `Authorization` and `Cookie` goes to no
/// other host. The timeout of a request holds for all that comes of it together: redirects, attempts, and
/// the body of the answer.
///
/// ```no_run
/// # async fn call(cache: vine_discovery::Cache) -> Result<(), Box<dyn std::error::Error>> {
/// use vine_discovery::clients::reqwest::Client;
///
/// let client = Client::new(cache);
/// let answer = client.get("http://go.vine.helloworld/").await?;
/// println!("{}", answer.text().await?);
///
/// let order = client.http().post("http://go.vine.orders/").body("two of them");
/// client.send(order).await?.error_for_status()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    http: ::reqwest::Client,
    inner: Arc<Inner>,
    redirects: u32,
}

#[derive(Debug)]
struct Inner {
    hosts: Hosts,
}

impl Client {
    /// A client that finds services in a cache; [`LeastLoaded`](crate::LeastLoaded) chooses. Uses no
    /// proxy: a proxy could not find the nodes.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        let http = ::reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(super::CONNECT_TIMEOUT);
        Self::with_client(cache, http.build().unwrap_or_default(), Retries::new())
    }

    /// A client that sends by this one, and tries calls again so often.
    ///
    /// `http` has to follow no redirects itself ([`Policy::none`]) and to use no proxy for nodes
    /// ([`no_proxy`](::reqwest::ClientBuilder::no_proxy)): reqwest does not tell at which hop a call
    /// failed, so each failure is taken for one of the node, and a call that some host has seen might be
    /// sent again. A timeout of `http` holds for each attempt.
    #[must_use]
    pub fn with_client(cache: Cache, http: ::reqwest::Client, retries: Retries) -> Self {
        let inner = Inner {
            hosts: Hosts::new(cache, retries),
        };
        Self {
            http,
            inner: Arc::new(inner),
            redirects: 10,
        }
    }

    /// Sets how many redirects of a call are followed: the answer after so many is the caller's, whatever
    /// it is, and so is a redirect that can't be followed, as the body was a stream. 10 unless set.
    #[must_use]
    pub fn with_redirects(mut self, most: u32) -> Self {
        self.redirects = most;
        self
    }

    /// Gives the service of a selector a name for URLs.
    #[must_use]
    pub fn with_service(self, host: &str, selector: Selector) -> Self {
        self.inner.hosts.insert(host, selector);
        self
    }

    /// The client it sends by, to make requests with. What that sends itself knows no services, and
    /// follows no redirects.
    #[must_use]
    pub fn http(&self) -> &::reqwest::Client {
        &self.http
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn get(&self, url: impl IntoUrl + Send) -> Result<Response, CallError> {
        self.send(self.http.request(Method::GET, url)).await
    }

    /// Sends what was made by [`http`](Self::http).
    ///
    /// # Errors
    /// As [`execute`](Self::execute); [`CallError::Elsewhere`] if it is no proper request.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let request = request.build();
        let request = request.map_err(|error| CallError::Elsewhere(error.into()))?;
        self.execute(request).await
    }

    /// Sends a request, and again where that may be done; see [`clients`](crate::clients).
    ///
    /// # Errors
    /// [`CallError`]. A status such as 404 or 503 is an answer, no error.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call, which a node may have acted on.
    pub async fn execute(&self, mut request: Request) -> Result<Response, CallError> {
        let limit = Limit::new(request.timeout().copied());
        let mut left = self.redirects;
        loop {
            let origin = (left > 0).then(|| Origin::of(&request));
            let response = self.call(request, &limit).await?;
            let next = origin.and_then(|origin| origin.follow(&response));
            let Some(next) = next else {
                return Ok(response);
            };
            (request, left) = (next, left - 1);
        }
    }

    /// Sends a request to where its URL says.
    async fn call(&self, mut request: Request, limit: &Limit) -> Result<Response, CallError> {
        let uri: Uri = request
            .url()
            .as_str()
            .parse()
            .map_err(|error| invalid(&request, &error))?;
        let late = |over| too_late(&uri, &over);
        let host = limit.of(self.inner.hosts.find(&uri)).await.map_err(late)?;
        let Some(host) = host? else {
            hand_over(limit, &mut request);
            let sent = self.http.execute(request).await;
            return sent.map_err(|error| CallError::Elsewhere(error.into()));
        };
        let selector = &host.selector;
        let headers = request.headers_mut();
        headers.entry(HOST).or_insert_with(|| host.header.clone());
        let mut attempts = Attempts::new(&host.budget);
        let picked = limit.of(pick(selector, &mut attempts, None)).await;
        let mut guard = picked.map_err(late)??;
        loop {
            hand_over(limit, &mut request);
            let spare = attempts.is_another_left().then(|| request.try_clone());
            let result = match address(&mut request, &guard) {
                Ok(()) => self.http.execute(request).await.map_err(SendError::Http),
                Err(error) => Err(SendError::Address(error)),
            };
            let ending = ending(result.as_ref());
            ending.report(&mut guard);
            if let Some(next) = spare.flatten()
                && limit.left() != Some(Duration::ZERO)
                && attempts.again(&guard, ending, || {
                    is_idempotent(next.method(), next.headers())
                })
                && let Ok(Ok(other)) = limit.of(pick(selector, &mut attempts, None)).await
            {
                (request, guard) = (next, other);
                continue;
            }
            return result.map_err(|error| match attempts.is_unreachable(ending) {
                true => CallError::unreachable(selector, &guard, error.into()),
                false => CallError::failed(selector, &guard, error.into()),
            });
        }
    }
}

/// Why there is no response.
enum SendError {
    /// The node's address can't stand in a URL, so nobody can call it there.
    Address(BoxError),
    Http(::reqwest::Error),
}

impl From<SendError> for BoxError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Address(error) => error,
            SendError::Http(error) => error.into(),
        }
    }
}

/// Gives a request the time that is left: its timeout holds for all attempts together.
fn hand_over(limit: &Limit, request: &mut Request) {
    if let Some(left) = limit.left() {
        *request.timeout_mut() = Some(left);
    }
}

/// The time was over before a node could be called.
fn too_late(uri: &Uri, over: &Over) -> CallError {
    CallError::TimedOut {
        service: uri.host().unwrap_or_default().into(),
        node: None,
        timeout: over.timeout,
    }
}

/// Sends the request to a node.
fn address(request: &mut Request, guard: &Guard) -> Result<(), BoxError> {
    let mut node: ::reqwest::Url = format!("http://{}/", guard.node().address).parse()?;
    node.set_path(request.url().path());
    node.set_query(request.url().query());
    *request.url_mut() = node;
    Ok(())
}

fn invalid(request: &Request, error: &dyn std::error::Error) -> CallError {
    CallError::InvalidUrl {
        url: request.url().to_string(),
        reason: error.to_string(),
    }
}

fn ending(result: Result<&Response, &SendError>) -> Ending {
    let error = match result {
        Ok(response) => return of_status(response.status()),
        Err(SendError::Address(_)) => return Ending::Refused,
        Err(SendError::Http(error)) => error,
    };
    match error {
        error if error.is_connect() && is_local(error) => Ending::Unsent,
        error if error.is_connect() => Ending::Refused,
        error if error.is_builder() || was_aborted(error) => Ending::Aborted,
        error if was_not_sent(error) => Ending::Unsent,
        _ => Ending::Failed,
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("hosts", &self.inner.hosts)
            .finish_non_exhaustive()
    }
}
