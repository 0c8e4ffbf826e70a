//! A process with a registry of this repository. Beside what [all](super) understand:
//!
//! | it is told | it answers |
//! |---|---|
//! | `open` | `open` |
//! | `buffers` | `buffered COUNT`, after it gave so many open sockets the receive buffer that Linux gives by default |
//! | `register NAME VERSION ID ADDRESS MARK` | as to `register`, with `mark` in the node's metadata |
//! | `hold NAME VERSION ID ADDRESS TTL-SECONDS` | `held`, and keeps it registered until its end |
//! | `get NAME settled` | `got MICROSECONDS ID@ADDRESS[+MARK]...` |
//! | `warm NAME TIMES` | `warmed NANOSECONDS`, what one of so many look-ups took |
//! | `list` | `listed NAME...` |
//! | `watch NAME`, `watch *` | as all do, and `stale MICROSECONDS-SINCE-1970`, `live MICROSECONDS-SINCE-1970` |
//! | `report NAME ID` | `reported MICROSECONDS-SINCE-1970-WHEN-ASKED`, after it said that nobody answers there |

use std::{fs, io, sync::Arc, time::Duration};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;
use tokio::time::Instant;
use vine_registry::{
    Error, GetOptions, Metadata, Node, NodeRef, Options, Registration, RegistrationOptions,
    Registry, RegistryExt, Result, Service, Services, Update, Wait, WatchOptions,
};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

use super::{Obey, serve, unix_micros};
use crate::Outcome;

/// How long a call may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(100);

/// How much of the padding one pair of metadata takes.
const PAIR: usize = 100;

/// The receive buffer of a socket, 208 KiB.
const USUAL_BUFFER: usize = 212_992;

struct Vine {
    registry: MdnsRegistry,
    held: Vec<Registration>,
}

/// Does what it is told until its input ends or it is terminated.
pub(super) async fn run() -> Outcome {
    let registry = MdnsRegistry::new(Options::new().with_timeout(PATIENCE), MdnsOptions::new())
        .map_err(|error| format!("no registry: {error}"))?;
    let mut vine = Vine {
        registry,
        held: Vec::new(),
    };
    serve(&mut vine).await?;
    for held in vine.held {
        held.close().await.map_err(|error| error.to_string())?;
    }
    let closed = vine.registry.close().await;
    closed.map_err(|error| error.to_string())
}

impl Obey for Vine {
    async fn obey(&mut self, words: &[&str]) -> Outcome<String> {
        let done = match *words {
            ["hold", name, version, id, address, seconds] => {
                let service = Service::new(name, version).with_node(Node::new(id, address));
                self.hold(service, seconds).await
            }
            ["buffers"] => return usual_buffers(),
            ref words => obey(&self.registry, words).await,
        };
        done.map_err(|error| error.to_string())
    }
}

impl Vine {
    async fn hold(&mut self, service: Service, seconds: &str) -> Result<String> {
        let ttl = Duration::from_secs(seconds.parse().unwrap_or_default());
        let options = RegistrationOptions::new().with_ttl(ttl);
        let held = Registration::start(self.registry.clone(), service, options);
        held.registered().await?;
        self.held.push(held);
        Ok("held".to_owned())
    }
}

async fn obey(registry: &MdnsRegistry, words: &[&str]) -> Result<String> {
    let asked = unix_micros();
    match *words {
        ["open"] => registry.init().await.map(|()| "open".to_owned()),
        ["sized"] => Ok(format!("sized {}", std::process::id())),
        ["register", name, version, id, address, ref mark @ ..] => {
            let marks: Metadata = mark.iter().map(|mark| ("mark", *mark)).collect();
            let node = Node::new(id, address).with_metadata(marks);
            registry
                .register(Service::new(name, version).with_node(node))
                .await?;
            Ok(format!("registered {asked}"))
        }
        [
            "register-many",
            name,
            version,
            count,
            address,
            ref padding @ ..,
        ] => {
            let count: u16 = count.parse().unwrap_or_default();
            let padding = padding.first().and_then(|bytes| bytes.parse().ok());
            let padding = padded(padding.unwrap_or_default());
            let node = |i| {
                Node::new(format!("{address}-{i}"), format!("{address}:{}", 1 + i))
                    .with_metadata(padding.clone())
            };
            let service = Service::new(name, version).with_nodes((0..count).map(node));
            registry.register(service).await?;
            Ok(format!("registered {asked}"))
        }
        ["deregister", name, version, id] => {
            let service = Service::new(name, version).with_node(Node::new(id, "none:1"));
            registry.deregister(&service).await?;
            Ok(format!("deregistered {asked}"))
        }
        ["report", name, id] => {
            registry.report_unreachable(&NodeRef::new(name, id)).await?;
            Ok(format!("reported {asked}"))
        }
        _ => look(registry, words).await,
    }
}

