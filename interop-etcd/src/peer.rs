//! A process with a registry of its own, which does what it is told on standard input, one line
//! each, and answers on standard output:
//!
//! | it is told | it answers |
//! |---|---|
//! | `hold NAME ID COUNT TTL-SECONDS` | `held COUNT`: services `NAME.0`, `NAME.1`, and so on, each with node ID |
//! | `state` | `state` and the first registration's state |
//!
//! It ends when its input ends, or on SIGTERM, after it has closed its registry.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    signal::unix::{SignalKind, signal},
};
use vine_registry::{Node, Options, Registration, RegistrationOptions, Registry, Service};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

/// Does what it is told until its input ends or it is terminated.
pub(crate) async fn run(addrs: &str) {
    let options = Options::new().with_addrs(addrs.split(','));
    let registry = EtcdRegistry::new(options, EtcdOptions::new()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut lines = BufReader::new(stdin()).lines();
    let mut held = Vec::new();
    println!("ready");
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.unwrap(),
            _ = terminate.recv() => None,
        };
        let Some(line) = line else { break };
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["hold", name, id, count, ttl] => {
                let count = count.parse().unwrap();
                let ttl = Duration::from_secs(ttl.parse().unwrap());
                held.extend((0..count).map(|index| start(&registry, name, index, id, ttl)));
                for registration in &held {
                    registration.registered().await.unwrap();
                }
                println!("held {count}");
            }
            ["state"] => println!("state {}", held[0].state()),
            _ => panic!("{line:?} is not a command"),
        }
    }
    registry.close().await.unwrap();
}

fn start(
    registry: &EtcdRegistry,
    name: &str,
    index: usize,
    id: &str,
    ttl: Duration,
) -> Registration {
    let node = Node::new(id, format!("10.0.0.1:{}", 1 + index));
    let service = Service::new(format!("{name}.{index}"), "v1").with_node(node);
    let options = RegistrationOptions::new().with_ttl(ttl);
    Registration::start(registry.clone(), service, options)
}
