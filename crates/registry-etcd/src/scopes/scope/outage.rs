//! What is told while the cluster can't be watched.

use std::{mem::take, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use vine_registry::Error;

use super::{LONGEST_PAUSE, Proof, Scope, Subscribe, is_denial};
use crate::client::Failure;

/// An outage as short as this is none.
const GRACE: Duration = Duration::from_secs(1);

impl Scope {
    /// Waits; answers those for whom a state from before the outage will do.
    pub(super) async fn idle(&mut self, wait: Duration) {
        let end = Instant::now() + wait;
        loop {
            let stale = self.stale_at();
            tokio::select! {
                () = sleep_until(stale.map_or(end, |stale| stale.min(end))) => {
                    let now = Instant::now();
                    if stale.is_some_and(|stale| stale <= now) {
                        self.mark_stale();
                    }
                    if now >= end {
                        return;
                    }
                }
                subscribe = self.incoming.recv() => match subscribe {
                    Some(subscribe) => {
                        self.waiting.push(subscribe);
                        self.serve_stale();
                        // Somebody is there who did not wait yet: try at once.
                        if wait > LONGEST_PAUSE {
                            return;
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// The view is true, as of now.
    pub(super) fn live(&mut self) {
        self.behind = None;
        if self.down.take().is_some() {
            info!("watching again");
        }
        self.catalog.view.live();
        let mut proof = self.shared.proof();
        *proof = Proof {
            mark: self.mark,
            at: Some(Instant::now()),
            error: None,
        };
    }

    /// The watch is not alive.
    pub(super) fn fail(&mut self, failure: &Failure) {
        let error = Error::from(failure.clone());
        if self.down.is_none() {
            self.down = Some(Instant::now());
            warn!(%error, "the watch is interrupted");
        } else {
            debug!(%error, "still not watching");
        }
        let is_denial = is_denial(failure);
        let mut proof = self.shared.proof();
        proof.at = None;
        proof.error = Some(error.clone());
        drop(proof);
        if is_denial || !self.client.has_answered() {
            for subscribe in take(&mut self.waiting) {
                if !(subscribe.allow_stale && self.mark > 0) {
                    let _ = subscribe.reply.send(Err(error.clone()));
                } else {
                    self.answer(subscribe);
                }
            }
        }
        if self.stale_at().is_some_and(|at| at <= Instant::now()) {
            self.mark_stale();
        }
        self.serve_stale();
    }

    /// When the outage is to be told, if it is not yet.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        if self.catalog.view.staleness().is_some() {
            return None;
        }
        self.down.map(|down| down + GRACE)
    }

    pub(super) fn mark_stale(&mut self) {
        let error = self.shared.proof().error.clone();
        if let Some(error) = error {
            self.catalog.view.stale(error);
        }
        self.serve_stale();
    }

    /// Whether there is something to tell, of before an outage that was told.
    pub(super) fn is_known_stale(&self) -> bool {
        self.mark > 0 && self.catalog.view.staleness().is_some()
    }

    /// Answers those for whom what was known before the outage will do.
    pub(super) fn serve_stale(&mut self) {
        if !self.is_known_stale() {
            return;
        }
        let (content, others) = take(&mut self.waiting)
            .into_iter()
            .partition(|subscribe| subscribe.allow_stale);
        self.waiting = others;
        let content: Vec<Subscribe> = content;
        for subscribe in content {
            self.answer(subscribe);
        }
    }
}
