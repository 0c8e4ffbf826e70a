//! Members that say nothing, and callers who do not wait until that is known.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use vine_etcd_harness::{Cluster, Mode, Proxy};
use vine_registry::{Options, Registry, RegistryExt};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

/// Less than connecting may take.
const LITTLE: Duration = Duration::from_millis(400);
/// The second one should do, but this machine may be slow; who asks the same again and again never gets
/// an answer.
const MOST: usize = 50;

/// Each handle begins with the one or the other by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_accepts_nobody() {
    let cluster = Cluster::single().await;
    let (deaf, _queued) = deaf().await;
    let addr = deaf.local_addr().expect("it is bound").to_string();
    let handles = (0..12).map(|index| {
        let addrs = [addr.clone(), cluster.member(0).addr()];
        let mut options = Options::new().with_addrs(addrs);
        // One half is given up by the handle itself, the other by its caller.
        let own = index % 2 == 0;
        if own {
            options.timeout = LITTLE;
        }
        let registry = EtcdRegistry::new(options, EtcdOptions::new()).expect("sound");
        async move {
            let mut tries = 0;
            while !matches!(timeout(LITTLE, registry.init()).await, Ok(Ok(()))) {
                tries += 1;
                assert!(tries < MOST, "nobody else was asked");
            }
        }
    });
    join_all(handles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_hangs_for_longer_than_callers_wait() {
    let cluster = Cluster::single().await;
    let proxies = [
        Proxy::to(cluster.member(0).addr()).await,
        Proxy::to(cluster.member(0).addr()).await,
    ];
    let options = Options::new().with_addrs(proxies.iter().map(Proxy::addr));
    let registry = EtcdRegistry::new(options, EtcdOptions::new()).expect("sound");
    registry.init().await.expect("well");
    for proxy in &proxies {
        if proxy.counts().open > 0 {
            proxy.set(Mode::Hang).await;
        }
    }
    let first = timeout(LITTLE, registry.list_services()).await;
    assert!(first.is_err(), "it hangs: {first:?}");
    let mut tries = 1;
    while timeout(LITTLE, registry.list_services()).await.is_err() {
        tries += 1;
        assert!(tries < MOST, "nobody else was asked");
    }
}

/// A listener whose queue is full, so that no connection to it comes about.
async fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port is free");
    let listener = socket.listen(1).expect("it is bound");
    let addr = listener.local_addr().expect("it is bound");
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(LITTLE, TcpStream::connect(addr)).await {
        queued.push(stream.expect("it is queued"));
    }
    (listener, queued)
}
