//! What engines tell through the `metrics` facade and as spans of `tracing`, under the same names
//! whichever they are. For authors of engines, and for who reads it.
//!
//! # Metrics
//!
//! Each one has the label `registry`: the engine's [name](crate::Registry::name). Nothing is told
//! unless the program installs a recorder, which it should do before it makes a registry. Handles of
//! one engine in a process add up.
//!
//! | name | unit | other labels | meaning | memory | mdns | etcd |
//! |---|---|---|---|---|---|---|
//! | `vine_registrations` | gauge, nodes | | what this process has registered | yes | yes | yes |
//! | `vine_watchers` | gauge, watches | | what this process has open | yes | yes | yes |
//! | `vine_cached_nodes` | gauge, nodes | | nodes of others that are remembered | no: it has none but its own | yes | yes, its own among those that it watches |
//! | `vine_requests_total` | counter, requests | `operation`, `outcome`: `ok` or `error` | what was asked of a server or of the network | no: nothing is asked | yes: `lookup`, an error if there was no network to ask on; `question`, a one-shot one on a link, of which nobody knows whether it arrives | yes: each call to a member |
//! | `vine_retries_total` | counter, requests | `operation` | what was asked again | no | yes: `question`; standing questions, probes and announcements are repeated by rule and do not count | yes: at another member |
//! | `vine_dropped_total` | counter, packets or records | `reason` | what was received and not used | no: nothing is received | yes: the fields of its statistics that count such | yes: what is no service |
//! | `vine_expired_total` | counter, nodes | | own nodes that were not registered again within their ttl | yes | yes | yes |
//! | `vine_lease_losses_total` | counter, leases | | leases that the registry lost, with what they held | no: it ends with its leases | no: nobody else keeps them | yes |
//! | `vine_resyncs_total` | counter, listings | `reason` | states that were asked for again because of a gap | no: it sees every change | yes: packets were lost | yes |
//! | `vine_watch_lag_seconds` | histogram, seconds | `stage` | how far a watch may be behind. `dispatch`: how long the oldest of some changes waited to be handed to watchers. `proof`: how long ago a watch was last known to be complete | `dispatch` | `dispatch`; nobody can tell what else there is | both |
//! | `vine_watch_coalesced_total` | counter, changes | | changes that a watcher was too slow for: it gets a difference that has them in it | yes | yes | yes |
//!
//! # Spans
//!
//! Each call is a span at the level `debug` in the target `vine_registry::telemetry`: `register` and `deregister` (with the
//! fields `registry`, `service` and `version`), `get_service` and `watch` (`registry`, `service`) and
//! `list_services` (`registry`). The memory registry leaves out `get_service`: asking whether anybody
//! listens would be a twentieth of the look-up.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use metrics::{Key, Label, Metadata, counter, histogram, with_recorder};
use tracing::{Span, debug_span};

use crate::Service;

/// Nodes that this process has registered: a gauge.
pub const REGISTRATIONS: &str = "vine_registrations";
/// Watches that this process has open: a gauge.
pub const WATCHERS: &str = "vine_watchers";
/// Nodes of others that are remembered: a gauge.
pub const CACHED_NODES: &str = "vine_cached_nodes";
/// Requests to a server or to the network: a counter.
pub const REQUESTS: &str = "vine_requests_total";
/// Requests that were made again: a counter.
pub const RETRIES: &str = "vine_retries_total";
/// What was received and not used: a counter.
pub const DROPPED: &str = "vine_dropped_total";
/// Own nodes that were not registered again within their ttl: a counter.
pub const EXPIRED: &str = "vine_expired_total";
/// Leases that the registry lost, with what they held: a counter.
pub const LEASE_LOSSES: &str = "vine_lease_losses_total";
/// States that were asked for again because of a gap: a counter.
pub const RESYNCS: &str = "vine_resyncs_total";
/// How far a watch may be behind, in seconds: a histogram.
pub const WATCH_LAG: &str = "vine_watch_lag_seconds";
/// Changes that a watcher was too slow for: a counter.
pub const WATCH_COALESCED: &str = "vine_watch_coalesced_total";

/// Tells what happens in an engine of this name. The views of an engine tell of watchers themselves.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry {
    registry: &'static str,
}

/// Of which part of the way to a watcher the lag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// From what the registry holds to what the engine knows.
    Proof,
    /// From what the engine knows to what watchers can read.
    Dispatch,
}

