use std::{fmt, sync::Arc};

use vine_registry::Node;

use super::{Config, table::Table};

/// What a selector thinks of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Considered {
    /// The node.
    pub node: Arc<Node>,
    /// The version of the service that it runs.
    pub version: Arc<str>,
    /// Whether it gets calls.
    pub verdict: Verdict,
}

/// Whether a node gets calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It does.
    In,
    /// Only when no other is left.
    Fallback(Fallback),
    /// It does not.
    Out(Exclusion),
}

/// Why a node gets calls only when no other is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// It is in another zone than preferred.
    Zone,
    /// It failed, and will be tried again later.
    Ejected,
    /// It vanished with many others at a time.
    Suspect,
}

/// Why a node gets no calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exclusion {
    /// Another version is wanted.
    Version,
    /// The service does not offer the endpoint wanted.
    Endpoint,
    /// It lacks a label wanted.
    Label,
    /// It is about to stop: `vine.state` is `draining`.
    Draining,
    /// It says that it is out of service: `vine.state` is `down`.
    Down,
}

pub(super) fn explain(config: &Config, table: &Table) -> Vec<Considered> {
    let mut all = Vec::new();
    for tier in &table.tiers {
        all.extend(tier.peers.iter().map(|peer| Considered {
            node: Arc::clone(peer.node()),
            version: Arc::clone(peer.version()),
            verdict: tier.fallback.map_or(Verdict::In, Verdict::Fallback),
        }));
    }
    let known = &table.known;
    for service in known.services.iter().chain(known.suspects.iter()) {
        let out = |node: &Node| config.filter.excludes(service, node);
        all.extend(service.nodes.iter().filter_map(|node| {
            Some(Considered {
                node: Arc::clone(node),
                version: Arc::clone(&service.version),
                verdict: Verdict::Out(out(node)?),
            })
        }));
    }
    all
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::In => "in",
            Self::Fallback(Fallback::Zone) => "in reserve: another zone",
            Self::Fallback(Fallback::Ejected) => "in reserve: it failed",
            Self::Fallback(Fallback::Suspect) => "in reserve: it vanished with many others",
            Self::Out(Exclusion::Version) => "out: another version",
            Self::Out(Exclusion::Endpoint) => "out: without the endpoint",
            Self::Out(Exclusion::Label) => "out: without the label",
            Self::Out(Exclusion::Draining) => "out: draining",
            Self::Out(Exclusion::Down) => "out: down",
        })
    }
}
