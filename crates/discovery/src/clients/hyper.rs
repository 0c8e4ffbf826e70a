//! For hyper: [`Client`], to which `http://go.vine.helloworld/path` is a URL.

mod connections;

use std::{fmt, sync::Arc};

use ::http::{
    HeaderValue, Request, Response, Uri, Version,
    header::HOST,
    uri::{PathAndQuery, Scheme},
};
use ::hyper::body::Incoming;
use bytes::Bytes;
use http_body::Body;
use tokio::task::yield_now;

use self::connections::{Connections, Lent, SendError};
use super::{
    Attempts, BoxError, CallError, Ending, Retries,
    hosts::Hosts,
    http::{
        Held, Idempotent, Key, Replay, Trail, copy, is_idempotent as by_http, of_status, pick,
        was_aborted,
    },
    local::is_local,
};
use crate::{Cache, Selector};

/// An HTTP client that calls services by their names.
///
/// The node is chosen anew for each request, of those of the service that the URL names; connections
/// are kept for each node. The header `Host` is the name, unless the request has one.
///
/// # Which names can stand in a URL
/// The host of a URL without a port is the name of a service in the cache's own namespace:
/// `http://go.vine.helloworld/path`. Upper case counts as lower case there. A service whose name can't be
/// written so, one in another namespace, or one whose nodes are to be chosen in another way gets
/// a name for URLs by [`with_service`](Self::with_service).
///
/// A service is followed from the first call of it on, until none was made for as long as the cache keeps
/// names that nobody uses ([`CacheOptions::idle`](crate::CacheOptions::idle)), or until so many others were
/// called since ([`max_names`](crate::CacheOptions::max_names)). Those of `with_service` stay.
///
/// A URL with a port or with an IP address goes where it says, as with any client. This one speaks
/// `http`, not `https`.
///
/// # What requests can say besides
/// In the extensions of a request an [`Idempotent`] says whether it may be tried again, a [`Key`] which
/// requests go to the same node, and a [`Trail`] is told which nodes it was tried on.
///
/// ```no_run
/// # async fn call(cache: vine_discovery::Cache) -> Result<(), Box<dyn std::error::Error>> {
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Empty};
/// use vine_discovery::clients::hyper::Client;
///
/// let client: Client<Empty<Bytes>> = Client::new(cache);
/// let answer = client.get("http://go.vine.helloworld/".parse()?).await?;
/// println!("{:?}", answer.into_body().collect().await?.to_bytes());
/// # Ok(())
/// # }
/// ```
pub struct Client<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    hosts: Hosts,
    connections: Connections<Replay<B>>,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// A client that finds services in a cache; [`LeastLoaded`](crate::LeastLoaded) chooses.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self::with_retries(cache, Retries::new())
    }

    /// [`new`](Self::new), with how often calls are tried again.
    #[must_use]
    pub fn with_retries(cache: Cache, retries: Retries) -> Self {
        Self {
            inner: Arc::new(Inner {
                hosts: Hosts::new(cache, retries),
                connections: Connections::new(),
            }),
        }
    }

    /// Gives the service of a selector a name for URLs.
    #[must_use]
    pub fn with_service(self, host: &str, selector: Selector) -> Self {
        self.inner.hosts.insert(host, selector);
        self
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn get(&self, uri: Uri) -> Result<Response<Held<Incoming>>, CallError>
    where
        B: Default,
    {
        let mut request = Request::new(B::default());
        *request.uri_mut() = uri;
        self.request(request).await
    }

    /// Sends a request, and again where that may be done; see [`clients`](crate::clients).
    ///
    /// # Errors
    /// [`CallError`]. A status such as 404 or 503 is an answer, no error.
    ///
    /// # Cancel safety
    /// Dropping the future ends the call, which a node may have acted on.
    pub async fn request(
        &self,
        request: Request<B>,
    ) -> Result<Response<Held<Incoming>>, CallError> {
        let inner = &*self.inner;
        let request = request.map(Replay::new);
        let Some(host) = inner.hosts.find(request.uri()).await? else {
            return inner.elsewhere(request).await;
        };
        let selector = &host.selector;
        let mut request = of_path(request);
        let key = Key::of(request.extensions());
        let trail = request.extensions().get::<Trail>().cloned();
        let mut attempts = Attempts::new(&host.budget);
        let mut guard = pick(selector, &mut attempts, key).await?;
        loop {
            if let Some(trail) = &trail {
                trail.begin(guard.node());
            }
            // Before more headers are there to be copied.
            let spare = attempts.is_another_left().then(|| copy(&request)).flatten();
            let headers = request.headers_mut();
            headers.entry(HOST).or_insert_with(|| host.header.clone());
            let result = match guard.authority() {
                Ok(authority) => inner.connections.send(authority, request).await,
                // Nobody can call it there.
                Err(error) => Err(SendError::Connect(error.into())),
            };
            let ending = ending(result.as_ref());
            ending.report(&mut guard);
            if let Some(trail) = &trail {
                trail.end(ending);
            }
            if let Some(next) = spare
                && next.body().is_whole()
                && attempts.again(&guard, ending, || is_idempotent(&next))
                && let Ok(other) = pick(selector, &mut attempts, key).await
            {
                (request, guard) = (next, other);
                // Where one connection broke, others may have, and who drives them has to notice.
                yield_now().await;
                continue;
            }
            return match result {
                Ok((response, connection)) => {
                    let mut response = held(response, connection);
                    response.body_mut().hold(guard);
                    Ok(response)
                }
                Err(error) if attempts.is_unreachable(ending) => {
                    Err(CallError::unreachable(selector, &guard, error.into()))
                }
                Err(error) => Err(CallError::failed(selector, &guard, error.into())),
            };
        }
    }
}

