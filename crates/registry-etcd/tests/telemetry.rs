//! What the etcd registry tells of itself, on a real server.

mod support;

use std::time::Duration;

use tokio::time::{sleep, timeout};
use vine_registry::{Node, Registry, RegistryExt, Service, telemetry::*};
use vine_registry_conformance::listening::{Recorder, expected_spans, spans_of_calls};
use vine_registry_etcd::EtcdOptions;

use self::support::{Turn, registry};

const ETCD: (&str, &str) = ("registry", "etcd");

/// Waits until it is so.
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
async fn metrics_follow_what_happens_and_each_call_is_a_span() {
    let recorder = Recorder::default();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let value = |name: &str| recorder.value(name, &[ETCD]);

    let turn = Turn::at(1).await;
    let etcd = registry(&turn, "telemetry", EtcdOptions::new());
    let service = Service::new("s", "v1").with_node(Node::new("a", "127.0.0.1:80"));
    etcd.register(service.clone()).await.unwrap();
    until("one registration", || value(REGISTRATIONS) == 1.0).await;
    let done = [ETCD, ("outcome", "ok")];
    assert!(recorder.value(REQUESTS, &done) >= 1.0);

    let mut watcher = etcd.watch_service("s").await.unwrap();
    assert_eq!(value(WATCHERS), 1.0);
    etcd.deregister(&service).await.unwrap();
    watcher.next_event().await.unwrap();
    let lags = |stage| recorder.value(WATCH_LAG, &[ETCD, ("stage", stage)]);
    assert!(lags("dispatch") >= 1.0);
    until("the watch was proven", || lags("proof") >= 1.0).await;

    drop(watcher);
    assert_eq!(value(WATCHERS), 0.0);
    let spans = spans_of_calls(&etcd).await.unwrap();
    assert_eq!(spans, expected_spans("etcd"));
    etcd.close().await.unwrap();
    until("all is gone", || value(REGISTRATIONS) == 0.0).await;
}
