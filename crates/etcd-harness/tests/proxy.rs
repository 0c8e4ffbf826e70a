//! The proxy spoils connections as it says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use vine_etcd_harness::{Mode, Proxy};

/// Long enough for what is on its way over loopback.
const MOMENT: Duration = Duration::from_millis(200);

/// A server that says back what it hears, and a proxy to it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::to(addr).await
}

async fn say(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn it_passes_and_counts() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
    let counts = proxy.counts();
    assert_eq!((counts.connections, counts.open), (1, 1));
    assert_eq!((counts.bytes_up, counts.bytes_down), (5, 5));
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed in order");
}

#[tokio::test]
async fn it_delays() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.set(Mode::Delay(MOMENT)).await;
    let from = Instant::now();
    say(&mut stream, b"hello").await.unwrap();
    assert!(from.elapsed() >= 2 * MOMENT, "{:?}", from.elapsed());
}

#[tokio::test]
async fn what_hangs_comes_later_and_what_is_lost_does_not() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    for mode in [Mode::Hang, Mode::HangAnswers] {
        proxy.set(mode).await;
        stream.write_all(b"a").await.unwrap();
        assert!(timeout(MOMENT, stream.read_u8()).await.is_err(), "{mode:?}");
        proxy.set(Mode::Pass).await;
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
    }
    proxy.set(Mode::LoseAnswers).await;
    let answered = proxy.counts().bytes_down;
    stream.write_all(b"a").await.unwrap();
    // Else it might come when answers are passed on again.
    while proxy.counts().bytes_down == answered {
        sleep(MOMENT / 100).await;
    }
    assert!(timeout(MOMENT, stream.read_u8()).await.is_err());
    proxy.set(Mode::Pass).await;
    assert_eq!(say(&mut stream, b"b").await.unwrap(), b"b");
}

#[tokio::test]
async fn it_resets_and_refuses_and_comes_back() {
    let proxy = echo().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, b"hello").await.unwrap();
    proxy.set(Mode::Reset).await;
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    proxy.set(Mode::Refuse).await;
    let error = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    proxy.set(Mode::Pass).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
    assert_eq!(proxy.counts().open, 1);
}
