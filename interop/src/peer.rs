//! A process with a registry of its own, which does what it is told on standard input, one line
//! each, and answers on standard output:
//!
//! | it is told | it answers |
//! |---|---|
//! | `open` | `open` |
//! | `register NAME VERSION ID ADDRESS [MARK]` | `registered MICROSECONDS-SINCE-1970-WHEN-ASKED` |
//! | `register-many NAME VERSION COUNT` | `registered COUNT` |
//! | `deregister NAME VERSION ID` | `deregistered` |
//! | `get NAME first`, `get NAME settled` | `got MICROSECONDS ID@ADDRESS...` |
//! | `count NAME` | `counted MICROSECONDS COUNT` |
//! | `list` | `listed NAME...` |
//! | `watch NAME` | `snapshot ID...`, and from then on `event MICROSECONDS-SINCE-1970 ACTION ID...` |
//!
//! or `error` and why. It ends when its input ends, or on SIGTERM, after it has closed its registry.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use vine_registry::{
    Error, GetOptions, Metadata, Node, Options, Registry, RegistryExt, Result, Service, Services,
    Wait,
};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

use crate::Outcome;

/// Does what it is told until its input ends or it is terminated.
pub(crate) async fn run() -> Outcome {
    let registry = MdnsRegistry::new(Options::new(), MdnsOptions::new())
        .map_err(|error| format!("no registry: {error}"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(stdin()).lines();
    println!("ready");
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.map_err(|error| error.to_string())?,
            _ = terminate.recv() => None,
        };
        let Some(line) = line else { break };
        match obey(&registry, &line).await {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error {error}"),
        }
    }
    registry.close().await.map_err(|error| error.to_string())
}

async fn obey(registry: &MdnsRegistry, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["open"] => registry.init().await.map(|()| "open".to_owned()),
        ["register", name, version, id, address, ref mark @ ..] => {
            let asked = unix_micros();
            let marks: Metadata = mark.iter().map(|mark| ("mark", *mark)).collect();
            let node = Node::new(id, address).with_metadata(marks);
            registry
                .register(Service::new(name, version).with_node(node))
                .await?;
            Ok(format!("registered {asked}"))
        }
        ["register-many", name, version, count] => {
            let count: u16 = count.parse().unwrap_or_default();
            let node = |i| Node::new(format!("n{i}"), format!("10.77.0.1:{}", 1 + i));
            let service = Service::new(name, version).with_nodes((0..count).map(node));
            registry.register(service).await?;
            Ok(format!("registered {count}"))
        }
        ["count", name] => {
            let asked = Instant::now();
            let services = registry.get_service(name).await?;
            let micros = asked.elapsed().as_micros();
            Ok(format!("counted {micros} {}", services.node_count()))
        }
        ["deregister", name, version, id] => {
            let service = Service::new(name, version).with_node(Node::new(id, "none:1"));
            registry.deregister(&service).await?;
            Ok("deregistered".to_owned())
        }
        ["get", name, wait] => {
            let wait = match wait {
                "first" => Wait::First,
                _ => Wait::Settled,
            };
            let asked = Instant::now();
            let options = GetOptions::new().with_wait(wait);
            let services = registry.get_service_with(name, &options).await?;
            let micros = asked.elapsed().as_micros();
            Ok(format!("got {micros} {}", addresses(&services)))
        }
        ["list"] => {
            let list = registry.list_services().await?;
            let names: Vec<&str> = list.iter().map(|service| &*service.name).collect();
            Ok(format!("listed {}", names.join(" ")))
        }
        ["watch", name] => watch(registry, name).await,
        _ => Err(Error::invalid_option("line", "is not a command")),
    }
}

async fn watch(registry: &MdnsRegistry, name: &str) -> Result<String> {
    let mut watcher = registry.watch_service(name).await?;
    let snapshot = watcher.take_snapshot();
    tokio::spawn(async move {
        while let Some(event) = watcher.next_event().await {
            let now = unix_micros();
            let ids = ids(std::slice::from_ref(&event.service));
            println!("event {now} {} {ids}", event.action);
        }
    });
    Ok(format!("snapshot {}", ids(&snapshot)))
}

/// The ids, sorted.
fn ids(services: &[Arc<Service>]) -> String {
    sorted(services, |node| node.id.to_string())
}

/// The ids and addresses, sorted.
fn addresses(services: &Services) -> String {
    sorted(services, |node| format!("{}@{}", node.id, node.address))
}

fn sorted(services: &[Arc<Service>], text: impl Fn(&Node) -> String) -> String {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut all: Vec<_> = nodes.map(|node| text(node)).collect();
    all.sort();
    all.join(" ")
}

/// All hosts have the clock of the one machine.
fn unix_micros() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros())
}
