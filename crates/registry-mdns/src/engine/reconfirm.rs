//! Asking whether what is known is still there (RFC 6762 section 10.4).

use std::time::{Duration, Instant};

use super::{Engine, version::Identity};
use crate::codec::{Name, kind};

/// When to ask, after somebody could not reach a node.
const ROUNDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
];
/// Who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(2);

/// A node that may be gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    began: Instant,
    asked: usize,
}

impl Trial {
    /// When to look after it again.
    pub(super) fn next(&self) -> Instant {
        self.began + ROUNDS.get(self.asked).copied().unwrap_or(SILENCE)
    }
}

impl Engine {
    /// Begins to ask whether a node is still there, unless that is being asked already, or can't
    /// be: in an outage nothing is heard from anybody.
    pub(super) fn begin_trial(&mut self, now: Instant, identity: &Identity) {
        let Some(claims) = self.cache.claims.get(identity) else {
            return;
        };
        for name in claims.instances.clone() {
            if let Some(instance) = self.cache.instances.get_mut(&name)
                && let Some((_, lease)) = &instance.srv
                && !lease.is_cut_off(&self.expiry)
            {
                let trial = Trial {
                    began: now,
                    asked: 0,
                };
                instance.trial.get_or_insert(trial);
                self.arm_instance(&name);
            }
        }
    }

    /// Does what is due for an instance that may be gone; gives whether it is.
    pub(super) fn try_instance(&mut self, now: Instant, name: &Name) -> bool {
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return false;
        };
        let Some(trial) = instance.trial.filter(|trial| trial.next() <= now) else {
            return false;
        };
        let leases = instance.srv.as_ref().map(|(_, lease)| lease);
        if leases.is_some_and(|lease| lease.is_cut_off(&self.expiry)) {
            instance.trial = None;
            return false;
        }
        let asked = trial.asked + 1;
        if asked > ROUNDS.len() {
            return true;
        }
        instance.trial = Some(Trial { asked, ..trial });
        self.batch.ask(now, [(name.clone(), kind::SRV)]);
        false
    }
}
