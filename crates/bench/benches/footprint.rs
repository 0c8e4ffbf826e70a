//! A million nodes in ten thousand services: the bytes of each, and the time that their expiry
//! takes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use vine_bench::node;
use vine_registry::{GetOptions, MemoryRegistry, Registry, RegistryExt, Service};

const SERVICES: usize = 10_000;
const NODES: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let registry = MemoryRegistry::new();
    let mut strings = 0;
    let ttl = Duration::from_secs(20);
    let start = Instant::now();
    let allocated = allocation_counter::measure(|| {
        for i in 0..NODES {
            for s in 0..SERVICES {
                let node = node(i * SERVICES + s);
                strings += node.id.len() + node.address.len();
                strings += node
                    .metadata
                    .iter()
                    .map(|(k, v)| k.len() + v.len())
                    .sum::<usize>();
                let service = Service::new(format!("service-{s}"), "v1.0.0")
                    .with_node(node)
                    .with_ttl(ttl);
                strings += service.name.len() + service.version.len();
                let register = registry.register(Arc::new(service));
                futures_util::FutureExt::now_or_never(register)
                    .unwrap()
                    .unwrap();
            }
        }
    });
    let nodes = SERVICES * NODES;
    let bytes = usize::try_from(allocated.bytes_current).unwrap() - strings;
    println!(
        "{nodes} nodes in {SERVICES} services, registered in {:?}",
        start.elapsed()
    );
    println!(
        "footprint: {} bytes a node above the {} of its strings (target: 600)",
        bytes / nodes,
        strings / nodes
    );

    let general: &dyn Registry = &registry;
    let options = GetOptions::default();
    let look_up = allocation_counter::measure(|| {
        let look_up = general.get_service_with("service-7", &options);
        futures_util::FutureExt::now_or_never(look_up)
            .unwrap()
            .unwrap();
    });
    println!(
        "a look-up makes {} allocation (target: 1)",
        look_up.count_total
    );

    let registering = start.elapsed();
    let until = |end: Instant| tokio::time::sleep_until(end.into());
    until(start + ttl).await;
    // Looking at one service at a time takes next to nothing from the task that ends them.
    for s in 0..SERVICES {
        let name = format!("service-{s}");
        while general.get_service_with(&name, &options).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let late = start.elapsed().saturating_sub(ttl + registering);
    println!(
        "expiry: the last was gone {late:?} after its time, with {registering:?} between the first and the last"
    );
}
