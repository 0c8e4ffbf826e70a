//! What engines tell through the `metrics` facade, under the same names whichever they are. For
//! authors of engines.
//!
//! Each one has the label `registry`: the engine's [name](crate::Registry::name). Nothing is told
//! unless the program installs a recorder.
//!
//! | name | kind | labels | meaning |
//! |---|---|---|---|
//! | `vine_registrations` | gauge | | nodes that this process has registered |
//! | `vine_watchers` | gauge | | watches that this process has open |
//! | `vine_cached_nodes` | gauge | | nodes of others that are remembered |
//! | `vine_requests_total` | counter | `operation`, `outcome`: `ok` or `error` | requests to a server or to the network |
//! | `vine_retries_total` | counter | `operation` | requests that were made again |
//! | `vine_dropped_total` | counter | `reason` | what was received and not used |
//! | `vine_lease_losses_total` | counter | | leases that were lost, with what they held |
//! | `vine_resyncs_total` | counter | `reason` | states that were listed again because of a gap |
//! | `vine_watch_lag_seconds` | histogram | | how long ago a watch was last known to be complete |

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
/// Leases that were lost, with what they held: a counter.
pub const LEASE_LOSSES: &str = "vine_lease_losses_total";
/// States that were listed again because of a gap: a counter.
pub const RESYNCS: &str = "vine_resyncs_total";
/// How long ago a watch was last known to be complete, in seconds: a histogram.
pub const WATCH_LAG: &str = "vine_watch_lag_seconds";