impl Telemetry {
    /// For an engine of this name.
    #[must_use]
    pub const fn new(registry: &'static str) -> Self {
        Self { registry }
    }

    /// A share of a gauge.
    #[must_use]
    pub fn level(&self, gauge: &'static str) -> Level {
        Level {
            key: Key::from_parts(gauge, vec![Label::new("registry", self.registry)]),
            now: AtomicUsize::new(0),
        }
    }

    /// So many requests were made.
    pub fn requests(&self, operation: &'static str, succeeded: bool, count: u64) {
        let outcome = if succeeded { "ok" } else { "error" };
        counter!(REQUESTS, "registry" => self.registry, "operation" => operation, "outcome" => outcome)
            .increment(count);
    }

    /// So many requests were made again.
    pub fn retries(&self, operation: &'static str, count: u64) {
        counter!(RETRIES, "registry" => self.registry, "operation" => operation).increment(count);
    }

    /// So much was received and not used.
    pub fn dropped(&self, reason: &'static str, count: u64) {
        counter!(DROPPED, "registry" => self.registry, "reason" => reason).increment(count);
    }

    /// So many own nodes were not registered again in time.
    pub fn expired(&self, nodes: u64) {
        counter!(EXPIRED, "registry" => self.registry).increment(nodes);
    }

    /// The registry lost a lease.
    pub fn lease_lost(&self) {
        counter!(LEASE_LOSSES, "registry" => self.registry).increment(1);
    }

    /// What there is is asked for again.
    pub fn resync(&self, reason: &'static str) {
        counter!(RESYNCS, "registry" => self.registry, "reason" => reason).increment(1);
    }

    /// A watch may be so far behind.
    pub fn watch_lag(&self, stage: Stage, lag: Duration) {
        histogram!(WATCH_LAG, "registry" => self.registry, "stage" => stage.as_str())
            .record(lag.as_secs_f64());
    }

    pub(crate) fn coalesced(&self, changes: u64) {
        counter!(WATCH_COALESCED, "registry" => self.registry).increment(changes);
    }

    /// The span of a call of [`Registry::register_with`](crate::Registry::register_with).
    #[must_use]
    pub fn register(&self, service: &Service) -> Span {
        let Service { name, version, .. } = service;
        debug_span!("register", registry = self.registry, service = %name, %version)
    }

    /// The span of a call of [`Registry::deregister_with`](crate::Registry::deregister_with).
    #[must_use]
    pub fn deregister(&self, service: &Service) -> Span {
        let Service { name, version, .. } = service;
        debug_span!("deregister", registry = self.registry, service = %name, %version)
    }

    /// The span of a call of [`Registry::get_service_with`](crate::Registry::get_service_with).
    #[must_use]
    pub fn get_service(&self, name: &str) -> Span {
        debug_span!("get_service", registry = self.registry, service = name)
    }

    /// The span of a call of [`Registry::list_services_with`](crate::Registry::list_services_with).
    #[must_use]
    pub fn list_services(&self) -> Span {
        debug_span!("list_services", registry = self.registry)
    }

    /// The span of a call of [`Registry::watch`](crate::Registry::watch).
    #[must_use]
    pub fn watch(&self, service: Option<&str>) -> Span {
        debug_span!("watch", registry = self.registry, service)
    }
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Dispatch => "dispatch",
        }
    }
}

/// A share of a gauge, which ends with it: those of several handles add up.
pub struct Level {
    key: Key,
    now: AtomicUsize,
}

impl Level {
    /// Sets the share.
    pub fn set(&self, value: usize) {
        static METADATA: Metadata<'static> =
            Metadata::new(module_path!(), metrics::Level::INFO, Some(module_path!()));
        let before = self.now.swap(value, Ordering::Relaxed);
        if before == value {
            return;
        }
        let gauge = with_recorder(|recorder| recorder.register_gauge(&self.key, &METADATA));
        if value > before {
            gauge.increment(number(value - before));
        } else {
            gauge.decrement(number(before - value));
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level")
            .field("gauge", &self.key.name())
            .field("now", &self.now)
            .finish()
    }
}

/// Exact up to numbers that no registry reaches.
fn number(value: usize) -> f64 {
    u32::try_from(value).unwrap_or(u32::MAX).into()
}
