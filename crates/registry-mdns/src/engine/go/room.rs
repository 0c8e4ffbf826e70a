//! Room for the nodes of others: by the same rules as that of DNS-SD.

use std::time::Instant;

use super::{Go, cache::Known};
use crate::engine::{
    Ending,
    quota::{BASE, Charge, Excess},
    version::Identity,
};

impl Go {
    /// Makes room for a node that says so much, or that says so much now; false if it is not entitled
    /// to it.
    pub(super) fn make_room(&mut self, by: u32, identity: &Identity, weight: usize) -> bool {
        let bytes = BASE + weight;
        loop {
            let known = self.nodes.get(identity);
            let before = known.map_or(0, |known| known.charge.bytes);
            let excess = if known.is_none() && self.nodes.len() >= self.config.max_nodes {
                Excess::Nodes
            } else if bytes > before && self.quota.total - before + bytes > self.config.max_memory {
                Excess::Bytes(bytes - before)
            } else {
                return true;
            };
            let nodes = &self.nodes;
            let charges = |other: &Identity| nodes.get(other).map(|known| &known.charge);
            let Some(victim) = self.quota.victim(by, excess, charges) else {
                return false;
            };
            self.forget(&victim, Ending::Lost);
        }
    }

    pub(super) fn charge(
        &mut self,
        now: Instant,
        by: u32,
        identity: &Identity,
        weight: usize,
    ) -> Charge {
        let nodes = &self.nodes;
        let charges = |other: &Identity| nodes.get(other).map(|known| &known.charge);
        self.quota.charge(now, identity, by, BASE + weight, charges)
    }

    pub(super) fn recharge(&mut self, now: Instant, identity: &Identity, weight: usize) {
        if let Some(Known { charge, .. }) = self.nodes.get_mut(identity) {
            self.quota.recharge(now, charge, BASE + weight);
        }
    }

    pub(super) fn drop_node(&mut self, identity: &Identity) -> Option<Known> {
        let known = self.nodes.remove(identity)?;
        self.quota.release(&known.charge);
        Some(known)
    }
}
