use std::{fmt, sync::Arc};

use vine_registry::{Node, Service, Services};

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
    for services in [&table.known.services, &table.known.suspects] {
        sift(config, services, |service, node, out| {
            all.extend(out.map(|out| Considered {
                node: Arc::clone(node),
                version: Arc::clone(&service.version),
                verdict: Verdict::Out(out),
            }));
        });
    }
    all
}

/// Goes through the nodes and says of each why it is out, if it is.
fn sift<'a>(
    config: &Config,
    services: &'a Services,
    mut each: impl FnMut(&'a Service, &'a Arc<Node>, Option<Exclusion>),
) {
    for service in services {
        let all_out = config.filter.excludes_service(service);
        for node in &service.nodes {
            let out = all_out.or_else(|| config.filter.excludes_node(service, node));
            each(service, node, out);
        }
    }
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
