use std::collections::BTreeSet;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    routing::any,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::net::{TcpListener, TcpSocket};
use vine_discovery::{
    Cache, NoNode, RoundRobin, Selector,
    clients::{BoxError, CallError, Retries, hyper, reqwest},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

const NAME: &str = "go.vine.test";

/// A node that answers with its id, the host that was asked for, and the body.
struct Backend {
    node: Node,
}

async fn answer(State(id): State<&'static str>, headers: HeaderMap, body: String) -> String {
    let host = headers.get("host").map(|host| host.to_str().unwrap());
    format!("{id} {} {body}", host.unwrap_or_default())
}

impl Backend {
    async fn start(id: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::new(id, listener.local_addr().unwrap().to_string());
        let broken = |State(id): State<&'static str>| async move {
            if id == "bad" {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            Ok("fine")
        };
        let router = Router::new()
            .route("/", any(answer))
            .route("/broken", any(broken))
            .with_state(id);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { node }
    }
}

async fn cache(backends: &[Backend]) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    let nodes = backends.iter().map(|backend| backend.node.clone());
    cache
        .register(Service::new(NAME, "v1").with_nodes(nodes))
        .await
        .unwrap();
    cache
}

async fn post(client: &hyper::Client<Full<Bytes>>, url: &str) -> Result<String, BoxError> {
    let request = Request::post(url).body(Full::from("hi"))?;
    let answer = client.request(request).await?;
    Ok(String::from_utf8(
        answer.into_body().collect().await?.to_bytes().to_vec(),
    )?)
}

#[tokio::test]
async fn hyper_chooses_a_node_for_each_request_and_keeps_the_host() {
    let backends = [Backend::start("a").await, Backend::start("b").await];
    let client = hyper::Client::new(cache(&backends).await);
    let mut answers = BTreeSet::new();
    for _ in 0..50 {
        answers.insert(post(&client, "http://go.vine.test/").await.unwrap());
    }
    assert_eq!(
        Vec::from_iter(answers),
        ["a go.vine.test hi", "b go.vine.test hi"]
    );
}

#[tokio::test]
async fn reqwest_chooses_a_node_for_each_request_and_keeps_the_host() {
    let backends = [Backend::start("a").await, Backend::start("b").await];
    let client = reqwest::Client::new(cache(&backends).await);
    let mut answers = BTreeSet::new();
    for _ in 0..50 {
        let request = client.http().post("http://go.vine.test/").body("hi");
        answers.insert(client.send(request).await.unwrap().text().await.unwrap());
    }
    assert_eq!(
        Vec::from_iter(answers),
        ["a go.vine.test hi", "b go.vine.test hi"]
    );
}

#[tokio::test]
async fn a_refused_connection_costs_no_call_even_a_post() {
    let cache = cache(&[Backend::start("a").await]).await;
    // A port that nobody listens on, and nobody else can get meanwhile.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = Node::new("gone", unused.local_addr().unwrap().to_string());
    let gone = Service::new(NAME, "v1").with_node(gone);
    cache.register(gone).await.unwrap();
    let by_hyper = hyper::Client::new(cache.clone());
    let by_reqwest = reqwest::Client::new(cache);
    for _ in 0..20 {
        assert!(
            post(&by_hyper, "http://go.vine.test/")
                .await
                .unwrap()
                .starts_with("a ")
        );
        let request = by_reqwest.http().post("http://go.vine.test/");
        let answer = by_reqwest.send(request).await.unwrap();
        assert!(answer.text().await.unwrap().starts_with("a "));
    }
}

#[tokio::test]
async fn who_is_unavailable_is_asked_again_elsewhere_if_that_does_no_harm() {
    let backends = [Backend::start("a").await, Backend::start("bad").await];
    let cache = cache(&backends).await;
    let selector = Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .build();
    let client = reqwest::Client::new(cache).with_service("test", selector);
    let mut refused = 0;
    for _ in 0..4 {
        let answer = client.get("http://test/broken").await.unwrap();
        assert_eq!(answer.status(), 200);
        let request = client.http().post("http://test/broken");
        let answer = client.send(request).await.unwrap();
        refused += usize::from(answer.status() == 503);
        let request = client
            .http()
            .post("http://test/broken")
            .header("Idempotency-Key", "7");
        assert_eq!(client.send(request).await.unwrap().status(), 200);
    }
    assert!(refused > 0, "a post that met the bad one is not repeated");
}

#[tokio::test]
async fn urls_that_name_no_service() {
    let backends = [Backend::start("a").await];
    let client = reqwest::Client::new(cache(&backends).await);
    let direct = client
        .get(format!("http://{}/", backends[0].node.address))
        .await
        .unwrap();
    assert!(direct.text().await.unwrap().starts_with("a 127.0.0.1:"));
    let unknown = client.get("http://go.vine.none/").await.unwrap_err();
    assert!(
        matches!(unknown, CallError::NoNode(NoNode::NotFound { .. })),
        "{unknown}"
    );
    let secure = client.get("https://go.vine.test/").await.unwrap_err();
    assert!(matches!(secure, CallError::InvalidUrl { .. }), "{secure}");
}

/// More than may be ejected.
#[tokio::test]
async fn calls_pass_over_many_nodes_that_are_gone() {
    let live = Backend::start("live").await;
    let gone = (0..6).map(|at| Node::new(format!("gone{at}"), format!("127.0.0.1:{}", at + 1)));
    let nodes = gone.chain([live.node.clone()]);
    let cache = Cache::new(MemoryRegistry::new());
    let service = Service::new(NAME, "v1").with_nodes(nodes);
    cache.register(service).await.unwrap();
    let selector = Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .build();
    // Far less than one attempt in vain for each call.
    let retries = Retries::new().with_budget(0.1, 10.0);
    let client = hyper::Client::with_retries(cache, retries).with_service(NAME, selector);
    for _ in 0..1_000 {
        let answer = post(&client, "http://go.vine.test/").await.unwrap();
        assert_eq!(answer, "live go.vine.test hi");
    }
}
