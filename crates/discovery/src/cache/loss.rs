use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use vine_registry::{Action, Event, Node, Service, Services};

use crate::time::FOREVER;

/// When nodes that vanish are kept as suspects.
///
/// When a large part of a service vanishes within a short time, and nobody said that it would, the
/// registry may have lost them and not the service. Those nodes are kept as suspects: they get calls
/// when no other node is left, until they refuse a connection or a time is over. A node that was
/// deregistered, or draining before, is never kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LossGuard {
    /// Which share of the nodes has to vanish, from 0 to 1. 0.5 by default. Above 1 none are kept.
    pub share: f64,
    /// How many nodes at least. 3 by default.
    pub min_nodes: usize,
    /// Within which time. What vanishes while the registry can't be reached, and as long after,
    /// counts as one moment. Ten seconds by default.
    pub window: Duration,
    /// How long suspects are kept. A minute by default.
    pub keep: Duration,
}

impl Default for LossGuard {
    fn default() -> Self {
        Self {
            share: 0.5,
            min_nodes: 3,
            window: Duration::from_secs(10),
            keep: Duration::from_secs(60),
        }
    }
}

impl LossGuard {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which share of the nodes has to vanish, and how many at least.
    #[must_use]
    pub fn with_share(mut self, share: f64, min_nodes: usize) -> Self {
        (self.share, self.min_nodes) = (share, min_nodes);
        self
    }

    /// Sets within which time they have to vanish.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how long suspects are kept.
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }
}

/// The nodes of one service that vanished lately.
#[derive(Debug)]
pub(super) struct Losses {
    rules: LossGuard,
    /// By id.
    vanished: HashMap<Arc<str>, Vanished>,
    suspects: HashMap<Arc<str>, Suspect>,
    /// The suspects are others than when they were judged the last time.
    is_changed: bool,
    fault: Fault,
}

#[derive(Debug)]
struct Vanished {
    at: Instant,
    service: Arc<Service>,
    node: Arc<Node>,
}

#[derive(Debug)]
struct Suspect {
    service: Arc<Service>,
    node: Arc<Node>,
    until: Instant,
}

/// Whether the registry can't be reached.
#[derive(Debug)]
enum Fault {
    None,
    Since(Instant),
    Over { since: Instant, until: Instant },
}

impl Losses {
    pub(super) fn new(mut rules: LossGuard) -> Self {
        rules.keep = rules.keep.min(FOREVER);
        rules.window = rules.window.min(FOREVER);
        Self {
            rules,
            vanished: HashMap::new(),
            suspects: HashMap::new(),
            is_changed: false,
            fault: Fault::None,
        }
    }

    /// Takes in what a watch tells.
    pub(super) fn event(&mut self, now: Instant, event: &Event) {
        for node in &event.service.nodes {
            match event.action {
                Action::Delete if event.deregistered => self.forget(&node.id),
                Action::Delete => self.vanish(now, &event.service, node),
                _ => self.forget(&node.id),
            }
        }
    }

    /// Takes in that a watch was begun again: what is not there any more has vanished.
    pub(super) fn resync(&mut self, now: Instant, before: &Services, after: &Services) {
        let is_there = |id: &str| after.iter().any(|service| service.nodes.get(id).is_some());
        for service in before {
            let gone = service.nodes.iter().filter(|node| !is_there(&node.id));
            gone.for_each(|node| self.vanish(now, service, node));
        }
        for node in after.iter().flat_map(|service| &service.nodes) {
            self.forget(&node.id);
        }
    }

    pub(super) fn stale(&mut self, now: Instant) {
        let since = match self.fault {
            Fault::None => now,
            Fault::Since(since) => since,
            Fault::Over { since, until } if now < until => since,
            Fault::Over { .. } => now,
        };
        self.fault = Fault::Since(since);
    }

    pub(super) fn live(&mut self, now: Instant) {
        if let Fault::Since(since) = self.fault {
            let until = now + self.rules.window;
            self.fault = Fault::Over { since, until };
        }
    }

    /// A suspect has refused a connection.
    pub(super) fn refused(&mut self, id: &str) {
        // It does not become one again when more vanish either.
        self.forget(id);
    }

    /// Judges what has vanished until now, of a service that still has so many nodes; says whether
    /// the suspects are others than the last time.
    pub(super) fn judge(&mut self, now: Instant, left: usize) -> bool {
        let before = self.suspects.len();
        self.suspects.retain(|_, suspect| suspect.until > now);
        self.is_changed |= before != self.suspects.len();
        let from = self.from(now);
        self.vanished
            .retain(|_, vanished| from.is_none_or(|from| vanished.at >= from));
        let gone = self.vanished.len();
        let large = gone as f64 >= self.rules.share * (left + gone) as f64;
        if gone < self.rules.min_nodes || !large {
            return std::mem::take(&mut self.is_changed);
        }
        for (id, vanished) in &self.vanished {
            let until = vanished.at + self.rules.keep;
            if until > now && !self.suspects.contains_key(id) {
                self.is_changed = true;
                let suspect = Suspect {
                    service: Arc::clone(&vanished.service),
                    node: Arc::clone(&vanished.node),
                    until,
                };
                self.suspects.insert(Arc::clone(id), suspect);
            }
        }
        std::mem::take(&mut self.is_changed)
    }

    /// When the next suspect is let go.
    pub(super) fn next(&self) -> Option<Instant> {
        self.suspects.values().map(|suspect| suspect.until).min()
    }

    /// The suspects, by version.
    pub(super) fn suspects(&self) -> Services {
        let mut versions = HashMap::<&Arc<str>, (&Arc<Service>, Vec<_>)>::new();
        for suspect in self.suspects.values() {
            let version = versions.entry(&suspect.service.version);
            let (_, nodes) = version.or_insert_with(|| (&suspect.service, Vec::new()));
            nodes.push(Arc::clone(&suspect.node));
        }
        let services = versions.into_values();
        services
            .map(|(service, nodes)| Service::clone(service).with_nodes(nodes))
            .collect()
    }

    /// From when on what vanished counts as one moment.
    fn from(&self, now: Instant) -> Option<Instant> {
        let since = match self.fault {
            Fault::Since(since) => since,
            Fault::Over { since, until } if now < until => since,
            Fault::None | Fault::Over { .. } => now,
        };
        let moment = since.checked_sub(self.rules.window);
        // However often the registry comes and goes: who vanished so long ago is a suspect no more.
        moment.max(now.checked_sub(self.rules.window.max(self.rules.keep)))
    }

    fn vanish(&mut self, at: Instant, service: &Arc<Service>, node: &Arc<Node>) {
        if !matches!(node.metadata.get(Node::STATE), Some("draining" | "down")) {
            let vanished = Vanished {
                at,
                service: Arc::clone(service),
                node: Arc::clone(node),
            };
            self.vanished.insert(Arc::clone(&node.id), vanished);
        }
    }

    /// The node is there, or gone for good.
    fn forget(&mut self, id: &str) {
        self.is_changed |= self.suspects.remove(id).is_some();
        self.vanished.remove(id);
    }
}
