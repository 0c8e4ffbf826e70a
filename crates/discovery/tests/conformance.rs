//! The cache passes the suite that every registry passes, over each engine.

use std::sync::atomic::{AtomicU16, Ordering};

use vine_discovery::Cache;
use vine_etcd_harness::Turn;
use vine_registry::{MemoryRegistry, Options};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

/// Below the range that systems give out by themselves, and not those of the engine's own tests.
static NEXT_PORT: AtomicU16 = AtomicU16::new(22_000);

fn options() -> Options {
    Options::new().with_namespace("conformance")
}

fn over_memory() -> (Cache, Cache) {
    let a = MemoryRegistry::new().handle_with(options());
    let b = a.handle();
    (Cache::new(a), Cache::new(b))
}

fn over_mdns() -> (Cache, Cache) {
    let mdns = MdnsOptions::new()
        .with_port(NEXT_PORT.fetch_add(1, Ordering::Relaxed))
        .with_interfaces(["127.0.0.1"]);
    let handle = || MdnsRegistry::new(options(), mdns.clone()).expect("the options are fine");
    (Cache::new(handle()), Cache::new(handle()))
}

async fn over_etcd() -> (Cache, Cache, Turn) {
    let turn = Turn::at(1).await;
    let handle = || {
        let options = options().with_addrs(turn.addrs());
        EtcdRegistry::new(options, EtcdOptions::new()).expect("the options are fine")
    };
    (Cache::new(handle()), Cache::new(handle()), turn)
}

mod memory {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(start_paused = true)]
        over_memory()
    );
}

/// Several threads, and the clock as it is.
mod in_real_time {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        over_memory()
    );
}

mod mdns {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        over_mdns()
    );
}

mod etcd {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        over_etcd().await
    );
}
