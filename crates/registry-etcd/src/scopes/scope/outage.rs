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
                if !(subscribe.allow_stale && self.is_known()) {
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
        self.is_known() && self.catalog.view.staleness().is_some()
    }

    /// Whether it was ever listed, though it may have to be again.
    fn is_known(&self) -> bool {
        self.shared.proof().mark > 0
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;
    use tokio::sync::{mpsc, oneshot};
    use vine_registry::{Options, view::Topic};

    use super::*;
    use crate::{
        Layout, catalog::Catalog, client::Client, keys::Keys, listing::Listing, scopes::Shared,
    };

    fn scope() -> Scope {
        let options = Options::new().with_addrs(["127.0.0.1:1"]);
        let client = Arc::new(Client::new(&options).unwrap());
        let catalog = Catalog::new(Keys(Layout::Vine), "vine".into());
        let shared = Arc::new(Shared {
            reader: catalog.view.reader(),
            proof: Mutex::default(),
        });
        let (_, incoming) = mpsc::unbounded_channel();
        Scope::new(client, String::new(), catalog, shared, incoming, GRACE)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_before_a_gap_is_known_in_an_outage() {
        let mut scope = scope();
        scope.list(&Listing {
            kvs: Vec::new(),
            revision: 7,
            era: 0,
        });
        // It has to be listed, and then the cluster is away.
        scope.mark = 0;
        let failure = Failure::Unreachable("it is away".into());
        scope.fail(&failure);
        sleep_until(Instant::now() + GRACE).await;
        scope.fail(&failure);
        let (reply, answer) = oneshot::channel();
        scope.waiting.push(Subscribe {
            topic: Topic::default(),
            allow_stale: true,
            reply,
        });
        scope.serve_stale();
        let watcher = answer.now_or_never().expect("it is answered");
        assert!(watcher.unwrap().is_ok());
    }
}
