//! What foreign programs have in common: they publish instances with TXT records, and say which
//! ones they see. Beside what [all](super) understand:
//!
//! | it is told | it answers |
//! |---|---|
//! | `register-plainly NAME VERSION ID ADDRESS` | as to `register`, but there is no subtype |
//! | `get NAME COUNT` | as to `get NAME first`, but so many nodes |
//!
//! Where NAME is `*`, it browses by the type and not by a subtype.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout_at},
};

use super::{Obey, serve, unix_micros};
use crate::Outcome;

/// How long to look for what must be found.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long to look for all of many, when it is counted how many are found.
const COUNTED: Duration = Duration::from_secs(10);

/// An instance to publish.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) label: String,
    pub(super) subtype: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) txt: Vec<(String, String)>,
}

/// What is seen of an instance.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Resolved {
        label: String,
        host: String,
        port: u16,
        txt: BTreeMap<String, String>,
    },
    Removed {
        label: String,
    },
}

/// A foreign program.
pub(super) trait Program {
    fn publish(&mut self, instance: Instance) -> impl Future<Output = Outcome>;
    fn publish_many(&mut self, instances: Vec<Instance>) -> impl Future<Output = Outcome>;
    fn withdraw(&mut self, label: &str) -> impl Future<Output = Outcome>;
    /// Browses a type, `_vine._tcp` or a subtype of it, for good.
    fn browse(&mut self, subtype: Option<&str>) -> Outcome<UnboundedReceiver<Seen>>;
    /// The process that does the work.
    fn process(&self) -> u32;
    fn close(self) -> impl Future<Output = Outcome>;
}

/// Does what it is told until its input ends or it is terminated.
pub(super) async fn run(program: impl Program) -> Outcome {
    let mut peer = Foreign(program);
    serve(&mut peer).await?;
    peer.0.close().await
}

struct Foreign<P>(P);

impl<P: Program> Obey for Foreign<P> {
    async fn obey(&mut self, words: &[&str]) -> Outcome<String> {
        let asked = unix_micros();
        match *words {
            ["sized"] => Ok(format!("sized {}", self.0.process())),
            ["register", name, version, id, address] => {
                self.0
                    .publish(instance(name, version, id, address)?)
                    .await?;
                Ok(format!("registered {asked}"))
            }
            ["register-plainly", name, version, id, address] => {
                let mut instance = instance(name, version, id, address)?;
                instance.subtype = None;
                self.0.publish(instance).await?;
                Ok(format!("registered {asked}"))
            }
            ["register-many", name, version, count, address, ..] => {
                let count: u16 = count.parse().unwrap_or_default();
                let one = |i| {
                    let (id, at) = (format!("{address}-{i}"), format!("{address}:{}", 1 + i));
                    instance(name, version, &id, &at)
                };
                let all = (0..count).map(one).collect::<Outcome<_>>()?;
                self.0.publish_many(all).await?;
                Ok(format!("registered {asked}"))
            }
            ["deregister", name, _, id] => {
                self.0.withdraw(&label(name, id)).await?;
                Ok(format!("deregistered {asked}"))
            }
            ["get", name, expected] => {
                let expected = expected.parse().unwrap_or(1);
                let found = self.find(name, expected, PATIENCE).await?;
                Ok(format!("got {} {}", found.0, found.1.join(" ")))
            }
            ["count", name, expected] => {
                let expected = expected.parse().unwrap_or_default();
                let (micros, found) = self.find(name, expected, COUNTED).await?;
                Ok(format!("counted {micros} {}", found.len()))
            }
            ["watch", name] => {
                let seen = self.0.browse(subtype(name).as_deref())?;
                tokio::spawn(watch(seen));
                Ok("snapshot ".to_owned())
            }
            _ => Err("not a command".to_owned()),
        }
    }
}

impl<P: Program> Foreign<P> {
    /// Browses until so many nodes are found or it has taken too long; gives the microseconds to the last
    /// one, and all.
    async fn find(
        &mut self,
        name: &str,
        expected: usize,
        patience: Duration,
    ) -> Outcome<(u128, Vec<String>)> {
        let asked = Instant::now();
        let mut seen = self.0.browse(subtype(name).as_deref())?;
        let (mut found, mut last) = (BTreeSet::new(), 0);
        while found.len() < expected {
            let Ok(Some(next)) = timeout_at(asked + patience, seen.recv()).await else {
                break;
            };
            if let Seen::Resolved {
                host, port, txt, ..
            } = next
                && (name == "*" || txt.get("n").is_some_and(|named| named == name))
                && let Some(id) = txt.get("id")
            {
                let mark = txt
                    .get("m.mark")
                    .map_or(String::new(), |mark| format!("+{mark}"));
                found.insert(format!("{id}@{host}:{port}{mark}"));
                last = asked.elapsed().as_micros();
            }
        }
        Ok((last, found.into_iter().collect()))
    }
}

/// Tells of what is seen: a program may resolve an instance once for each interface and family.
async fn watch(mut seen: UnboundedReceiver<Seen>) {
    let mut known: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    while let Some(seen) = seen.recv().await {
        let now = unix_micros();
        match seen {
            Seen::Resolved { label, txt, .. } => {
                let id = txt.get("id").cloned().unwrap_or_default();
                match known.insert(label, txt.clone()) {
                    None => println!("event {now} create {id}"),
                    Some(before) if before != txt => println!("event {now} update {id}"),
                    Some(_) => {}
                }
            }
            Seen::Removed { label } => {
                if let Some(id) = known.remove(&label).and_then(|txt| txt.get("id").cloned()) {
                    println!("event {now} delete {id}");
                }
            }
        }
    }
}

fn instance(name: &str, version: &str, id: &str, address: &str) -> Outcome<Instance> {
    let parts = address.rsplit_once(':');
    let (host, port) = parts.ok_or_else(|| format!("{address} has no port"))?;
    let txt = [
        ("txtvers", "1"),
        ("ns", "vine"),
        ("n", name),
        ("v", version),
        ("id", id),
    ];
    Ok(Instance {
        label: label(name, id),
        subtype: subtype(name),
        host: host.to_owned(),
        port: port.parse().map_err(|_| format!("no port in {address}"))?,
        txt: txt.map(|(key, value)| (key.into(), value.into())).into(),
    })
}

/// What a foreign program calls a node; it does not know of our way.
fn label(name: &str, id: &str) -> String {
    format!("{id} of {name}").replace('.', "-")
}

/// The subtype of a service, `*` has none.
fn subtype(name: &str) -> Option<String> {
    (name != "*").then(|| format!("_{}", name.replace('.', "-")))
}
