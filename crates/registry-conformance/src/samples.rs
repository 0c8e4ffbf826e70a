//! What the cases register.

use std::time::Duration;

use vine_registry::{Capabilities, Node, Service};

use crate::Handle;

/// The service of most cases.
pub(crate) const NAME: &str = "go.vine.conformance";

/// [`NAME`] in a version, with nodes of these ids, separated by spaces.
pub(crate) fn service(version: &str, ids: &str) -> Service {
    named(NAME, version, ids)
}

/// Any service in a version, with nodes of these ids, separated by spaces.
pub(crate) fn named(name: &str, version: &str, ids: &str) -> Service {
    Service::new(name, version).with_nodes(ids.split_whitespace().map(node))
}

/// A node with an address.
pub(crate) fn node(id: &str) -> Node {
    Node::new(id, "127.0.0.1:8080")
}

/// A node with a mark in its metadata.
pub(crate) fn marked(id: &str, mark: impl ToString) -> Node {
    node(id).with_metadata([("mark", mark.to_string())])
}

/// [`NAME`] in a version, with a mark in the metadata of the service.
pub(crate) fn branded(version: &str, ids: &str, mark: &str) -> Service {
    service(version, ids).with_metadata([("mark", mark)])
}

/// Whether the engine takes this text as a name or an id.
pub(crate) fn can_name(registry: Handle<'_>, text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    registry.capabilities().any_names || text.chars().all(is_plain)
}

/// Whether the engine takes this address.
pub(crate) fn can_reach(registry: Handle<'_>, address: &str) -> bool {
    let is_ip = address.starts_with('[') || address.parse::<std::net::SocketAddr>().is_ok();
    registry.capabilities().host_names || is_ip
}

/// A ttl that ends soon, but leaves a slow machine the time to renew it.
pub(crate) fn short_ttl(registry: Handle<'_>) -> Duration {
    ttl(&registry.capabilities(), Duration::from_secs(1))
}

/// A ttl that does not end during a case.
pub(crate) fn long_ttl(registry: Handle<'_>) -> Duration {
    ttl(&registry.capabilities(), Duration::from_secs(600))
}

/// The ttl that the engine keeps as given and that is nearest to what is wanted.
pub(crate) fn ttl(capabilities: &Capabilities, wanted: Duration) -> Duration {
    let granule = capabilities.ttl_granularity.as_nanos().max(1);
    let wanted = wanted.clamp(capabilities.min_ttl, capabilities.max_ttl);
    let granules = wanted.as_nanos().div_ceil(granule);
    Duration::from_nanos(u64::try_from(granules * granule).unwrap_or(u64::MAX))
}

/// Text that does not compress well, so that its length is what the engine has to carry.
pub(crate) fn noise(len: usize) -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
    let mut dice = Dice::new(len as u64);
    (0..len)
        .map(|_| char::from(LETTERS[dice.roll(64)]))
        .collect()
}

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// One of `sides` numbers from 0.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*, Vigna 2014
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        high as usize % sides
    }
}
