//! What the calls of a channel say of nodes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    codegen::BoxStream,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_client::HealthClient,
        health_server::{Health, HealthServer},
    },
};
use vine_discovery::{
    Cache, Ejection, RoundRobin, Selector,
    clients::{http::Idempotent, tonic::Channel},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

use crate::{
    backend::{Backend, NAME, PATIENCE, cache, check, round_robin},
    world::{is_ejected, until_ejected},
};

/// A channel that ejects a node for good after so many failures.
fn strict(cache: &Cache, failures: u32) -> Channel {
    let hour = Duration::from_secs(3600);
    let ejection = Ejection::new().with_times(hour, hour).with_max_share(1.0);
    let selector = Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .ejection(ejection.with_failures(failures));
    let channel = Channel::builder(selector.build()).connect_timeout(PATIENCE);
    channel.idempotent(true).build().unwrap()
}

#[tokio::test]
async fn a_node_that_hangs_is_ejected_by_timeouts() {
    let backends = [Backend::start("a").await, Backend::start("b").await];
    // Connections are taken by the system, and nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = cache(&backends).await;
    let hung = Node::new("hung", listener.local_addr().unwrap().to_string());
    let hung = Service::new(NAME, "v1").with_node(hung);
    cache.register(hung).await.unwrap();
    let channel = strict(&cache, 5);
    let selector = channel.selector().clone();
    let mut client = HealthClient::new(channel);
    let mut check_within = async |timeout| {
        let mut request = Request::new(check(""));
        request.set_timeout(timeout);
        client.check(request).await
    };
    let mut late = 0;
    while !is_ejected(&selector, "hung") {
        if let Err(status) = check_within(Duration::from_millis(300)).await {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            late += 1;
            assert!(late < 100, "it gets calls still");
        }
    }
    for _ in 0..30 {
        check_within(PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_may_not_be_sent_is_no_fault_of_the_node() {
    let backend = Backend::start("a").await;
    let channel = strict(&cache([&backend]).await, 1);
    let selector = channel.selector().clone();
    let mut large = HealthClient::new(channel.clone()).max_encoding_message_size(3);
    for _ in 0..10 {
        large.check(check("a")).await.unwrap();
        let status = large.check(check("longer")).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
    }
    // What is reported is taken in by now.
    assert!(!is_ejected(&selector, "a"));
}

#[tokio::test]
async fn a_stream_counts_as_under_way_until_its_end() {
    let mut backend = Backend::start("a").await;
    let channel = strict(&cache([&backend]).await, 1);
    let selector = channel.selector().clone();
    let under_way = || selector.peers()[0].in_flight();
    let mut client = HealthClient::new(channel);
    let mut first = client.watch(check("a")).await.unwrap().into_inner();
    let second = client.watch(check("a")).await.unwrap().into_inner();
    assert_eq!(first.message().await.unwrap().unwrap().status, 1);
    assert_eq!(under_way(), 2);
    drop(second);
    assert_eq!(under_way(), 1);
    let serving = ServingStatus::NotServing;
    backend.health.set_service_status("a", serving).await;
    assert_eq!(first.message().await.unwrap().unwrap().status, 2);
    assert_eq!(under_way(), 1);
    backend.health.clear_service_status("a").await;
    while let Some(_status) = first.message().await.unwrap() {}
    assert_eq!(under_way(), 0, "though the stream is not dropped");
    client.check(check("")).await.unwrap();
    assert!(!is_ejected(&selector, "a"));
}

/// A server that answers every call with `UNAVAILABLE`, and counts them.
#[derive(Clone, Default)]
struct Busy(Arc<AtomicUsize>);

#[tonic::async_trait]
impl Health for Busy {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("busy"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unavailable("busy"))
    }
}

#[tokio::test]
async fn unavailable_is_tried_again_only_if_it_does_no_harm() {
    let good = Backend::start("a").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("busy", listener.local_addr().unwrap().to_string());
    let busy = Busy::default();
    let server = Server::builder().add_service(HealthServer::new(busy.clone()));
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let cache = cache([&good]).await;
    let service = Service::new(NAME, "v1").with_node(node);
    cache.register(service).await.unwrap();

    let mut bold = HealthClient::new(strict(&cache, 5));
    while busy.0.load(Ordering::Relaxed) < 3 {
        bold.check(check("a")).await.unwrap();
    }
    let mut careful = HealthClient::new(round_robin(&cache));
    let status = loop {
        let before = busy.0.load(Ordering::Relaxed);
        let result = careful.check(check("a")).await;
        if busy.0.load(Ordering::Relaxed) > before {
            break result.unwrap_err();
        }
        result.unwrap();
    };
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "busy")
    );
    let before = busy.0.load(Ordering::Relaxed);
    while busy.0.load(Ordering::Relaxed) < before + 3 {
        let mut request = Request::new(check("a"));
        request.extensions_mut().insert(Idempotent(true));
        careful.check(request).await.unwrap();
    }
    server.abort();
}

/// A server that is always busy, but only says so after a while, and remembers how long it was to take.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Vec<Duration>>>);

impl Slow {
    const TAKES: Duration = Duration::from_millis(20);
}

#[tonic::async_trait]
impl Health for Slow {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let left = request.metadata().get("grpc-timeout").unwrap();
        let micros = left.to_str().unwrap().strip_suffix('u').unwrap();
        let left = Duration::from_micros(micros.parse().unwrap());
        self.0.lock().unwrap().push(left);
        tokio::time::sleep(Self::TAKES).await;
        Err(Status::unavailable("busy"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unavailable("busy"))
    }
}

#[tokio::test]
async fn each_attempt_tells_the_node_what_is_left_of_the_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("slow", listener.local_addr().unwrap().to_string());
    let slow = Slow::default();
    let server = Server::builder().add_service(HealthServer::new(slow.clone()));
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let cache = Cache::new(MemoryRegistry::new());
    let service = Service::new(NAME, "v1").with_node(node);
    cache.register(service).await.unwrap();

    let mut client = HealthClient::new(strict(&cache, 5));
    let mut request = Request::new(check("a"));
    let minute = Duration::from_secs(60);
    request.set_timeout(minute);
    let status = client.check(request).await.unwrap_err();
    assert_eq!(status.message(), "busy");
    let told = slow.0.lock().unwrap().clone();
    assert_eq!(told.len(), 3, "{told:?}");
    let mut most = minute;
    for left in &told {
        assert!(*left <= most, "{told:?}");
        most = *left - Slow::TAKES;
    }
    server.abort();
}

/// A server that never answers.
struct Hung;

#[tonic::async_trait]
impl Health for Hung {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        std::future::pending().await
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_node_whose_server_gives_up_on_its_calls_is_ejected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("hung", listener.local_addr().unwrap().to_string());
    // tonic says CANCELLED then.
    let server = Server::builder().timeout(Duration::from_millis(1));
    let server = { server }.add_service(HealthServer::new(Hung));
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let cache = Cache::new(MemoryRegistry::new());
    let service = Service::new(NAME, "v1").with_node(node);
    cache.register(service).await.unwrap();

    let channel = strict(&cache, 5);
    let selector = channel.selector().clone();
    let mut client = HealthClient::new(channel);
    for _ in 0..5 {
        let status = client.check(check("a")).await.unwrap_err();
        assert_eq!(status.code(), Code::Cancelled, "{status}");
    }
    until_ejected(&selector, "hung").await;
    server.abort();
}
