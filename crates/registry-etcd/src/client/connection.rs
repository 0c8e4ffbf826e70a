use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, Uri, uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower_service::Service;

use super::failure::{chain, hint};
use crate::address::Member;

/// How long to connect to one member may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a connection in use shows that it lives, and how soon. etcd hangs up on who does it
/// every five seconds or more often.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);

/// How long what ended a connection may take to be known.
const MOMENT: Duration = Duration::from_millis(100);

static TOKEN: HeaderName = HeaderName::from_static("token");
static LEADER: HeaderName = HeaderName::from_static("hasleader");

/// How to reach one member by TLS.
pub(super) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// A connection to one member. Its clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    life: Arc<Life>,
    scheme: uri::Scheme,
    authority: uri::Authority,
    token: Option<HeaderValue>,
}

/// What became of a connection.
#[derive(Debug)]
struct Life {
    answered: AtomicBool,
    /// Why it ended, when it has.
    end: watch::Receiver<Option<String>>,
}

/// Why a request on a connection failed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Broken {
    reason: String,
    source: hyper::Error,
}

impl Connection {
    /// Connects. Says what is wrong, and what may help.
    pub(super) async fn open(member: &Member, tls: Option<Tls>) -> Result<Self, String> {
        let connected = timeout(CONNECT, Self::connect(member, tls)).await;
        let reason = match connected {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(reason)) => reason,
            Err(_) => format!("can't be connected to within {CONNECT:?}"),
        };
        let hint = hint(&reason).map(|hint| format!("; {hint}"));
        Err(format!("{member}: {reason}{}", hint.unwrap_or_default()))
    }

    async fn connect(member: &Member, tls: Option<Tls>) -> Result<Self, String> {
        let stream = TcpStream::connect((&*member.host, member.port)).await;
        let stream = stream.map_err(|error| chain(&error))?;
        stream.set_nodelay(true).map_err(|error| chain(&error))?;
        let authority =
            uri::Authority::try_from(member.authority()).map_err(|error| chain(&error))?;
        let ((sender, end), scheme) = match tls {
            None => (handshake(stream).await?, uri::Scheme::HTTP),
            Some((config, name)) => {
                let stream = TlsConnector::from(config).connect(name, stream).await;
                let stream = stream.map_err(|error| format!("TLS: {}", chain(&error)))?;
                (handshake(stream).await?, uri::Scheme::HTTPS)
            }
        };
        let life = Life {
            answered: AtomicBool::new(false),
            end,
        };
        Ok(Self {
            sender,
            life: Arc::new(life),
            scheme,
            authority,
            token: None,
        })
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// The same one, with requests that show a token.
    pub(super) fn with_token(mut self, token: Option<HeaderValue>) -> Self {
        self.token = token;
        self
    }
}

impl Life {
    /// Says why a request failed: what ended the connection says more than what the request heard.
    async fn explain(&self, plain: bool, source: hyper::Error) -> Broken {
        let mut end = self.end.clone();
        let lost = source.is_canceled() || source.is_closed() || end.borrow().is_some();
        let reason = if lost {
            // A connection that is still closing in order has no reason yet.
            let end = timeout(MOMENT, end.wait_for(Option::is_some)).await;
            let end = end.ok().and_then(|end| end.ok()?.clone());
            end.unwrap_or_else(|| chain(&source))
        } else {
            chain(&source)
        };
        let reason = match (self.answered.load(Ordering::Relaxed), plain) {
            (false, true) => format!("hung up on plain text: {reason}"),
            (false, false) => format!("hung up on TLS: {reason}"),
            (true, _) => reason,
        };
        Broken { reason, source }
    }
}

type Connected = (SendRequest<Body>, watch::Receiver<Option<String>>);

async fn handshake<S>(stream: S) -> Result<Connected, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(false)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| chain(&error))?;
    let (say, end) = watch::channel(None);
    tokio::spawn(async move {
        let ended = connection.await.map_err(|error| chain(&error));
        say.send_replace(Some(
            ended
                .err()
                .unwrap_or_else(|| "the connection was closed".to_owned()),
        ));
    });
    Ok((sender, end))
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // One that has ended says so when it is called, with the reason.
        let ready = self.sender.poll_ready(cx);
        ready.map(|_| Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        // A path of the generated client with an authority is a URI.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(LEADER.clone(), HeaderValue::from_static("true"));
        if let Some(token) = &self.token {
            headers.insert(TOKEN.clone(), token.clone());
        }
        let (life, plain) = (Arc::clone(&self.life), self.scheme == uri::Scheme::HTTP);
        let answer = self.sender.send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => {
                    life.answered.store(true, Ordering::Relaxed);
                    Ok(answer)
                }
                Err(error) => Err(life.explain(plain, error).await),
            }
        })
    }
}
