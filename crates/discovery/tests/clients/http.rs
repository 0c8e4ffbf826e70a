use std::{collections::BTreeSet, error::Error, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    routing::any,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{Instant, pause, resume, sleep},
};
use vine_discovery::{
    Cache, ConsistentHash, NoNode, Pick, RoundRobin, Selector,
    clients::{
        BoxError, CallError, Ending, Retries,
        http::{Key, Trail},
        hyper, reqwest,
    },
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

use crate::faulty::Faulty;

pub(super) const NAME: &str = "go.vine.test";

/// A node that answers with its id, the host that was asked for, and the body.
pub(super) struct Backend {
    pub(super) node: Node,
}

async fn answer(State(id): State<&'static str>, headers: HeaderMap, body: String) -> String {
    let host = headers.get("host").map(|host| host.to_str().unwrap());
    format!("{id} {} {body}", host.unwrap_or_default())
}

impl Backend {
    pub(super) async fn start(id: &'static str) -> Self {
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

pub(super) async fn cache(backends: &[Backend]) -> Cache {
    let cache = Cache::new(MemoryRegistry::new());
    let nodes = backends.iter().map(|backend| backend.node.clone());
    cache
        .register(Service::new(NAME, "v1").with_nodes(nodes))
        .await
        .unwrap();
    cache
}

pub(super) async fn post(
    client: &hyper::Client<Full<Bytes>>,
    url: &str,
) -> Result<String, BoxError> {
    let request = Request::post(url).body(Full::from("hi"))?;
    let answer = client.request(request).await?;
    Ok(String::from_utf8(
        answer.into_body().collect().await?.to_bytes().to_vec(),
    )?)
}

/// Until every task has done what there is to do.
pub(super) async fn settle() {
    pause();
    sleep(Duration::from_millis(10)).await;
    resume();
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

/// A node at a port that nobody listens on, and that nobody else can get as long as the socket lives.
fn gone(id: &str) -> (TcpSocket, Node) {
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let node = Node::new(id, unused.local_addr().unwrap().to_string());
    (unused, node)
}

#[tokio::test]
async fn a_refused_connection_costs_no_call_even_a_post() {
    let cache = cache(&[Backend::start("a").await]).await;
    let (_unused, gone) = gone("gone");
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

#[tokio::test(start_paused = true)]
async fn a_timeout_holds_for_all_attempts_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("slow", listener.local_addr().unwrap().to_string());
    let router = Router::new().fallback(|| async {
        sleep(Duration::from_secs(3)).await;
        StatusCode::SERVICE_UNAVAILABLE
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = reqwest::Client::new(cache(&[Backend { node }]).await);
    let start = Instant::now();
    let request = client.http().get("http://go.vine.test/");
    let late = client.send(request.timeout(Duration::from_secs(5))).await;
    let CallError::Failed { source, .. } = late.unwrap_err() else {
        panic!("no timeout")
    };
    let source = source.downcast::<::reqwest::Error>().unwrap();
    assert!(source.is_timeout(), "{source}");
    assert_eq!(start.elapsed().as_secs(), 5);
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
    // This build speaks no https; what counts is that no service is looked for.
    for url in ["https://go.vine.test/", "https://go.vine.none:443/"] {
        let secure = client.get(url).await.unwrap_err();
        assert!(matches!(secure, CallError::Elsewhere(_)), "{secure}");
    }
    let answer = client.get("http://go.vine.test:80/").await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a go.vine.test ");
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

#[tokio::test]
async fn nodes_that_all_refuse_are_tried_once_each_at_the_expense_of_no_other_service() {
    let backends = [Backend::start("a").await, Backend::start("bad").await];
    let cache = cache(&backends).await;
    let (_unused, nodes): (Vec<_>, Vec<_>) = ["x", "y", "z"].map(gone).into_iter().unzip();
    let service = Service::new("go.vine.gone", "v1").with_nodes(nodes);
    cache.register(service).await.unwrap();
    let round_robin = |name| Selector::builder(cache.subscribe(name)).strategy(RoundRobin::new());
    let (gone, live) = (round_robin("go.vine.gone"), round_robin(NAME));
    let (gone, live) = (gone.build(), live.build());
    // Ten in all.
    let retries = Retries::new().with_budget(0.0, 1.0);
    let by_hyper = hyper::Client::with_retries(cache.clone(), retries)
        .with_service("gone", gone.clone())
        .with_service("live", live.clone());
    let http = ::reqwest::Client::builder().no_proxy().build().unwrap();
    let by_reqwest = reqwest::Client::with_client(cache, http, retries)
        .with_service("gone", gone)
        .with_service("live", live);
    for round in 0..20 {
        let trail = Trail::new();
        let request = Request::post("http://gone/").extension(trail.clone());
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let error = by_hyper.request(request).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
        let tried = trail.tried().into_iter().map(|tried| tried.node.id.clone());
        let tried = Vec::from_iter(tried);
        assert_eq!(BTreeSet::from_iter(&tried).len(), tried.len(), "{tried:?}");
        assert!(round > 0 || tried.len() == 3, "{tried:?}");
        let error = by_reqwest.get("http://gone/").await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    }
    for _ in 0..4 {
        let url = "http://live/broken".parse().unwrap();
        assert_eq!(by_hyper.get(url).await.unwrap().status(), 200);
        let answer = by_reqwest.get("http://live/broken").await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_not_said_to_have_been() {
    let (_unused, gone) = gone("gone");
    let address = gone.address.clone();
    let cache = cache(&[Backend { node: gone }]).await;
    let by_hyper = hyper::Client::with_retries(cache.clone(), Retries::none());
    let http = ::reqwest::Client::builder().no_proxy().build().unwrap();
    let by_reqwest = reqwest::Client::with_client(cache, http, Retries::none());
    let request = Request::get("http://go.vine.test/").body(Full::<Bytes>::default());
    let errors = [
        by_hyper.request(request.unwrap()).await.unwrap_err(),
        by_reqwest.get("http://go.vine.test/").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
        let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
        let expected = "no node of go.vine.test that was tried can be connected to";
        assert_eq!(error.to_string(), expected);
        let expected = format!("node gone at {address}");
        assert_eq!(causes.next().unwrap().to_string(), expected);
        let last = causes.last().unwrap().to_string();
        assert!(last.contains("refused"), "{last}");
    }
}

#[tokio::test]
async fn requests_of_a_key_go_to_the_node_that_the_selector_picks_for_it() {
    let backends = ["a", "b", "c"].map(Backend::start);
    let backends = futures_util::future::join_all(backends).await;
    let cache = cache(&backends).await;
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(ConsistentHash);
    let selector = selector.build();
    selector.ready().await.unwrap();
    let client = hyper::Client::new(cache).with_service(NAME, selector.clone());
    let mut nodes = BTreeSet::new();
    for key in (0..20).map(|key| format!("user {key}")) {
        let pick = Pick::new().with_key(&key);
        let picked = selector.pick_by(&pick).unwrap().node().id.to_string();
        let request = Request::get("http://go.vine.test/").extension(Key::new(&key));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = client.request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("{picked} go.vine.test "));
        nodes.insert(picked);
    }
    assert_eq!(nodes.len(), 3, "{nodes:?}");
}

#[tokio::test]
async fn a_trail_tells_which_nodes_a_call_was_tried_on() {
    let cache = cache(&[Backend::start("a").await]).await;
    let (_unused, gone) = gone("gone");
    let services = Service::new(NAME, "v1").with_node(gone);
    cache.register(services).await.unwrap();
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
    let client = hyper::Client::new(cache).with_service(NAME, selector.build());
    let a = ("a".to_owned(), Some(Ending::Answered));
    let gone = ("gone".to_owned(), Some(Ending::Refused));
    let direct = vec![a.clone()];
    let past_one = vec![gone, a];
    let (mut directly, mut past) = (false, false);
    // It begins with either.
    while !(directly && past) {
        let trail = Trail::new();
        let request = Request::post("http://go.vine.test/").extension(trail.clone());
        let request = request.body(Full::<Bytes>::default()).unwrap();
        client.request(request).await.unwrap();
        let tried = trail.tried().into_iter();
        let tried = Vec::from_iter(tried.map(|tried| (tried.node.id.to_string(), tried.ending)));
        directly |= tried == direct;
        past |= tried == past_one;
        assert!(tried == direct || tried == past_one, "{tried:?}");
    }
}

#[tokio::test]
async fn a_trail_names_the_node_that_a_call_hangs_at() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("hangs", listener.local_addr().unwrap().to_string());
    let client = hyper::Client::<Full<Bytes>>::new(cache(&[Backend { node }]).await);
    let trail = Trail::new();
    let request = Request::get("http://go.vine.test/").extension(trail.clone());
    let request = request.body(Full::default()).unwrap();
    tokio::select! {
        answer = client.request(request) => panic!("{answer:?}"),
        // Connected to, and never answered.
        connection = listener.accept() => drop(connection.unwrap()),
    }
    let tried = trail.tried();
    let [tried] = &*tried else {
        panic!("{tried:?}")
    };
    assert_eq!((&*tried.node.id, tried.ending), ("hangs", None));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_request_holds_while_the_registry_does_not_answer() {
    let faulty = Faulty::default();
    faulty.state().delay = Duration::from_secs(3600);
    let client = reqwest::Client::new(Cache::new(faulty));
    let start = Instant::now();
    let request = client.http().get("http://go.vine.test/");
    let error = client.send(request.timeout(Duration::from_secs(1))).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, CallError::TimedOut { node: None, .. }),
        "{error}"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}
