//! Calls a service that speaks a protocol of its own, by tower: it keeps a connection to each node, and
//! goes on while one of them stops.
//!
//!     cargo run --features tower --example call_tower
//!
//! The protocol: a line asks, a line answers. What it takes to balance over it is a tower service for
//! one connection, [`Line`].

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};
use tower::{Service, ServiceExt, service_fn};
use vine::prelude::*;
use vine_discovery::{Cache, LeastLoaded, Selector, clients::tower::Balanced};
use vine_examples::nodes::{Nodes, hello};

const NAME: &str = "go.vine.lines";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut nodes = Nodes::start(NAME, serve).await?;

    let selector = Selector::builder(Cache::new(nodes.registry()).subscribe(NAME));
    let connect = service_fn(Line::connect);
    let lines = Balanced::builder(selector.strategy(LeastLoaded).build()).build(connect);
    let call = async || lines.clone().oneshot("Who is there?").await;

    nodes.call(call).await?;
    nodes.call_while_one_stops(call).await?;
    nodes.stop().await
}

/// A connection to one node, for one call at a time.
#[derive(Clone)]
struct Line {
    stream: Arc<Mutex<BufStream<TcpStream>>>,
    is_broken: Arc<AtomicBool>,
}

impl Line {
    async fn connect(node: Arc<Node>) -> io::Result<Self> {
        let stream = TcpStream::connect(&*node.address).await?;
        Ok(Self {
            stream: Arc::new(Mutex::new(BufStream::new(stream))),
            is_broken: Arc::default(),
        })
    }

    async fn ask(self, question: &str) -> io::Result<String> {
        let mut stream = self.stream.lock().await;
        let answer = match write(&mut stream, question).await {
            Ok(()) => read(&mut stream).await,
            Err(error) => Err(error),
        };
        self.is_broken.store(answer.is_err(), Ordering::Relaxed);
        answer
    }
}

impl Service<&'static str> for Line {
    type Response = String;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<String>> + Send>>;

    /// What says here that it failed is replaced by another connection.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: &'static str) -> Self::Future {
        Box::pin(self.clone().ask(question))
    }
}

/// The node's half: accepts until it is to stop. Connections end when the other side hangs up.
async fn serve(id: &'static str, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(id, BufStream::new(stream)));
        }
    };
    tokio::select! {
        ended = accept => ended,
        () = shutdown.wait() => Ok(()),
    }
}

async fn answer(id: &str, mut stream: BufStream<TcpStream>) -> io::Result<()> {
    loop {
        read(&mut stream).await?;
        write(&mut stream, &hello(id)).await?;
    }
}

async fn write(stream: &mut BufStream<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    stream.flush().await
}

async fn read(stream: &mut BufStream<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    if stream.read_line(&mut text).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}
