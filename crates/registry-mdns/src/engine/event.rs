//! What the engine tells, and what it is asked.

use std::{sync::Arc, time::Duration};

use vine_registry::{Node, Service};

use crate::Key;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The nodes of one service.
    Service {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// Every node of every service.
    All,
}

impl Question {
    /// Whether nodes of that service answer it.
    pub(super) fn is_about(&self, of_namespace: &str, of_name: &str) -> bool {
        match self {
            Self::Service { namespace, name } => **namespace == *of_namespace && **name == *of_name,
            Self::All => true,
        }
    }
}

/// Names a registration of one node within an engine. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub(crate) u64);

/// Names a look-up within an engine. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupId(pub(crate) u64);

/// What [`Engine::register`](super::Engine::register) did with one node.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The node's registration; the same as before if the id was registered already.
    pub key: NodeKey,
    /// The node.
    pub node: Arc<Node>,
    /// Unix ms of the registration: of two holders of one id, the greater wins.
    pub epoch: u64,
    /// Unix ms of the last change. Never the same twice in an engine.
    pub changed: u64,
    /// Whether anything is other than before.
    pub is_change: bool,
}

/// A node that somebody else registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// The service in the node's version, its namespace resolved, with this one node.
    pub service: Arc<Service>,
    /// The node.
    pub node: Arc<Node>,
    /// Unix ms of its registration by its owner's clock; 0 if the owner says none.
    pub epoch: u64,
    /// Unix ms of its last change by its owner's clock; 0 if the owner says none.
    pub changed: u64,
}

/// How it is known that a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was heard of it any more, or nobody asks.
    Lost,
    /// Its owner said so (RFC 6762 section 10.1).
    Said,
}

/// What the engine tells its driver.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineEvent {
    /// A node that was not known.
    Found(Remote),
    /// A known node that is other than before, perhaps in another version.
    Changed(Remote),
    /// A known node is gone, or nobody asks for it any more.
    Gone(Remote, Ending),
    /// Somebody else holds the id of this registration, which has ended without a goodbye.
    Replaced(NodeKey),
    /// The ttl of this registration ran out; it has ended with a goodbye.
    Expired(NodeKey),
    /// A look-up ended.
    LookupDone {
        /// Which.
        id: LookupId,
        /// How.
        outcome: Outcome,
    },
    /// The last usable interface is gone: nothing expires until [`Live`](Self::Live).
    Stale,
    /// There is a usable interface again; what has vanished meanwhile goes after ten seconds.
    Live,
}

/// How a look-up ended. What it found was told before by [`EngineEvent::Found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// One node is known: [`Wait::First`](vine_registry::Wait::First).
    First,
    /// Nothing new is to be expected: [`Wait::Settled`](vine_registry::Wait::Settled).
    Settled,
    /// The time is over, with at least one node: [`Wait::For`](vine_registry::Wait::For).
    Elapsed,
    /// Nobody answered in time.
    NotFound,
    /// There is no interface to ask on.
    Offline,
}

/// What has happened in the engine since it was made; for logs, tests and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets that could not be understood.
    pub malformed: u64,
    /// Packets that the rules of RFC 6762 sections 6, 11 and 18 say to ignore.
    pub ignored: u64,
    /// TXT records of nodes that could not be understood.
    pub unreadable: u64,
    /// Records that found no room.
    pub refused: u64,
    /// Answers that were not sent because the asker had got too much.
    pub throttled: u64,
    /// Packets to be sent.
    pub sent: u64,
    /// One-shot questions, on each link by itself.
    pub asked: u64,
    /// Those of them that had been asked before.
    pub asked_again: u64,
    /// With keys: records that no key known here signed, and so did not count.
    pub unsigned: u64,
    /// With keys: records with a false signature.
    pub forged: u64,
    /// With keys: records that were signed once, but are older than what was said since.
    pub replayed: u64,
    /// Blobs that turned out to be something else than their digest says.
    pub damaged: u64,
    /// Blobs that nobody sent, so that those who name them are not shown.
    pub missed: u64,
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mDNS port: 5353, except in tests. Who asks from another one gets a legacy answer.
    pub port: u16,
    /// How many remote nodes are remembered at most.
    pub max_nodes: usize,
    /// About how many bytes of memory they may take: 128 MiB. What they share (endpoints, APIs,
    /// metadata that is too long for a TXT record) has a bound of its own, 64 MiB; of that, 16 MiB are
    /// kept for hosts that bring no more than 4.
    pub max_memory: usize,
    /// Whether [`Received::multicast`](super::Received::multicast) is certain. If it is not, a
    /// packet counts only if its source is on the link (RFC 6762 section 11).
    pub knows_destinations: bool,
    /// The lifetime of the records of a registration without a ttl: 120 s (RFC 6762 section 10).
    pub default_ttl: Duration,
    /// Whom to believe: who has one of these keys. None: everybody. The first one signs.
    pub keys: Vec<Key>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 5353,
            max_nodes: 65_536,
            max_memory: 128 * 1024 * 1024,
            knows_destinations: true,
            default_ttl: Duration::from_secs(120),
            keys: Vec::new(),
        }
    }
}
