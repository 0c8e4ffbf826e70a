//! What may happen.

use std::time::Duration;

use proptest::prelude::*;
use vine_registry::{Namespaces, Node, Service};

pub(crate) const NAMES: [&str; 2] = ["go.vine.one", "go.vine.two"];
pub(crate) const VERSIONS: [&str; 2] = ["v1", "v2"];
pub(crate) const NAMESPACES: [&str; 2] = ["vine", "blue"];
const IDS: [&str; 4] = ["n0", "n1", "n2", "n3"];

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// A handle registers.
    Register(usize, Service),
    /// A handle registers once more what was registered so many registrations ago.
    Repeat(usize, usize),
    /// A handle changes one node very often, so that the queues of slow readers run over.
    Burst(usize, Service),
    /// A handle deregisters, perhaps with force.
    Deregister(usize, Service, bool),
    /// A handle is closed, and a new one takes its place.
    Close(usize),
    /// A handle begins a watch, which is read at once or late.
    Watch(usize, Namespaces, Option<&'static str>, bool),
    /// A watch is dropped.
    Unwatch(usize),
    /// A watch that is read late is read.
    Read(usize),
    /// Time goes by.
    Sleep(Duration),
    /// Everything is compared.
    Check,
}

pub(crate) fn calls(most: usize) -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(), 1..most)
}

fn call() -> impl Strategy<Value = Call> {
    let handle = 0..3_usize;
    prop_oneof![
        30 => (handle.clone(), service(1)).prop_map(|(handle, service)| Call::Register(handle, service)),
        8 => (handle.clone(), 0..6_usize).prop_map(|(handle, ago)| Call::Repeat(handle, ago)),
        1 => (handle.clone(), service(1)).prop_map(|(handle, service)| Call::Burst(handle, service)),
        12 => (handle.clone(), service(0), prop::bool::weighted(0.2))
            .prop_map(|(handle, service, force)| Call::Deregister(handle, service, force)),
        1 => handle.clone().prop_map(Call::Close),
        8 => (handle, namespaces(), prop::option::of(prop::sample::select(&NAMES[..])), any::<bool>())
            .prop_map(|(handle, namespaces, name, late)| Call::Watch(handle, namespaces, name, late)),
        2 => any::<usize>().prop_map(Call::Unwatch),
        5 => any::<usize>().prop_map(Call::Read),
        8 => (1..400_u64).prop_map(|ms| Call::Sleep(Duration::from_millis(ms))),
        2 => Just(Call::Check),
    ]
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    prop_oneof![
        Just(Namespaces::Own),
        Just(Namespaces::All),
        Just(Namespaces::One("blue".into()))
    ]
}

/// A service with at least so many nodes.
fn service(least: usize) -> impl Strategy<Value = Service> {
    let nodes = prop::sample::subsequence(&IDS[..], least..=IDS.len());
    let ttl = prop::option::weighted(0.3, 50..500_u64);
    let namespace = prop::sample::select(&["", "blue"][..]);
    let (name, version) = (
        prop::sample::select(&NAMES[..]),
        prop::sample::select(&VERSIONS[..]),
    );
    (name, version, namespace, nodes, 0..3_u8, 0..3_u8, ttl).prop_map(
        |(name, version, namespace, ids, fields, content, ttl)| {
            let node = |id| Node::new(id, format!("127.0.0.1:{}", 8_000 + u16::from(content)));
            let mut service = Service::new(name, version)
                .with_namespace(namespace)
                .with_metadata([("fields", fields.to_string())])
                .with_nodes(ids.into_iter().map(node));
            service.ttl = ttl.map(Duration::from_millis);
            service
        },
    )
}
