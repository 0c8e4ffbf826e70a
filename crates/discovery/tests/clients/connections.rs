//! The connections of the client for hyper.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Method, Request, Response, Version, body::Incoming, header, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, pause, resume, sleep},
};
use vine_discovery::{
    Cache,
    clients::{CallError, Retries, http::Held, hyper::Client},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service};

const NAME: &str = "go.vine.test";
const URL: &str = "http://go.vine.test/";

type Answer = Response<Held<Incoming>>;

/// A node without a mind of its own, and a client that never tries again.
async fn pair() -> (TcpListener, Client<Full<Bytes>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new("a", listener.local_addr().unwrap().to_string());
    let cache = Cache::new(MemoryRegistry::new());
    let service = Service::new(NAME, "v1").with_node(node);
    cache.register(service).await.unwrap();
    (listener, Client::with_retries(cache, Retries::none()))
}

/// Reads one request, up to the end of its head.
async fn read(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Answers one request on a connection; gives the answer as the client has it.
async fn exchange(client: &Client<Full<Bytes>>, stream: &mut TcpStream, answer: &str) -> Answer {
    let serve = async {
        read(stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(client.get(URL.parse().unwrap()), serve);
    answer.unwrap()
}

/// The first answer, on a connection that is accepted for it.
async fn begin(client: &Client<Full<Bytes>>, listener: &TcpListener) -> TcpStream {
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        stream.write_all(EMPTY.as_bytes()).await.unwrap();
        stream
    };
    let (answer, stream) = tokio::join!(client.get(URL.parse().unwrap()), accept);
    assert_eq!(answer.unwrap().status(), 200);
    stream
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const HI: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_connection_is_used_again_whether_the_answer_is_read_or_not() {
    let (listener, client) = pair().await;
    let mut stream = begin(&client, &listener).await;
    for answer in [EMPTY, HI, HI, EMPTY] {
        let unread = exchange(&client, &mut stream, answer).await;
        drop(unread);
        let read = exchange(&client, &mut stream, answer).await;
        read.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn two_calls_at_once_have_two_connections_and_both_are_kept() {
    let (listener, client) = pair().await;
    let mut first = begin(&client, &listener).await;
    let held = exchange(&client, &mut first, HI).await;
    let mut second = begin(&client, &listener).await;
    drop(exchange(&client, &mut second, EMPTY).await);
    held.into_body().collect().await.unwrap();
    drop(exchange(&client, &mut first, EMPTY).await);
}

#[tokio::test]
async fn a_connection_that_the_node_has_closed_costs_no_call() {
    let (listener, client) = pair().await;
    for _ in 0..20 {
        drop(begin(&client, &listener).await);
        // Until there is nothing left to do: the client has seen that it is closed.
        pause();
        sleep(Duration::from_secs(1)).await;
        resume();
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_its_connection() {
    let (listener, client) = pair().await;
    let mut stream = begin(&client, &listener).await;
    tokio::select! {
        answer = client.get(URL.parse().unwrap()) => panic!("{answer:?}"),
        request = read(&mut stream) => drop(request),
    }
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it is closed");
    begin(&client, &listener).await;
}

#[tokio::test]
async fn what_nobody_uses_is_closed_after_a_time() {
    let (listener, client) = pair().await;
    let mut stream = begin(&client, &listener).await;
    // From here on, time passes as soon as there is nothing else to do.
    pause();
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it is closed");
    let after = start.elapsed();
    let expected = Duration::from_secs(89)..Duration::from_secs(125);
    assert!(expected.contains(&after), "{after:?}");
}

#[tokio::test]
async fn a_node_may_change_the_protocol() {
    let (listener, client) = pair().await;
    let echo = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read(&mut stream).await.contains("upgrade: echo"));
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let byte = stream.read_u8().await.unwrap();
        stream.write_u8(byte).await.unwrap();
    };
    let call = async {
        let request = Request::get(URL)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "echo");
        let request = request.body(Full::default()).unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 101);
        let mut upgraded = TokioIo::new(upgrade::on(answer).await.unwrap());
        upgraded.write_u8(7).await.unwrap();
        assert_eq!(upgraded.read_u8().await.unwrap(), 7);
    };
    tokio::join!(echo, call);
}

#[tokio::test]
async fn requests_are_written_as_a_node_expects_them() {
    let (listener, client) = pair().await;
    let port = listener.local_addr().unwrap().port();
    let mut stream = begin(&client, &listener).await;
    for (method, version, url, line, host) in [
        (Method::GET, Version::HTTP_2, URL, "GET / HTTP/1.1", NAME),
        (
            Method::PUT,
            Version::HTTP_3,
            "http://go.vine.test/a?b=c",
            "PUT /a?b=c HTTP/1.1",
            NAME,
        ),
        (
            Method::OPTIONS,
            Version::HTTP_09,
            "http://Go.Vine.Test",
            "OPTIONS / HTTP/1.1",
            "Go.Vine.Test",
        ),
    ] {
        let request = Request::builder().method(method).version(version).uri(url);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let serve = async {
            let head = read(&mut stream).await;
            assert!(head.starts_with(&format!("{line}\r\n")), "{head}");
            assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
            stream.write_all(EMPTY.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(client.request(request), serve);
        answer.unwrap();
    }
    // Where no service is meant.
    let elsewhere = format!("http://me:secret@127.0.0.1:{port}/there");
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read(&mut stream).await;
        assert!(head.starts_with("GET /there HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("host: 127.0.0.1:{port}\r\n")),
            "{head}"
        );
        stream.write_all(EMPTY.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(client.get(elsewhere.parse().unwrap()), serve);
    answer.unwrap();
}

#[tokio::test]
async fn what_this_client_does_not_speak_is_said() {
    let client: Client<Empty<Bytes>> = Client::new(Cache::new(MemoryRegistry::new()));
    for url in ["https://127.0.0.1:1/", "https://go.vine.test/"] {
        let error = client.get(url.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, CallError::InvalidUrl { .. }), "{error}");
        assert!(error.to_string().contains("http:// alone"), "{error}");
    }
}
