//! What the mDNS registry tells of itself, over loopback: each test has a port of its own.

use std::{net::UdpSocket, time::Duration};

use tokio::time::{sleep, timeout};
use vine_registry::{Node, Options, RegisterOptions, Registry, RegistryExt, Service, telemetry::*};
use vine_registry_conformance::listening::Recorder;
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

const MDNS: (&str, &str) = ("registry", "mdns");
const NAME: &str = "go.vine.test";

fn handle(port: u16) -> MdnsRegistry {
    let mdns = MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"]);
    MdnsRegistry::new(Options::new(), mdns).expect("the options are fine")
}

/// Waits until it is so; what it is then is told by the test that runs out of time.
async fn until(what: &str, is_so: impl Fn() -> bool + Send + Sync) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(Duration::from_secs(120), wait).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn metrics_follow_what_happens() {
    const PORT: u16 = 18_951;
    let recorder = Recorder::default();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let value = |name: &str| recorder.value(name, &[MDNS]);

    let (one, other) = (handle(PORT), handle(PORT));
    let service = |id: &str| Service::new(NAME, "v1").with_node(Node::new(id, "127.0.0.1:80"));
    one.register(service("a")).await.unwrap();
    until("one registration", || value(REGISTRATIONS) == 1.0).await;

    let mut watcher = other.watch_service(NAME).await.unwrap();
    assert_eq!(watcher.take_snapshot().node_count(), 1);
    assert_eq!(value(WATCHERS), 1.0);
    until("one cached node", || value(CACHED_NODES) == 1.0).await;
    let lookups = recorder.value(
        REQUESTS,
        &[MDNS, ("operation", "lookup"), ("outcome", "ok")],
    );
    assert_eq!(lookups, 1.0);
    let asked = || recorder.value(REQUESTS, &[MDNS, ("operation", "question")]);
    until("questions", || asked() >= 1.0).await;

    let ttl = RegisterOptions::default().with_ttl(Duration::from_millis(200));
    one.register_with(service("b").into(), &ttl).await.unwrap();
    until("one expired", || value(EXPIRED) == 1.0).await;
    until("one is left", || value(REGISTRATIONS) == 1.0).await;
    let lags = || recorder.value(WATCH_LAG, &[MDNS, ("stage", "dispatch")]);
    until("a change was handed out", || lags() >= 1.0).await;

    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dropped = || recorder.value(DROPPED, &[MDNS, ("reason", "malformed")]);
    let noise = async {
        while dropped() == 0.0 {
            stranger.send_to(&[0xff; 40], ("127.0.0.1", PORT)).unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    let heard = timeout(Duration::from_secs(120), noise).await;
    assert!(heard.is_ok(), "a packet that can't be understood");

    drop(watcher);
    one.close().await.unwrap();
    other.close().await.unwrap();
    let levels = || [REGISTRATIONS, CACHED_NODES, WATCHERS].map(value);
    until("all is gone", || levels() == [0.0; 3]).await;
}
