use std::{collections::HashMap, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::{Code, Request, transport::Identity};
use tonic_health::{ServingStatus, pb::health_client::HealthClient};
use vine_discovery::{
    Cache, ConsistentHash, Pick, RoundRobin, Selector,
    clients::{http::Key, tonic::Channel},
};
use vine_registry::{MemoryRegistry, Node, RegistryExt, Service, TlsOptions};

use crate::backend::{Backend, NAME, PATIENCE, cache, check, round_robin};

#[tokio::test]
async fn a_generated_client_calls_by_name() {
    let backends = [Backend::start("a").await, Backend::start("b").await];
    let mut client = HealthClient::new(round_robin(&cache(&backends).await));
    // Each knows itself alone.
    let mut answers = HashMap::new();
    while answers.len() < 2 {
        let answer = client.check(check("a")).await;
        *answers.entry(answer.is_ok()).or_insert(0) += 1;
    }
}

#[tokio::test]
async fn calls_of_a_key_go_to_the_node_that_the_selector_picks_for_it() {
    let backends = [
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
    ];
    let cache = cache(&backends).await;
    let selector = Selector::builder(cache.subscribe(NAME)).strategy(ConsistentHash);
    let selector = selector.build();
    selector.ready().await.unwrap();
    let channel = Channel::builder(selector.clone()).connect_timeout(PATIENCE);
    let mut client = HealthClient::new(channel.build().unwrap());
    // A call goes elsewhere as long as the node that it is for is not connected.
    for backend in &backends {
        while client.check(check(&backend.node.id)).await.is_err() {}
    }
    for key in (0..20).map(|key| format!("user {key}")) {
        let pick = Pick::new().with_key(&key);
        let picked = selector.pick_by(&pick).unwrap().node().id.to_string();
        // No other one knows it.
        let mut request = Request::new(check(&picked));
        request.extensions_mut().insert(Key::new(&key));
        client.check(request).await.unwrap();
    }
}

#[tokio::test]
async fn calls_go_on_while_a_node_stops_and_its_stream_ends_in_its_own_time() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let cache = cache([&a, &b]).await;
    let channel = round_robin(&cache);
    let mut updates = channel.selector().updates();
    let mut client = HealthClient::new(channel);
    let mut stream = loop {
        // The other one does not know it.
        if let Ok(stream) = client.watch(check("a")).await {
            break stream.into_inner();
        }
    };
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    a.stop.send(()).unwrap();
    for _ in 0..100 {
        client.check(check("")).await.unwrap();
    }
    cache
        .deregister(&Service::new(NAME, "v1").with_node(a.node.clone()))
        .await
        .unwrap();
    while updates.next().await.len() > 1 {}
    for _ in 0..100 {
        client.check(check("b")).await.unwrap();
    }
    a.health
        .set_service_status("a", ServingStatus::NotServing)
        .await;
    assert_eq!(
        stream.message().await.unwrap().unwrap().status,
        2,
        "the stream goes on"
    );
    drop(stream);
    a.server.await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_and_broken_off_is_tried_again_only_if_it_does_no_harm() {
    let good = Backend::start("a").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Speaks HTTP/2 to the first call, and hangs up.
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                socket
                    .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                    .await
                    .unwrap();
                let (mut read, mut seen) = (vec![0; 4096], 0);
                while seen < 100 {
                    seen += socket.read(&mut read).await.unwrap_or(100).max(1);
                }
            });
        }
    });
    let cache = cache([&good]).await;
    let bad = Service::new(NAME, "v1").with_node(Node::new("bad", address));
    cache.register(bad).await.unwrap();
    let make = |idempotent| {
        let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
        Channel::builder(selector.build())
            .connect_timeout(PATIENCE)
            .idempotent(idempotent)
            .build()
            .unwrap()
    };
    let mut careful = HealthClient::new(make(false));
    let mut bold = HealthClient::new(make(true));
    let failed = loop {
        bold.check(check("a")).await.unwrap();
        if let Err(status) = careful.check(check("a")).await {
            break status;
        }
    };
    assert_eq!(failed.code(), Code::Unavailable, "{failed}");
    assert!(
        failed.message().contains("node bad of go.vine.test"),
        "{failed}"
    );
}

#[tokio::test]
async fn the_certificate_must_be_the_services() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.into()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    let backend = Backend::start_with("a", Some(identity)).await;
    let cache = cache([&backend]).await;
    let channel = |tls: TlsOptions| {
        let selector = Selector::builder(cache.subscribe(NAME)).build();
        let builder = Channel::builder(selector).connect_timeout(PATIENCE);
        builder.tls(tls).build().unwrap()
    };
    let trusted = TlsOptions::new().with_ca(cert.pem());
    HealthClient::new(channel(trusted.clone()))
        .check(check("a"))
        .await
        .unwrap();
    let mut other = trusted;
    other.server_name = Some("go.vine.other".to_owned());
    let status = HealthClient::new(channel(other))
        .check(check("a"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("certificate"), "{status}");
}

#[tokio::test]
async fn a_timeout_holds_for_the_whole_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = Cache::new(MemoryRegistry::new());
    let silent = Node::new("silent", listener.local_addr().unwrap().to_string());
    cache
        .register(Service::new(NAME, "v1").with_node(silent))
        .await
        .unwrap();
    let mut request = Request::new(check(""));
    request.set_timeout(Duration::from_millis(50));
    let status = HealthClient::new(Channel::new(&cache, NAME))
        .check(request)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let cache = Cache::new(MemoryRegistry::new());
    let status = HealthClient::new(Channel::new(&cache, NAME))
        .check(check(""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("go.vine.test has no node"),
        "{status}"
    );
}
