use std::sync::Arc;

use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use super::{
    Core,
    ejection::Ejected,
    peer::{Peer, Told},
    roster::Roster,
    table::Table,
};
use crate::{Subscription, time::at};

/// The task of a selector: makes the table anew when nodes change, fail or come back.
pub(super) struct Task {
    core: Arc<Core>,
    changes: Subscription,
    failures: mpsc::UnboundedReceiver<Told>,
    ejected: Ejected,
    roster: Roster,
}

impl Task {
    /// Makes the first table at once.
    pub(super) fn new(core: Arc<Core>, failures: mpsc::UnboundedReceiver<Told>) -> Self {
        let mut changes = core.subscription.clone();
        changes.mark_seen();
        let mut task = Self {
            core,
            changes,
            failures,
            ejected: Ejected::default(),
            roster: Roster::default(),
        };
        task.rebuild();
        task
    }

    pub(super) async fn run(mut self) {
        let mut follows = true;
        loop {
            let next = self.ejected.next();
            let is_other = tokio::select! {
                changed = self.changes.changed(), if follows => {
                    // A closed registry tells nothing more; what is known is used on.
                    follows = changed.is_ok();
                    true
                }
                Some(told) = self.failures.recv() => self.fails(told),
                () = at(next) => true,
            };
            if is_other {
                self.rebuild();
            }
        }
    }

    /// Says whether the table is another one now.
    fn fails(&mut self, told: Told) -> bool {
        let mut is_other = false;
        let now = Instant::now();
        let mut next = Some(told);
        while let Some(told) = next {
            if told.refused {
                self.report(&told.peer);
            }
            let nodes = self.roster.fit();
            let rules = &self.core.config.ejection;
            if self.ejected.fails(rules, &told.peer, nodes, now) {
                let service = self.core.subscription.name();
                debug!(%service, node = %told.peer.node().id, refused = told.refused, "ejected");
                is_other = true;
            }
            next = self.failures.try_recv().ok();
        }
        is_other
    }

    /// Tells the registry, which may take its time.
    fn report(&self, peer: &Peer) {
        let (subscription, id) = (self.core.subscription.clone(), Arc::clone(&peer.node().id));
        tokio::spawn(async move {
            if let Err(error) = subscription.report_unreachable(&id).await {
                debug!(node = %id, %error, "can't report a node that refuses connections");
            }
        });
    }

    fn rebuild(&mut self) {
        let core = &*self.core;
        let rules = &core.config.ejection;
        self.ejected.come_back(rules, Instant::now());
        let known = core.subscription.known();
        core.publish(Table::build(
            &core.config,
            &core.reports,
            known,
            &mut self.ejected,
            &mut self.roster,
        ));
    }
}
