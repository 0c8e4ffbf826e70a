//! Handles of clusters that the tests of one program take turns at.

pub(crate) use vine_etcd_harness::Turn;
use vine_registry::Options;
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

/// Two handles of the cluster.
#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn handles(turn: Turn) -> (EtcdRegistry, EtcdRegistry, Turn) {
    let handle = || registry(&turn, "conformance", EtcdOptions::new());
    (handle(), handle(), turn)
}

/// A handle of the cluster.
pub(crate) fn registry(turn: &Turn, namespace: &str, etcd: EtcdOptions) -> EtcdRegistry {
    let options = Options::new()
        .with_addrs(turn.addrs())
        .with_namespace(namespace);
    EtcdRegistry::new(options, etcd).expect("the options are fine")
}
