//! The smaller examples, as processes.

mod common;

use common::{Meeting, Process};
use vine::prelude::*;

#[tokio::test]
async fn registry_goes_through_everything() {
    let mut example = Process::start("registry", &[]);
    example.prints("runs at 127.0.0.1:").await;
    assert!(example.end().await.success());
}

#[tokio::test]
async fn watch_shows_who_comes_and_goes() {
    let meeting = Meeting::new();
    let flags: Vec<_> = meeting
        .flags()
        .into_iter()
        .filter(|flag| flag.starts_with("--registry"))
        .collect();
    let mut watch = Process::start("watch", &flags);
    watch.prints("watching").await;

    let registry = meeting.registry();
    let service = Service::new("go.vine.test", "v1").with_node(Node::new("a", "127.0.0.1:11500"));
    registry.register(service).await.unwrap();
    watch
        .prints("create  go.vine.test v1 at 127.0.0.1:11500")
        .await;
    registry.close().await.unwrap();
    watch
        .prints("delete  go.vine.test v1 at 127.0.0.1:11500")
        .await;
    watch.signal("INT").await;
    assert!(watch.end().await.success());
}

#[tokio::test]
async fn ctrl_c_while_it_prints_is_heard() {
    let meeting = Meeting::new();
    let flags = meeting.flags();
    let registry = flags.iter().filter(|flag| flag.starts_with("--registry"));
    let mut watch = Process::start("watch", &registry.cloned().collect::<Vec<_>>());
    watch.prints("watching").await;

    // More than a pipe holds, so that it is still printing when the signal comes.
    let registry = meeting.registry();
    let nodes = (0..500).map(|n| Node::new(format!("n{n}"), "127.0.0.1:11500"));
    let service = Service::new("go.vine.test", "v".repeat(250)).with_nodes(nodes);
    registry.register(service).await.unwrap();
    watch.prints("create").await;
    watch.signal("INT").await;
    assert!(watch.ends_while_printing().await.success());
    registry.close().await.unwrap();
}

/// Each calls three nodes of its own, one of which stops, and ends by itself.
#[cfg(feature = "clients")]
async fn calls_by_name(example: &str) {
    let mut example = Process::start(example, &[]);
    let said = example.prints("times Hello, this is ").await;
    assert!(said.contains("while eve stops"), "{said}");
    assert!(said.contains("None failed"), "{said}");
    assert!(example.end().await.success());
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwest_calls_by_name() {
    calls_by_name("call_reqwest").await;
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn hyper_calls_by_name() {
    calls_by_name("call_hyper").await;
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn tower_calls_by_name() {
    calls_by_name("call_tower").await;
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn tonic_calls_by_name_plain_and_by_tls() {
    let mut example = Process::start("call_tonic", &[]);
    let plain = example.prints("By TLS").await;
    let tls = example.prints("times Hello, this is ").await;
    for said in [plain, tls] {
        for part in ["One, said ", "three, said ", "None failed"] {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
    }
    assert!(example.end().await.success());
}

/// Any HTTP service of another process is called as well.
#[cfg(feature = "hyper")]
#[tokio::test]
async fn hyper_calls_what_a_registry_knows() {
    let meeting = Meeting::new();
    let flags = meeting.flags();
    let mut hello = Process::start("helloworld", &flags);
    hello.prints("registered").await;
    let registry: Vec<_> = flags
        .into_iter()
        .filter(|flag| flag.starts_with("--registry"))
        .collect();
    let mut example = Process::start("call_hyper", &registry);
    example.prints("Hello, world!").await;
    assert!(example.end().await.success());
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn greeter_greets_and_tells_its_health() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };

    let flags = ["--registry.default=memory", "--server.address=127.0.0.1:0"].map(String::from);
    let mut greeter = Process::start("greeter_grpc", &flags);
    let said = greeter.prints("says: Hello, gRPC!").await;
    let address = said.split_whitespace().next().unwrap();
    let channel = tonic::transport::Endpoint::try_from(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    drop(health);
    greeter.signal("TERM").await;
    assert!(greeter.end().await.success());
}
