//! Which of several claims to one node counts.

use std::sync::Arc;

use super::Question;
use crate::{codec::Name, mapping::Stamp};

/// What tells a node from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) id: Arc<str>,
}

impl Identity {
    pub(super) fn new(namespace: &Arc<str>, name: &Arc<str>, id: &Arc<str>) -> Self {
        Self {
            namespace: Arc::clone(namespace),
            name: Arc::clone(name),
            id: Arc::clone(id),
        }
    }

    pub(super) fn is_of(&self, namespace: &str, name: &str) -> bool {
        *self.namespace == *namespace && *self.name == *name
    }

    pub(super) fn answers(&self, question: &Question) -> bool {
        match question {
            Question::All => true,
            Question::Service { namespace, name } => self.is_of(namespace, name),
        }
    }
}

/// When and by whom a node was registered, and when it changed last.
///
/// Of two holders of one id, the one who registered it later counts, and of two who did so at the
/// same time, the one with the greater host name. Of one holder, the latest change counts, in
/// whatever order packets arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    epoch: u64,
    target: Option<Name>,
    changed: u64,
}

impl Version {
    pub(super) fn new(stamp: Stamp, target: Option<Name>) -> Self {
        Self {
            epoch: stamp.epoch,
            target,
            changed: stamp.changed,
        }
    }

    /// Whether a record of this version takes the place of one of the other. Holders that say no
    /// epoch are taken at their last word.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        self.epoch == 0 && other.epoch == 0 || self >= other
    }

    /// Whether its holder has precedence over another holder of the same id.
    pub(super) fn beats(&self, other: &Self) -> bool {
        self.target != other.target && (self.epoch, &self.target) > (other.epoch, &other.target)
    }

    /// Whether its holder says when it registered.
    pub(super) fn has_epoch(&self) -> bool {
        self.epoch != 0
    }

    /// Whether both are of the same holder.
    pub(super) fn has_holder_of(&self, other: &Self) -> bool {
        self.target == other.target
    }

    pub(super) fn is_from(&self, target: &Name) -> bool {
        self.target.as_ref() == Some(target)
    }
}