impl<B> Inner<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends a request where its URL says.
    async fn elsewhere(
        &self,
        mut request: Request<Replay<B>>,
    ) -> Result<Response<Held<Incoming>>, CallError> {
        let uri = request.uri();
        let invalid = |reason: &str| CallError::InvalidUrl {
            url: uri.to_string(),
            reason: reason.to_owned(),
        };
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(invalid(
                "this client speaks http:// alone, to services as well",
            ));
        }
        let Some(authority) = uri.authority().cloned() else {
            return Err(invalid("it names no host"));
        };
        // RFC 9110 section 7.2: without what stands before the host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|error| invalid(&error.to_string()))?;
        request.headers_mut().entry(HOST).or_insert(host);
        match self.connections.send(authority, of_path(request)).await {
            Ok((response, connection)) => Ok(held(response, connection)),
            Err(error) => Err(CallError::Elsewhere(error.into())),
        }
    }
}

fn is_idempotent<B>(request: &Request<B>) -> bool {
    match request.extensions().get() {
        Some(Idempotent(said)) => *said,
        None => by_http(request.method(), request.headers()),
    }
}

/// The request as it is sent on a connection: for a path, in a version that hyper can write.
fn of_path<B>(mut request: Request<B>) -> Request<B> {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let path = uri.path_and_query;
    *request.uri_mut() = path
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
        .into();
    if request.version() != Version::HTTP_10 {
        *request.version_mut() = Version::HTTP_11;
    }
    request
}

/// The answer, which gives the connection back when it is over.
fn held<B: Send + 'static>(
    response: Response<Incoming>,
    connection: Lent<B>,
) -> Response<Held<Incoming>> {
    let is_over = response.body().is_end_stream();
    let mut response = response.map(Held::new);
    if !is_over {
        response.body_mut().keep(connection);
    }
    response
}

fn ending<T>(result: Result<&(Response<Incoming>, T), &SendError>) -> Ending {
    match result {
        Ok((response, _)) => of_status(response.status()),
        Err(SendError::Connect(error)) if is_local(&**error) => Ending::Unsent,
        Err(SendError::Connect(_)) => Ending::Refused,
        Err(SendError::Unsent(error) | SendError::Failed(error)) if was_aborted(error) => {
            Ending::Aborted
        }
        Err(SendError::Unsent(_)) => Ending::Unsent,
        Err(SendError::Failed(_)) => Ending::Failed,
    }
}

impl<B> Clone for Client<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<B> fmt::Debug for Client<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("hosts", &self.inner.hosts)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_process_that_can_make_no_connection_says_nothing_of_the_node() {
        let ending = |errno: Errno| {
            let error = SendError::Connect(std::io::Error::from(errno).into());
            ending::<()>(Err(&error))
        };
        assert_eq!(ending(Errno::MFILE), Ending::Unsent);
        assert_eq!(ending(Errno::CONNREFUSED), Ending::Refused);
    }
}
