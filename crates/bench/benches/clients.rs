//! What calls by name cost over calls on a connection of one's own: in one run, in turns, the median of
//! calls without a body. Of a service of one node, all goes over one connection, too; of one of three nodes,
//! calls go over three in turn, which costs the kernel and the caches more.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    convert::Infallible,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Endpoint, Server, server::TcpIncoming};
use tonic_health::{
    pb::{HealthCheckRequest, health_client::HealthClient},
    server::health_reporter,
};
use vine_discovery::{
    Cache,
    clients::{hyper as by_hyper, reqwest as by_reqwest, tonic as by_tonic},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

const NAME: &str = "go.vine.test";
const URL: &str = "http://go.vine.test/";
const ROUNDS: usize = 60;
const CALLS: usize = 200;

type Nothing = Empty<Bytes>;

/// Serves on a thread of its own, as another process would; gives the addresses.
fn serve<F>(nodes: usize, serve: impl Fn(TcpListener) -> F + Send + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    let (told, addresses) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime(), async move {
            for _ in 0..nodes {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap().to_string())
                    .unwrap();
                tokio::task::spawn_local(serve(listener));
            }
            drop(told);
            std::future::pending::<()>().await;
        });
    });
    addresses.iter().collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn http(listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let answer =
                |_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Nothing::new())) };
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            // How it ends is the client's affair.
            let _ = connection.await;
        });
    }
}

async fn grpc(listener: TcpListener) {
    let (_reporter, health) = health_reporter();
    Server::builder()
        .tcp_nodelay(true)
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .unwrap();
}

async fn cache(addresses: &[String]) -> Cache {
    let nodes = addresses
        .iter()
        .enumerate()
        .map(|(i, address)| Node::new(format!("n{i}"), address.as_str()));
    let cache = Cache::new(MemoryRegistry::new());
    cache
        .register(Service::new(NAME, "v1.0.0").with_nodes(nodes))
        .await
        .unwrap();
    cache
}

/// Calls both in turns, and says what the second one costs more.
async fn compare(what: &str, mut direct: impl AsyncFnMut(), mut ours: impl AsyncFnMut()) {
    let (mut direct_times, mut our_times) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for times in [&mut direct_times, &mut our_times] {
            // The first round warms up.
            if round == 1 {
                times.clear();
            }
        }
        for _ in 0..CALLS {
            let start = Instant::now();
            direct().await;
            direct_times.push(start.elapsed());
        }
        for _ in 0..CALLS {
            let start = Instant::now();
            ours().await;
            our_times.push(start.elapsed());
        }
    }
    let [direct, ours] = [direct_times, our_times].map(median);
    let more = (ours / direct - 1.0) * 100.0;
    println!("{what}: {direct:.2} us directly, {ours:.2} us by name ({more:+.1} %)");
}

/// In microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

async fn with_hyper(nodes: usize) {
    let addresses = serve(nodes, http);
    let stream = TcpStream::connect(&addresses[0]).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut bare = async || {
        sender.ready().await.unwrap();
        let request = Request::get("/").header("host", NAME);
        let request = request.body(Nothing::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    };
    let client = by_hyper::Client::<Nothing>::new(cache(&addresses).await);
    let ours = async || {
        let answer = client.get(URL.parse().unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap();
    };
    compare("hyper, one connection", &mut bare, ours).await;

    let mut connector = legacy::connect::HttpConnector::new();
    connector.set_nodelay(true);
    let pool: legacy::Client<_, Nothing> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    let url = format!("http://{}/", addresses[0]);
    let pooled = async || {
        let answer = pool.get(url.parse().unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap();
    };
    compare("hyper-util's pool", pooled, ours).await;
}

async fn with_reqwest(nodes: usize) {
    let addresses = serve(nodes, http);
    let direct = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/", addresses[0]);
    let call = async || {
        let answer = direct.get(&url).send().await.unwrap();
        answer.bytes().await.unwrap();
    };
    let client = by_reqwest::Client::new(cache(&addresses).await);
    let ours = async || {
        let answer = client.get(URL).await.unwrap();
        answer.bytes().await.unwrap();
    };
    compare("reqwest", call, ours).await;
}

async fn with_tonic(nodes: usize) {
    let addresses = serve(nodes, grpc);
    let endpoint = Endpoint::try_from(format!("http://{}", addresses[0])).unwrap();
    let direct = HealthClient::new(endpoint.connect().await.unwrap());
    let ours = HealthClient::new(by_tonic::Channel::new(&cache(&addresses).await, NAME));
    compare(
        "tonic",
        async || drop(direct.clone().check(empty()).await.unwrap()),
        async || drop(ours.clone().check(empty()).await.unwrap()),
    )
    .await;
}

fn empty() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

fn main() {
    let runtime = runtime();
    for nodes in [1, 3] {
        println!("a service of {nodes}:");
        runtime.block_on(with_hyper(nodes));
        runtime.block_on(with_reqwest(nodes));
        runtime.block_on(with_tonic(nodes));
    }
}
