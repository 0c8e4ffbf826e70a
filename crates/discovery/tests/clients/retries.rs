//! What the client for hyper sends again, and until when a call is under way.

use axum::{
    Router,
    body::Bytes as Read,
    extract::State,
    http::{Method, StatusCode},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use vine_discovery::{
    RoundRobin, Selector, Verdict,
    clients::{
        BoxError, CallError,
        http::{Idempotent, Trail},
        hyper::Client,
    },
};
use vine_registry::Node;

use super::http::{Backend, NAME, cache, settle};

/// What is remembered of a body.
const LIMIT: usize = 64 * 1024;

type Body = BoxBody<Bytes, BoxError>;

/// A node that says how long the body was, and one that reads it and is unavailable.
async fn reader(id: &'static str) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new(id, listener.local_addr().unwrap().to_string());
    let answer = |State(id): State<&'static str>, body: Read| async move {
        match id {
            "bad" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => body.len().to_string().into_response(),
        }
    };
    let router = Router::new().fallback(answer).with_state(id);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Backend { node }
}

/// A body whose length is not known before.
fn streamed(parts: &[usize]) -> Body {
    let frames: Vec<_> = parts
        .iter()
        .map(|&size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))))
        .collect();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

fn whole(body: &'static str) -> Body {
    let body = Full::from(body);
    body.map_err(|never| match never {}).boxed()
}

async fn readers() -> Client<Body> {
    let cache = cache(&[reader("good").await, reader("bad").await]).await;
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
    let selector = selector.build();
    Client::new(cache).with_service(NAME, selector)
}

#[tokio::test]
async fn a_streamed_body_is_sent_again_as_long_as_it_is_remembered() {
    for (parts, length, is_remembered) in [
        (vec![LIMIT / 2, LIMIT / 2], LIMIT, true),
        (vec![LIMIT / 2, LIMIT / 2, 1], LIMIT + 1, false),
    ] {
        let client = readers().await;
        let mut again = 0;
        // Every other call begins at the bad one.
        for _ in 0..4 {
            let trail = Trail::new();
            let request = Request::put("http://go.vine.test/").extension(trail.clone());
            let answer = client.request(request.body(streamed(&parts)).unwrap());
            let answer = answer.await.unwrap();
            let tried = trail.tried();
            again += usize::from(tried.len() > 1);
            if &*tried.last().unwrap().node.id == "bad" {
                assert!(!is_remembered);
                assert_eq!(answer.status(), 503);
            } else {
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, length.to_string());
            }
        }
        assert_eq!(again > 0, is_remembered, "{parts:?}");
    }
}

#[tokio::test]
async fn a_request_may_say_whether_it_is_sent_again() {
    for (method, says, expected) in [
        (Method::POST, Some(true), true),
        (Method::POST, None, false),
        (Method::GET, Some(false), false),
        (Method::GET, None, true),
    ] {
        // A new one, before the bad node is ejected.
        let client = readers().await;
        let mut again = false;
        for _ in 0..4 {
            let trail = Trail::new();
            let mut request = Request::new(whole("hi"));
            *request.method_mut() = method.clone();
            *request.uri_mut() = "http://go.vine.test/".parse().unwrap();
            request.extensions_mut().insert(trail.clone());
            if let Some(says) = says {
                request.extensions_mut().insert(Idempotent(says));
            }
            client.request(request).await.unwrap();
            again |= trail.tried().len() > 1;
        }
        assert_eq!(again, expected, "{method} {says:?}");
    }
}

/// A node that does as it is told, what a selector thinks of it, and a client.
async fn puppet() -> (TcpListener, Selector, Client<Body>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("a", listener.local_addr().unwrap().to_string());
    let cache = cache(&[Backend { node }]).await;
    let selector = Selector::builder(cache.subscribe(NAME)).build();
    let client = Client::new(cache).with_service(NAME, selector.clone());
    (listener, selector, client)
}

/// Accepts a connection, and reads the head of a request.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_call_that_a_node_has_read_is_sent_again_only_if_that_does_no_harm() {
    for (method, is_again) in [(Method::POST, false), (Method::GET, true)] {
        let (listener, _, client) = puppet().await;
        let request = Request::builder().method(&method);
        let request = request.uri("http://go.vine.test/").body(whole(""));
        let serve = async {
            drop(accept(&listener).await);
            let mut stream = accept(&listener).await;
            stream.write_all(EMPTY.as_bytes()).await.unwrap();
            std::future::pending().await
        };
        let answer = tokio::select! {
            answer = client.request(request.unwrap()) => answer,
            () = serve => unreachable!(),
        };
        match answer {
            Ok(_) => assert!(is_again, "{method}"),
            Err(error) => {
                assert!(!is_again, "{method}");
                assert!(matches!(error, CallError::Failed { .. }), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_in_parts_is_a_call_under_way_until_its_end() {
    let (listener, selector, client) = puppet().await;
    let under_way = || selector.peers()[0].in_flight();
    let request = Request::get("http://go.vine.test/")
        .body(whole(""))
        .unwrap();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
    let (answer, mut stream) = tokio::join!(client.request(request), async {
        let mut stream = accept(&listener).await;
        assert_eq!(under_way(), 1, "before its head");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    let mut body = answer.unwrap().into_body();
    let part = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&*part, under_way()), (&b"hi"[..], 1));
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(body.frame().await.is_none());
    assert_eq!(under_way(), 0);
    drop(body);
}

#[tokio::test]
async fn a_call_that_is_dropped_midway_is_no_failure() {
    let (listener, selector, client) = puppet().await;
    // More than would eject the node.
    for _ in 0..10 {
        let request = Request::get("http://go.vine.test/").body(whole(""));
        tokio::select! {
            answer = client.request(request.unwrap()) => panic!("{answer:?}"),
            _stream = accept(&listener) => {}
        }
        assert_eq!(selector.peers()[0].in_flight(), 0);
    }
    settle().await;
    assert_eq!(selector.explain()[0].verdict, Verdict::In);
}
