//! Answers that take long to come because they are large and the way is narrow.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use vine_etcd_harness::Cluster;
use vine_registry::{Node, Options, Registry, RegistryExt, Service};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAME: &str = "go.vine.large";
const SIZE: usize = 40 << 10;
/// What comes at a time.
const PERIOD: Duration = Duration::from_millis(20);
const PIECE: usize = 16 << 10;
/// So many nodes take about five seconds, longer than a member that says nothing is given.
const NODES: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_may_take_its_time() {
    let (_cluster, registry, connections) = start(NODES).await;
    let found = registry.get_service(NAME).await.unwrap();
    assert_eq!(found.node_count(), NODES);
    assert_eq!(connections.load(Ordering::Relaxed), 1, "it was good enough");
    registry.close().await.unwrap();
}

/// Others have to wait until what is on its way already has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_meanwhile_has_patience() {
    let (_cluster, registry, _) = start(NODES).await;
    let asking = async {
        loop {
            let asked = registry.init().await;
            assert!(asked.is_ok(), "{asked:?}");
            sleep(PERIOD).await;
        }
    };
    let found = tokio::select! {
        biased;
        found = registry.get_service(NAME) => found.unwrap(),
        () = asking => unreachable!("it goes on"),
    };
    assert_eq!(found.node_count(), NODES);
    registry.close().await.unwrap();
}

/// What goes on all the time begins behind it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_begin_meanwhile() {
    let (_cluster, registry, connections) = start(NODES).await;
    let small = Service::new("go.vine.small", "v1").with_node(Node::new("n", "10.9.9.9:9"));
    let looking = tokio::spawn({
        let registry = registry.clone();
        async move { registry.get_service(NAME).await }
    });
    sleep(PERIOD * 10).await;
    registry.register(small).await.unwrap();
    let watcher = registry.watch_service("go.vine.small").await.unwrap();
    let found = looking.await.unwrap().unwrap();
    assert_eq!(found.node_count(), NODES);
    // A machine that stood still may have given up the first one.
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections <= 2, "{connections} were not good enough");
    drop(watcher);
    registry.close().await.unwrap();
}

/// A member that was speaking is not to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_time_for_it_leaves_the_connection_as_it_is() {
    const FEW: usize = 20;
    const LITTLE: Duration = Duration::from_millis(600);
    // A machine that stood still has heard nothing meanwhile, and is given another chance.
    for _ in 0..5 {
        let (_cluster, registry, connections) = start(FEW).await;
        registry.init().await.unwrap();
        let found = timeout(LITTLE, registry.get_service(NAME)).await;
        assert!(found.is_err(), "it takes longer");
        registry.init().await.unwrap();
        registry.close().await.unwrap();
        if connections.load(Ordering::Relaxed) == 1 {
            return;
        }
    }
    panic!("it was good enough");
}

/// So many large nodes behind a narrow way, and who is to look them up.
async fn start(nodes: usize) -> (Cluster, EtcdRegistry, Arc<AtomicUsize>) {
    let cluster = Cluster::single().await;
    for index in 0..nodes {
        let node = Node::new(format!("n{index}"), "10.9.9.9:9")
            .with_metadata([("large", "x".repeat(SIZE))]);
        let value = serde_json::to_string(&Service::new(NAME, "v1").with_node(node)).unwrap();
        let key = format!("/vine/registry/vine/{NAME}/n{index}");
        cluster.client().put(key, value, 0).await;
    }
    let (addr, connections) = narrow(cluster.member(0).addr()).await;
    let options = Options::new()
        .with_addrs([addr])
        .with_timeout(Duration::from_secs(60));
    let registry = EtcdRegistry::new(options, EtcdOptions::new()).unwrap();
    (cluster, registry, connections)
}

/// A way to `target` over which little comes back at a time; counts its connections.
async fn narrow(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(&target).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut piece = vec![0; PIECE];
                while let Ok(read @ 1..) = from_server.read(&mut piece).await {
                    sleep(PERIOD).await;
                    if to_client.write_all(&piece[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (addr, connections)
}
