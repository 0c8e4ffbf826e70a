use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use ::hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body::Body;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_service::Service as _;

use crate::clients::{BoxError, CONNECT_TIMEOUT};

/// A connection without a request is kept for three to four of these.
const ROUND: Duration = Duration::from_secs(30);
const ROUNDS: u64 = 3;

/// HTTP/1.1 connections, each kept for the next request to its address.
pub(super) struct Connections<B> {
    connector: HttpConnector,
    idle: Arc<Idle<B>>,
}

/// The connections that have no request.
struct Idle<B>(Mutex<State<B>>);

struct State<B> {
    /// Of each address, the one used last comes last.
    kept: HashMap<Box<str>, Vec<Kept<B>>, foldhash::fast::RandomState>,
    /// Closes those that are kept for too long, and counts how often it looked.
    sweeper: Option<JoinHandle<()>>,
    round: u64,
}

struct Kept<B> {
    sender: SendRequest<B>,
    since_round: u64,
}

/// A connection that is in use. Dropped, it is kept for the next request as soon as it can take one,
/// unless it ends instead.
pub(super) struct Lent<B: Send + 'static> {
    sender: Option<SendRequest<B>>,
    authority: Authority,
    idle: Arc<Idle<B>>,
}

/// Why there is no response.
pub(super) enum SendError {
    /// No connection came about.
    Connect(BoxError),
    /// The connection ended before anything of the request was sent.
    Unsent(::hyper::Error),
    /// It can't be told what the other side has seen of the request.
    Failed(::hyper::Error),
}

impl<B> Connections<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let state = State {
            kept: HashMap::default(),
            sweeper: None,
            round: 0,
        };
        Self {
            connector,
            idle: Arc::new(Idle(Mutex::new(state))),
        }
    }

    /// Sends a request, whose URL is a path by now and which names its host.
    pub(super) async fn send(
        &self,
        authority: Authority,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lent<B>), SendError> {
        loop {
            let (mut sender, is_new) = match self.idle.take(&authority) {
                Some(kept) => (kept, false),
                None => (self.connect(&authority).await?, true),
            };
            let mut failure = match sender.try_send_request(request).await {
                Ok(response) => {
                    let lent = Lent {
                        sender: Some(sender),
                        authority,
                        idle: Arc::clone(&self.idle),
                    };
                    return Ok((response, lent));
                }
                Err(failure) => failure,
            };
            request = match failure.take_message() {
                // The other side closed it while it was kept.
                Some(unsent) if !is_new => unsent,
                Some(_) => return Err(SendError::Unsent(failure.into_error())),
                None => return Err(SendError::Failed(failure.into_error())),
            }
        }
    }

    async fn connect(&self, authority: &Authority) -> Result<SendRequest<B>, SendError> {
        Idle::sweep(&self.idle);
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        let uri = Uri::from_parts(parts).map_err(|error| SendError::Connect(error.into()))?;
        let stream = in_time(self.connector.clone().call(uri)).await?;
        let (sender, connection) = handshake(stream).await.map_err(SendError::Unsent)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        Ok(sender)
    }
}

/// The connector's own time-out begins when the name of the host is resolved.
async fn in_time<T, E: Into<BoxError>>(
    connecting: impl Future<Output = Result<T, E>>,
) -> Result<T, SendError> {
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| SendError::Connect(error.into())),
        Err(_) => {
            let late = format!("did not connect within {CONNECT_TIMEOUT:?}");
            let late = io::Error::new(io::ErrorKind::TimedOut, late);
            Err(SendError::Connect(late.into()))
        }
    }
}

impl<B> Idle<B> {
    /// A connection that takes a request at once.
    fn take(&self, authority: &Authority) -> Option<SendRequest<B>> {
        let mut state = self.lock();
        let kept = state.kept.get_mut(authority.as_str())?;
        let mut latest = std::iter::from_fn(|| kept.pop()).map(|kept| kept.sender);
        latest.find(SendRequest::is_ready)
    }

    fn put(&self, authority: &Authority, sender: SendRequest<B>) {
        let mut state = self.lock();
        let kept = Kept {
            sender,
            since_round: state.round,
        };
        match state.kept.get_mut(authority.as_str()) {
            Some(others) => others.push(kept),
            None => {
                state.kept.insert(authority.as_str().into(), vec![kept]);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send + 'static> Idle<B> {
    /// Sees to it that connections which nobody uses are closed: also if the runtime that did it is
    /// gone.
    fn sweep(idle: &Arc<Self>) {
        let mut state = idle.lock();
        if state.sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let idle = Arc::downgrade(idle);
            state.sweeper = Some(tokio::spawn(sweep(idle)));
        }
    }
}

async fn sweep<B>(idle: Weak<Idle<B>>) {
    loop {
        sleep(ROUND).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut state = idle.lock();
        state.round += 1;
        let round = state.round;
        state.kept.retain(|_, kept| {
            kept.retain(|kept| !kept.sender.is_closed() && round - kept.since_round <= ROUNDS);
            !kept.is_empty()
        });
    }
}

impl<B: Send + 'static> Drop for Lent<B> {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take() else {
            return;
        };
        if sender.is_ready() {
            self.idle.put(&self.authority, sender);
        } else if !sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            let (authority, idle) = (self.authority.clone(), Arc::clone(&self.idle));
            runtime.spawn(async move {
                if sender.ready().await.is_ok() {
                    idle.put(&authority, sender);
                }
            });
        }
    }
}

impl From<SendError> for BoxError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect(error) => error,
            SendError::Unsent(error) | SendError::Failed(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_never_resolved_ends_as_a_connection_that_is_never_made() {
        let start = Instant::now();
        let ended = in_time(pending::<Result<(), Infallible>>()).await;
        assert!(matches!(ended, Err(SendError::Connect(_))));
        assert_eq!(start.elapsed(), CONNECT_TIMEOUT);
    }
}
