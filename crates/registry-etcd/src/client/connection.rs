use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
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

static TOKEN: HeaderName = HeaderName::from_static("token");
static LEADER: HeaderName = HeaderName::from_static("hasleader");

/// How to reach one member by TLS.
pub(super) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// A connection to one member. Its clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    scheme: uri::Scheme,
    authority: uri::Authority,
    token: Option<HeaderValue>,
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
        let (sender, scheme) = match tls {
            None => (handshake(stream).await?, uri::Scheme::HTTP),
            Some((config, name)) => {
                let stream = TlsConnector::from(config).connect(name, stream).await;
                let stream = stream.map_err(|error| format!("TLS: {}", chain(&error)))?;
                (handshake(stream).await?, uri::Scheme::HTTPS)
            }
        };
        Ok(Self {
            sender,
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

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, String>
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
    // Its requests hear how it ends.
    tokio::spawn(connection);
    Ok(sender)
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
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
        Box::pin(self.sender.send_request(request))
    }
}
