//! What is known of one key, and of the call that it belongs to.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use vine_registry::{Error, Node, NodeRef, Service};

use crate::own::batch::Batch;

/// One key.
pub(in crate::own) struct Entry {
    pub(in crate::own) node: NodeRef,
    pub(in crate::own) key: Bytes,
    /// None: that it is gone.
    pub(in crate::own) want: Option<Want>,
    /// Of the registration; a change keeps it.
    pub(in crate::own) epoch: u64,
    /// The revision in which the key was last put by this handle, as far as it is still so.
    pub(in crate::own) have: Option<i64>,
    /// The lease of the last put.
    pub(in crate::own) lease: i64,
    /// The revision up to which it is known what stood there.
    pub(in crate::own) known: i64,
    /// Why the cluster refuses, if it does.
    pub(in crate::own) refusal: Option<Error>,
    /// Whether the key is as wanted.
    pub(in crate::own) settled: bool,
    /// Whether it ever was.
    pub(in crate::own) established: bool,
    /// Since when it is not as wanted.
    pub(in crate::own) since: Instant,
    /// The last revision in which somebody was seen to change it.
    pub(in crate::own) seen: i64,
    /// Counts what was wanted.
    pub(in crate::own) wish: u64,
    /// A request is under way.
    pub(in crate::own) busy: bool,
    pub(in crate::own) queued: bool,
    /// Until when a put may take effect that was given up.
    pub(in crate::own) unsure: Option<Instant>,
    /// When its turn comes to be put again after its lease was lost.
    pub(in crate::own) turn: Option<Instant>,
    /// Whether nothing was asked of the cluster yet.
    pub(in crate::own) untried: bool,
    /// What to say at the key before it is deleted, if it was deregistered.
    pub(in crate::own) farewell: Option<Bytes>,
    /// Somebody else has taken its place.
    pub(in crate::own) lost: bool,
    pub(in crate::own) watched: bool,
    /// Some of them may have given up.
    pub(in crate::own) waiters: Vec<Weak<Batch>>,
}

/// What shall stand at a key.
pub(in crate::own) struct Want {
    pub(in crate::own) group: usize,
    pub(in crate::own) source: Arc<Service>,
    pub(in crate::own) node: Arc<Node>,
    pub(in crate::own) changed: u64,
    pub(in crate::own) value: Bytes,
    /// The lease, by its seconds.
    pub(in crate::own) ttl: u64,
}

/// What one call registered, as far as no later one has taken its place.
pub(in crate::own) struct Group {
    /// Tells it from an earlier one in the same place.
    pub(in crate::own) number: u64,
    pub(in crate::own) service: Arc<Service>,
    pub(in crate::own) namespace: Arc<str>,
    pub(in crate::own) ttl: Option<Duration>,
    pub(in crate::own) nodes: usize,
    pub(in crate::own) unsettled: usize,
    pub(in crate::own) deadline: Option<Instant>,
}

/// A call of register, with its values written.
pub(in crate::own) struct Call {
    /// As given.
    pub(in crate::own) service: Arc<Service>,
    pub(in crate::own) namespace: Arc<str>,
    pub(in crate::own) ttl: Option<Duration>,
    /// With the namespace and the ttl in force.
    pub(in crate::own) source: Arc<Service>,
    pub(in crate::own) nodes: Vec<Written>,
    pub(in crate::own) epoch: u64,
    /// The seconds of the lease.
    pub(in crate::own) seconds: u64,
}

/// A node with its key and its value.
pub(in crate::own) struct Written {
    pub(in crate::own) node: Arc<Node>,
    pub(in crate::own) key: Bytes,
    pub(in crate::own) value: Bytes,
}

/// What became of a put.
pub(in crate::own) enum Put {
    /// It was done, in this revision.
    Done(i64),
    /// There is another value than expected.
    Occupied(Occupant),
    /// There is none.
    Vacant,
}

/// What stands at a key.
pub(in crate::own) struct Occupant {
    /// None if it is no node of this key.
    pub(in crate::own) node: Option<NodeRef>,
    pub(in crate::own) version: Arc<str>,
    pub(in crate::own) epoch: u64,
    pub(in crate::own) lease: i64,
    pub(in crate::own) mod_revision: i64,
    pub(in crate::own) value: Bytes,
}

/// What to do about a key.
pub(in crate::own) enum Task {
    Put {
        key: Bytes,
        value: Bytes,
        lease: i64,
        expected: i64,
    },
    Delete {
        key: Bytes,
        lease: i64,
        farewell: Option<Farewell>,
    },
}

/// What is said at a key before it is deleted because it was deregistered.
pub(in crate::own) struct Farewell {
    pub(in crate::own) key: Bytes,
    pub(in crate::own) value: Bytes,
    pub(in crate::own) lease: i64,
    /// The revision in which the key was last put.
    pub(in crate::own) expected: i64,
}

impl Entry {
    /// Fails what is waited for; gives it.
    pub(in crate::own) fn fail(&mut self, error: &Error) -> impl Iterator<Item = Arc<Batch>> {
        self.waited_for().inspect(|batch| batch.fail(error))
    }

    /// What is waited for, until now.
    pub(in crate::own) fn waited_for(&mut self) -> impl Iterator<Item = Arc<Batch>> {
        self.waiters.drain(..).filter_map(|batch| batch.upgrade())
    }

    /// What to say at the key, if it is known what stands there.
    pub(in crate::own) fn farewell(&self, value: Option<Bytes>) -> Option<Farewell> {
        Some(Farewell {
            key: self.key.clone(),
            value: value?,
            lease: self.lease,
            expected: self.have?,
        })
    }
}

impl Want {
    /// Whether it says the same, when it was said aside.
    pub(in crate::own) fn is_like(&self, other: &Self) -> bool {
        self.ttl == other.ttl
            && self.node == other.node
            && self.source.version == other.source.version
            && self.source.same_fields(&other.source)
    }
}

pub(in crate::own) fn replaced(node: &NodeRef) -> Error {
    Error::Replaced {
        name: Arc::clone(&node.service),
        id: Arc::clone(&node.id),
    }
}

pub(in crate::own) fn clash(id: &str, other: &NodeRef) -> Error {
    Error::invalid_service(
        "node id",
        format!(
            "{id:?} has the same key as node {:?} of service {:?} in namespace {:?}, since / counts as - in keys; choose another id",
            other.id, other.service, other.namespace
        ),
    )
}
