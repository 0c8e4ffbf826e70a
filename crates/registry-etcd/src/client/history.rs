//! What the answers say of the cluster's past.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::proto::{
    LeaseGrantResponse, LeaseRevokeResponse, RangeResponse, ResponseHeader, TxnResponse,
};

/// How far a cluster is known to have come. One that is behind that, or is another one, was restored
/// or replaced: what was true of it need not be true any more.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// 0 before the first answer.
    cluster: u64,
    revision: i64,
    /// Counts how often it was found to have become another one or an older one.
    era: u64,
}

/// An answer that may tell how far the cluster has come, at least when it was asked for.
pub(crate) trait Dated {
    fn date(&self) -> Option<ResponseHeader>;
}

impl History {
    pub(super) fn known(&self) -> Known {
        *self.lock()
    }

    pub(super) fn era(&self) -> u64 {
        self.lock().era
    }

    /// Takes in the linearizable answer to what was asked when `before` was known.
    pub(super) fn learn(&self, before: Known, date: ResponseHeader) {
        let mut known = self.lock();
        // Where it comes from can't be told.
        if known.era != before.era {
            return;
        }
        let is_other = before.cluster != 0 && date.cluster_id != before.cluster;
        if is_other || date.revision < before.revision {
            *known = Known {
                cluster: date.cluster_id,
                revision: date.revision,
                era: known.era + 1,
            };
            drop(known);
            let (revision, last) = (date.revision, before.revision);
            warn!(revision, last, "the cluster lost data, or is another one");
        } else {
            known.cluster = date.cluster_id;
            known.revision = known.revision.max(date.revision);
        }
    }

    /// Takes in what a stream says that was opened in this era.
    pub(super) fn hear(&self, era: u64, date: ResponseHeader) {
        let mut known = self.lock();
        if known.era == era && known.cluster == date.cluster_id {
            known.revision = known.revision.max(date.revision);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dated for RangeResponse {
    fn date(&self) -> Option<ResponseHeader> {
        self.header
    }
}

impl Dated for TxnResponse {
    fn date(&self) -> Option<ResponseHeader> {
        self.header
    }
}

impl Dated for LeaseGrantResponse {
    fn date(&self) -> Option<ResponseHeader> {
        None
    }
}

impl Dated for LeaseRevokeResponse {
    fn date(&self) -> Option<ResponseHeader> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(cluster_id: u64, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id,
            revision,
            ..Default::default()
        }
    }

    #[test]
    fn a_cluster_that_falls_behind_what_was_seen_is_noticed_once() {
        let history = History::default();
        history.learn(history.known(), date(1, 5));
        history.hear(0, date(1, 90));
        let before = history.known();
        history.learn(before, date(1, 90));
        assert_eq!(history.era(), 0);
        // Two that were asked at the same time say the same.
        history.learn(before, date(1, 80));
        history.learn(before, date(1, 81));
        history.hear(0, date(1, 90));
        assert_eq!(history.era(), 1);
        history.learn(history.known(), date(1, 82));
        assert_eq!(history.era(), 1, "that is how far it is now");
        history.learn(history.known(), date(2, 100));
        assert_eq!(history.era(), 2, "another cluster");
    }

    #[test]
    fn answers_may_overtake_each_other() {
        let history = History::default();
        let before = history.known();
        history.learn(before, date(1, 9));
        history.learn(before, date(1, 8));
        assert_eq!((history.era(), history.known().revision), (0, 9));
    }
}
