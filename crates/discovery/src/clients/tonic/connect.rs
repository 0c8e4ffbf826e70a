use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::{Read, Write},
};
use http::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;
use tracing::debug;
use vine_registry::{Node, address::HostPort};

use super::{Call, deadline, source::Source, tls::Tls};
use crate::clients::{
    BoxError,
    http::{Held, Replay},
};

/// Connects to nodes by HTTP/2.
#[derive(Clone)]
pub(super) struct Connect {
    tls: Option<Tls>,
    keep_alive: Option<(Duration, Duration)>,
}

/// A connection to a node. When the last clone is dropped, it ends after the calls under way.
#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Replay<Source>>);

impl Connect {
    pub(super) fn new(tls: Option<Tls>, keep_alive: Option<(Duration, Duration)>) -> Self {
        Self { tls, keep_alive }
    }

    async fn connect(self, node: Arc<Node>) -> Result<Connection, BoxError> {
        let tcp = tcp(&node.address).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.greet(tls.connect(tcp).await?).await,
            None => self.greet(tcp).await,
        }
    }

    async fn greet<T>(&self, io: T) -> Result<Connection, BoxError>
    where
        TokioIo<T>: Read + Write + Unpin + Send + 'static,
    {
        let mut http2 = Builder::new(TokioExecutor::new());
        http2.timer(TokioTimer::new());
        if let Some((interval, timeout)) = self.keep_alive {
            http2
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout);
        }
        let (sender, connection) = http2.handshake(TokioIo::new(io)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended");
            }
        });
        Ok(Connection(sender))
    }
}

/// Host and port apart: an IPv6 address with a zone is no address to the standard library, and with
/// brackets no name to the system either.
async fn tcp(address: &str) -> io::Result<TcpStream> {
    match HostPort::parse(address) {
        Some(HostPort { host, port, .. }) => TcpStream::connect((host, port)).await,
        None => TcpStream::connect(address).await,
    }
}

impl Service<Arc<Node>> for Connect {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, node: Arc<Node>) -> Self::Future {
        Box::pin(self.clone().connect(node))
    }
}

impl Service<Call> for Connection {
    type Response = Response<Held<::hyper::body::Incoming>>;
    type Error = ::hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ::hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ::hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Call) -> Self::Future {
        deadline::tell(&mut request);
        let answer = self.0.send_request(request);
        Box::pin(async move { Ok(answer.await?.map(Held::new)) })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_may_have_a_zone() {
        // Nobody is there, which the system says of an address and not of a name.
        let error = tcp("[fe80::1%lo]:1").await.unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
    }
}
