use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::budget::Budget;
use crate::{Guard, Outcome};

/// How one attempt of a call ended: what that says of the node, and whether another attempt may
/// follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The node answered.
    Answered,
    /// The node answered that the fault is its own; it would not be better elsewhere.
    Faulty,
    /// The node failed, and may have acted on the call: only idempotent ones are tried again.
    Failed,
    /// The node has not seen the call, for a reason that says nothing about it: the connection
    /// ended before, or this process could make none (it has too many files open). Tried again.
    Unsent,
    /// No connection to the node came about. Tried again.
    Refused,
    /// The caller's side broke it off, as the body of the request gave an error: that says nothing
    /// about the node. Not tried again.
    Aborted,
}

impl Ending {
    /// Reports it.
    pub(crate) fn report(self, guard: &mut Guard) {
        match self {
            Self::Answered => guard.report(Outcome::Success),
            Self::Faulty | Self::Failed => guard.report(Outcome::Failure),
            Self::Refused => guard.report(Outcome::Refused),
            Self::Unsent | Self::Aborted => {}
        }
    }
}

/// How often a call is tried again that no node has seen.
const UNSEEN: u32 = 8;

/// The attempts of one call.
pub(crate) struct Attempts<'a> {
    budget: &'a Budget,
    left: u32,
    /// For those that no node has seen: they do no harm, so they may go through several nodes that
    /// are gone.
    unseen_left: u32,
    tried: SmallVec<[Arc<str>; 2]>,
    /// So many of them refused: these come first.
    refused: usize,
    /// Whether an attempt ended in another way than by a refusal.
    reached: bool,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        budget.called();
        Self {
            budget,
            left: budget.rules().attempts.saturating_sub(1),
            unseen_left: if budget.rules().attempts > 1 {
                UNSEEN
            } else {
                0
            },
            tried: SmallVec::new(),
            refused: 0,
            reached: false,
        }
    }

    /// Whether there may be another attempt, as far as is known before this one.
    pub(crate) fn is_another_left(&self) -> bool {
        self.left > 0 || self.unseen_left > 0
    }

    /// The ids of nodes that it was tried on.
    pub(crate) fn tried(&self) -> &[Arc<str>] {
        &self.tried
    }

    /// All nodes were tried: begins anew with any.
    #[cfg(feature = "tower")]
    pub(crate) fn forget(&mut self) {
        self.tried.clear();
        self.refused = 0;
    }

    /// All nodes were tried: begins anew with those that did not refuse. False if all did.
    #[cfg(feature = "hyper")]
    pub(crate) fn forgive(&mut self) -> bool {
        let is_any = self.tried.len() > self.refused;
        self.tried.truncate(self.refused);
        is_any
    }

    /// Whether nothing but refusals came of it, the last attempt included, which ended so.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_unreachable(&self, last: Ending) -> bool {
        last == Ending::Refused && !self.reached
    }

    /// Whether there is to be another attempt, after one that ended so.
    pub(crate) fn again(
        &mut self,
        guard: &Guard,
        ending: Ending,
        idempotent: impl FnOnce() -> bool,
    ) -> bool {
        self.reached |= ending != Ending::Refused;
        let left = match ending {
            Ending::Answered | Ending::Faulty | Ending::Aborted => return false,
            Ending::Failed if !idempotent() => return false,
            Ending::Failed => &mut self.left,
            Ending::Unsent | Ending::Refused => &mut self.unseen_left,
        };
        if *left == 0 || !self.budget.spend(Instant::now()) {
            return false;
        }
        *left -= 1;
        let id = Arc::clone(&guard.node().id);
        if ending == Ending::Refused {
            self.tried.insert(self.refused, id);
            self.refused += 1;
        } else {
            self.tried.push(id);
        }
        true
    }
}
