use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, SendRequest},
};
use http::{HeaderName, HeaderValue, Request, Response, Uri, uri};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower_service::Service;

use super::{
    exchange::{Answer, Heard, Streams, exchange},
    failure::{chain, hint},
};
use crate::address::Member;

/// How long to connect to one member may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a connection in use shows that it lives, and how soon. etcd hangs up on who does it
/// every five seconds or more often.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);

/// How many bytes a server may send before they are read, on one stream and on all of them; and as
/// headers.
const STREAM_WINDOW: u32 = 2 << 20;
const WINDOW: u32 = 5 << 20;
const HEADERS: u32 = 16 << 10;

/// How many streams may be opened before the server has said how many it takes: a limit below that
/// is not recommended (RFC 9113, section 6.5.2).
const FIRST_STREAMS: usize = 100;

/// How long what ended a connection may take to be known.
const MOMENT: Duration = Duration::from_millis(100);

static TOKEN: HeaderName = HeaderName::from_static("token");
static LEADER: HeaderName = HeaderName::from_static("hasleader");

/// How to reach one member by TLS.
pub(super) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// A connection to one member. Its clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    streams: Streams,
    life: Arc<Life>,
    scheme: uri::Scheme,
    authority: uri::Authority,
    token: Option<HeaderValue>,
    heard: Option<Arc<Heard>>,
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
    source: h2::Error,
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
        let ((sender, streams, end), scheme) = match tls {
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
            streams,
            life: Arc::new(life),
            scheme,
            authority,
            token: None,
            heard: None,
        })
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        // Who drives it may have gone with its runtime, without a word.
        self.life.end.borrow().is_some() || self.life.end.has_changed().is_err()
    }

    /// When something was last answered.
    pub(super) fn last_heard(&self) -> Instant {
        self.streams.last_heard()
    }

    /// When something of a large answer last came.
    pub(super) fn last_large(&self) -> Instant {
        self.streams.last_large()
    }

    /// Waits for so long until an answer begins, and as long as a large one comes before it.
    pub(crate) async fn begins<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        let mut end = Instant::now() + within;
        loop {
            if let Ok(answer) = timeout_at(end, answer.as_mut()).await {
                return Some(answer);
            }
            let later = self.last_large() + within;
            if later <= end {
                return None;
            }
            end = later;
        }
    }

    /// The same one, with requests that show a token.
    pub(super) fn with_token(mut self, token: Option<HeaderValue>) -> Self {
        self.token = token;
        self
    }

    /// The same one, with answers of which it is noted when something came.
    pub(super) fn with_heard(mut self, heard: Option<Arc<Heard>>) -> Self {
        self.heard = heard;
        self
    }
}

impl Life {
    /// Says why a request failed: what ended the connection says more than what the request heard.
    async fn explain(&self, plain: bool, source: h2::Error) -> Broken {
        let mut end = self.end.clone();
        let reason = if !source.is_reset() {
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

type Connected = (SendRequest<Bytes>, Streams, watch::Receiver<Option<String>>);

async fn handshake<S>(stream: S) -> Result<Connected, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEADERS)
        .initial_max_send_streams(FIRST_STREAMS)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| chain(&error))?;
    let streams = Streams::new();
    let (say, end) = watch::channel(None);
    let driven = drive(connection, streams.clone());
    tokio::spawn(async move { say.send_replace(Some(driven.await)) });
    Ok((sender, streams, end))
}

/// Reads and writes until the connection ends; gives the reason.
async fn drive<S>(mut connection: h2::client::Connection<S>, streams: Streams) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    let ended = tokio::select! {
        biased;
        ended = connection => ended,
        () = silence(pings, &streams) => return format!("no answer to a ping within {PONG:?}"),
    };
    match ended {
        Ok(()) => "the connection was closed".to_owned(),
        Err(error) => chain(&error),
    }
}

/// Waits until the other side does not answer a ping.
async fn silence(pings: Option<PingPong>, streams: &Streams) {
    let Some(mut pings) = pings else {
        return pending().await;
    };
    loop {
        sleep(PING).await;
        if streams.are_idle() {
            continue;
        }
        match timeout(PONG, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself says why.
            Ok(Err(_)) => pending().await,
            Err(_) => return,
        }
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Answer>;
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
        let answer = exchange(
            &mut self.sender,
            request,
            self.streams.clone(),
            self.heard.clone(),
        );
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_in_use_and_no_idle_one() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let (mut sender, streams, mut end) = handshake(ours).await.unwrap();
        let idle = timeout(PING * 6, end.changed()).await;
        assert!(idle.is_err(), "nobody was asked");
        let request = Request::post("http://etcd/never").body(Body::empty());
        let answer = tokio::spawn(exchange(
            &mut sender,
            request.unwrap(),
            streams.clone(),
            None,
        ));
        let ended = timeout(PING * 2 + PONG, end.wait_for(Option::is_some)).await;
        assert_eq!(
            ended.unwrap().unwrap().as_deref(),
            Some("no answer to a ping within 5s")
        );
        assert!(answer.await.unwrap().is_err(), "who waits hears of it");
        assert!(streams.are_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_the_other_side() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (_sender, _, mut end) = handshake(ours).await.unwrap();
        drop(theirs);
        let ended = timeout(Duration::from_secs(1), end.wait_for(Option::is_some)).await;
        assert!(ended.unwrap().unwrap().is_some());
    }
}
