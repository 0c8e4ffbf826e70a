//! Redirects that the client for reqwest follows.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use tokio::net::TcpListener;
use vine_discovery::{
    Cache, NoNode, Selector, Verdict,
    clients::{CallError, reqwest::Client},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

use super::http::{NAME, settle};

const OTHER: &str = "go.vine.other";

/// Counts what it is asked for.
type Calls = Arc<AtomicUsize>;

/// Points elsewhere, as the path says, or tells what it got.
async fn answer(
    State((id, calls)): State<(&'static str, Calls)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    calls.fetch_add(1, Ordering::Relaxed);
    match uri.path() {
        "/see" => Redirect::to("http://go.vine.other/seen?x").into_response(),
        "/moved" => Redirect::temporary("/here").into_response(),
        "/nowhere" => Redirect::to("http://go.vine.none/").into_response(),
        "/round" => Redirect::to("/round").into_response(),
        _ => {
            let of = |name| {
                headers
                    .get(name)
                    .map_or("-", |value| value.to_str().unwrap())
            };
            let (host, secret) = (of(header::HOST), of(header::AUTHORIZATION));
            format!("{id}: {method} {uri} {host} {secret} {body}").into_response()
        }
    }
}

async fn start(id: &'static str) -> (Node, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new(id, listener.local_addr().unwrap().to_string());
    let calls = Calls::default();
    let router = Router::new().fallback(answer);
    let router = router.with_state((id, Arc::clone(&calls)));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (node, calls)
}

/// A client, what nodes of one service were asked for, and what that thinks of them.
async fn client() -> (Client, Calls, Selector) {
    let cache = Cache::new(MemoryRegistry::new());
    let (node, calls) = start("node").await;
    for (name, node) in [(NAME, node), (OTHER, start("other").await.0)] {
        let service = Service::new(name, "v1").with_node(node);
        cache.register(service).await.unwrap();
    }
    let selector = Selector::builder(cache.subscribe(NAME)).build();
    let client = Client::new(cache).with_service(NAME, selector.clone());
    (client, calls, selector)
}

async fn post(client: &Client, path: &str) -> Result<(StatusCode, String), CallError> {
    let request = client.http().post(format!("http://{NAME}{path}"));
    let request = request.bearer_auth("secret").body("hi");
    let answer = client.send(request).await?;
    Ok((answer.status(), answer.text().await.unwrap()))
}

#[tokio::test]
async fn a_redirect_to_a_service_is_a_call_of_that() {
    let (client, calls, _) = client().await;
    let (status, answer) = post(&client, "/see").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer, "other: GET /seen?x go.vine.other - ");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_relative_redirect_stays_with_the_service() {
    let (client, calls, _) = client().await;
    let (status, answer) = post(&client, "/moved").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer, "node: POST /here go.vine.test Bearer secret hi");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_redirect_to_nobody_is_not_held_against_who_answered() {
    let (client, calls, selector) = client().await;
    let error = post(&client, "/nowhere").await.unwrap_err();
    assert!(
        matches!(error, CallError::NoNode(NoNode::NotFound { .. })),
        "{error}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1, "it is not sent again");
    settle().await;
    assert_eq!(selector.explain()[0].verdict, Verdict::In);
}

#[tokio::test]
async fn redirects_end() {
    let (client, calls, _) = client().await;
    let (status, _) = post(&client, "/round").await.unwrap();
    assert_eq!(
        (status, calls.load(Ordering::Relaxed)),
        (StatusCode::SEE_OTHER, 11)
    );
    let client = client.with_redirects(0);
    let (status, _) = post(&client, "/see").await.unwrap();
    assert_eq!(
        (status, calls.load(Ordering::Relaxed)),
        (StatusCode::SEE_OTHER, 12)
    );
}
