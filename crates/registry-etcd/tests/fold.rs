//! The property that matters most, on a real etcd: once quiet, folding the events of any watch over
//! its snapshot gives what `get_service` gives, and every event changes the fold.
//!
//! Random calls of two handles over services, versions and namespaces, while somebody else deletes
//! keys, overwrites them, revokes leases and compacts.

mod support;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use support::{Turn, registry};
use tokio::time::{Instant, sleep};
use vine_registry::{
    DeregisterOptions, Error, Fold, GetOptions, Namespaces, Node, RegisterOptions, Registry,
    Service, Services, Update, WatchOptions, Watcher,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const NAMES: [&str; 2] = ["go.vine.one", "go.vine.two"];
const NAMESPACES: [&str; 2] = ["vine", "blue"];
const VERSIONS: [&str; 2] = ["v1", "v2"];
const IDS: [&str; 4] = ["n0", "n1", "n2", "n3"];

/// How long anything may take that has to happen: lost leases are spread over some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Call {
    Register(usize, Service, Option<u64>),
    Deregister(usize, Service, bool),
    Watch(usize, Namespaces, Option<&'static str>),
    Unwatch(usize),
    /// Somebody deletes all keys of a namespace.
    Delete(&'static str),
    /// Somebody else writes a node, without saying when.
    Put(Service),
    /// Somebody revokes a lease.
    Revoke(usize),
    Compact,
    Check,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(), 1..40)
}

fn call() -> impl Strategy<Value = Call> {
    let handle = 0..2_usize;
    prop_oneof![
        20 => (handle.clone(), service(1), prop::option::weighted(0.2, 2..5_u64))
            .prop_map(|(handle, service, ttl)| Call::Register(handle, service, ttl)),
        10 => (handle.clone(), service(0), prop::bool::weighted(0.2))
            .prop_map(|(handle, service, force)| Call::Deregister(handle, service, force)),
        8 => (handle, namespaces(), prop::option::of(prop::sample::select(&NAMES[..])))
            .prop_map(|(handle, namespaces, name)| Call::Watch(handle, namespaces, name)),
        2 => any::<usize>().prop_map(Call::Unwatch),
        2 => prop::sample::select(&NAMESPACES[..]).prop_map(Call::Delete),
        4 => service(1).prop_map(Call::Put),
        1 => any::<usize>().prop_map(Call::Revoke),
        2 => Just(Call::Compact),
        1 => Just(Call::Check),
    ]
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    prop_oneof![
        Just(Namespaces::Own),
        Just(Namespaces::All),
        Just(Namespaces::One("blue".into()))
    ]
}

fn service(least: usize) -> impl Strategy<Value = Service> {
    let nodes = prop::sample::subsequence(&IDS[..], least..=IDS.len());
    (
        prop::sample::select(&NAMES[..]),
        prop::sample::select(&VERSIONS[..]),
        prop::sample::select(&NAMESPACES[..]),
        nodes,
        0..3_u8,
        0..3_u8,
    )
        .prop_map(|(name, version, namespace, ids, fields, content)| {
            let node = |id| Node::new(id, format!("127.0.0.1:{}", 8_000 + u16::from(content)));
            Service::new(name, version)
                .with_namespace(namespace)
                .with_metadata([("fields", fields.to_string())])
                .with_nodes(ids.into_iter().map(node))
        })
}

/// A watch, and what it has told.
struct Watching {
    watcher: Watcher,
    fold: Fold,
    namespaces: Vec<&'static str>,
    names: Vec<&'static str>,
}

impl Watching {
    /// Takes in what there is to read.
    async fn read(&mut self) {
        while let Ok(update) =
            tokio::time::timeout(Duration::from_millis(1), self.watcher.next()).await
        {
            if let Update::Event(event) = update.expect("the watch goes on") {
                assert!(
                    self.fold.apply(&event),
                    "an event that changes nothing: {event:?}"
                );
            }
        }
    }
}

struct World {
    turn: Turn,
    handles: [EtcdRegistry; 2],
    /// Has no watches, so that it asks the cluster.
    reader: EtcdRegistry,
    watches: Vec<Watching>,
}

impl World {
    async fn new() -> Self {
        let turn = Turn::at(1).await;
        let handle = || registry(&turn, "vine", EtcdOptions::new());
        Self {
            handles: [handle(), handle()],
            reader: handle(),
            turn,
            watches: Vec::new(),
        }
    }

    async fn make(&mut self, call: Call) {
        let client = self.turn.client();
        match call {
            Call::Register(handle, service, ttl) => {
                let mut options = RegisterOptions::new();
                options.ttl = ttl.map(Duration::from_secs);
                let answer = self.handles[handle]
                    .register_with(service.into(), &options)
                    .await;
                // What somebody revoked or deleted is being put back.
                assert!(
                    matches!(
                        answer,
                        Ok(()) | Err(Error::Replaced { .. } | Error::Unavailable { .. })
                    ),
                    "{answer:?}"
                );
            }
            Call::Deregister(handle, service, force) => {
                let options = DeregisterOptions::new().with_force(force);
                let answer = self.handles[handle]
                    .deregister_with(&service, &options)
                    .await;
                assert!(
                    matches!(answer, Ok(()) | Err(Error::NotOwner { .. })),
                    "{answer:?}"
                );
            }
            Call::Watch(handle, namespaces, name) => self.watch(handle, namespaces, name).await,
            Call::Unwatch(which) if !self.watches.is_empty() => {
                self.watches.swap_remove(which % self.watches.len());
            }
            Call::Unwatch(_) => {}
            Call::Delete(namespace) => {
                client.delete(&format!("/vine/registry/{namespace}/")).await;
            }
            Call::Put(service) => {
                for node in &service.nodes {
                    let key = format!(
                        "/vine/registry/{}/{}/{}",
                        service.namespace, service.name, node.id
                    );
                    let value = service.clone().with_nodes([Arc::clone(node)]);
                    client
                        .put(key, serde_json::to_vec(&value).expect("JSON"), 0)
                        .await;
                }
            }
            Call::Revoke(which) => {
                let leases = client.leases().await;
                if !leases.is_empty() {
                    client.revoke(leases[which % leases.len()]).await;
                }
            }
            Call::Compact => {
                // Of one revision it can be done once.
                client.put("/else", "", 0).await;
                client.compact().await;
            }
            Call::Check => self.check().await,
        }
    }

    async fn watch(&mut self, handle: usize, namespaces: Namespaces, name: Option<&'static str>) {
        let mut options = WatchOptions::new().with_namespace(namespaces.clone());
        options.service = name.map(Into::into);
        let mut watcher = self.handles[handle].watch(options).await.expect("a watch");
        self.watches.push(Watching {
            fold: Fold::new(&watcher.take_snapshot()),
            watcher,
            namespaces: match namespaces {
                Namespaces::All => NAMESPACES.to_vec(),
                Namespaces::One(_) => vec!["blue"],
                _ => vec!["vine"],
            },
            names: name.map_or_else(|| NAMES.to_vec(), |name| vec![name]),
        });
    }

    /// Waits until every watch tells what is found.
    async fn check(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for watch in &mut self.watches {
            for (namespace, name) in watch
                .namespaces
                .clone()
                .into_iter()
                .flat_map(|namespace| NAMES.map(|name| (namespace, name)))
            {
                if !watch.names.contains(&name) {
                    assert!(
                        watch.fold.service(namespace, name).is_empty(),
                        "not watched: {name}"
                    );
                    continue;
                }
                loop {
                    watch.read().await;
                    let (told, found) = (
                        watch.fold.service(namespace, name),
                        found(&self.reader, namespace, name).await,
                    );
                    if told == found {
                        break;
                    }
                    assert!(
                        Instant::now() < deadline,
                        "{namespace} {name}: told {told:?}, found {found:?}"
                    );
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    async fn end(mut self) {
        self.check().await;
        for handle in &self.handles {
            handle.close().await.expect("closes");
        }
        for watch in &mut self.watches {
            while watch.watcher.next().await.is_some() {}
        }
        let leases = self.turn.client().leases().await;
        assert!(leases.is_empty(), "every lease is revoked: {leases:?}");
    }
}

async fn found(registry: &EtcdRegistry, namespace: &str, name: &str) -> Services {
    let options = GetOptions::new().with_namespace(namespace);
    match registry.get_service_with(name, &options).await {
        Err(Error::NotFound { .. }) => Services::new(),
        answer => answer.expect("get_service answers"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn once_quiet_every_watch_folds_to_what_is_found(calls in calls()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new().await;
            for call in calls {
                world.make(call).await;
            }
            world.end().await;
        });
    }
}