async fn look(registry: &MdnsRegistry, words: &[&str]) -> Result<String> {
    let asked = Instant::now();
    match *words {
        ["get", name, wait] => {
            let wait = match wait {
                "first" => Wait::First,
                _ => Wait::Settled,
            };
            let options = GetOptions::new().with_wait(wait);
            let services = registry.get_service_with(name, &options).await?;
            let micros = asked.elapsed().as_micros();
            Ok(format!("got {micros} {}", addresses(&services)))
        }
        ["count", name, _] => {
            let services = registry.get_service(name).await?;
            let micros = asked.elapsed().as_micros();
            Ok(format!("counted {micros} {}", services.node_count()))
        }
        ["warm", name, times] => {
            let times: u32 = times.parse().unwrap_or(1).max(1);
            for _ in 0..times {
                registry.get_service(name).await?;
            }
            Ok(format!("warmed {}", (asked.elapsed() / times).as_nanos()))
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

/// Machines can be set to give more than most do.
fn usual_buffers() -> Outcome<String> {
    let shrunk = || -> io::Result<usize> {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        let mut count = 0;
        for file in fs::read_dir("/proc/self/fd")? {
            let file = file?;
            let number = file.file_name().to_str().and_then(|name| name.parse().ok());
            let is_socket = fs::read_link(file.path())
                .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
            if let Some(number) = number.filter(|_| is_socket) {
                let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
                // Linux doubles it.
                SockRef::from(&socket).set_recv_buffer_size(USUAL_BUFFER / 2)?;
                count += 1;
            }
        }
        Ok(count)
    };
    let count = shrunk().map_err(|error| format!("can't reach the sockets: {error}"))?;
    Ok(format!("buffered {count}"))
}

/// Metadata that takes about so many bytes of a TXT record.
fn padded(bytes: usize) -> Metadata {
    let pairs = (0..bytes).step_by(PAIR).map(|at| {
        let key = format!("pad{:02}", at / PAIR);
        let rest = (bytes - at).min(PAIR);
        // A length, "m.", the key and "=".
        let value = "x".repeat(rest.saturating_sub(key.len() + 4));
        (key, value)
    });
    pairs.collect()
}

async fn watch(registry: &MdnsRegistry, name: &str) -> Result<String> {
    let mut watcher = match name {
        "*" => registry.watch(WatchOptions::new()).await?,
        name => registry.watch_service(name).await?,
    };
    let snapshot = watcher.take_snapshot();
    tokio::spawn(async move {
        while let Some(update) = watcher.next().await {
            let now = unix_micros();
            match update {
                Update::Event(event) => {
                    let ids = ids(std::slice::from_ref(&event.service));
                    println!("event {now} {} {ids}", event.action);
                }
                Update::Stale(_) => println!("stale {now}"),
                Update::Live => println!("live {now}"),
                _ => {}
            }
        }
    });
    Ok(format!("snapshot {}", ids(&snapshot)))
}

/// The ids, sorted.
fn ids(services: &[Arc<Service>]) -> String {
    sorted(services, |node| node.id.to_string())
}

/// The ids, addresses and marks, sorted.
fn addresses(services: &Services) -> String {
    sorted(services, |node| {
        let mark = node.metadata.get("mark");
        let mark = mark.map_or(String::new(), |mark| format!("+{mark}"));
        format!("{}@{}{mark}", node.id, node.address)
    })
}

fn sorted(services: &[Arc<Service>], text: impl Fn(&Node) -> String) -> String {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut all: Vec<_> = nodes.map(|node| text(node)).collect();
    all.sort();
    all.join(" ")
}
