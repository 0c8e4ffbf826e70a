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
