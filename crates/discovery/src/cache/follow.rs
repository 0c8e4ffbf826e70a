//! The task that follows one name: holds a watch, and publishes what it tells.

use std::{
    future::ready,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::coop::consume_budget,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info};
use vine_registry::{
    Error, Fold, Namespaces, Registry, Result, Services, Update, WatchOptions, Watcher,
};

use super::{
    Entry, Inner, backoff::Backoff, disk::Saved, idle::Idle, loss::Losses, snapshots::Snapshots,
};
use crate::{Known, Standing};

/// After so many updates of a watch they are published at the latest.
const BATCH: usize = 1024;

/// What the task of one name holds.
pub(super) struct Follower {
    registry: Arc<dyn Registry>,
    entry: Arc<Entry>,
    cache: Weak<Inner>,
    closed: watch::Receiver<bool>,
    idle: Idle,
    losses: Losses,
    snapshots: Option<Snapshots>,
    known: Known,
    /// What is known comes from disk.
    is_restored: bool,
    /// What was published last is the end.
    is_over: bool,
}

/// Why a watch is no longer followed.
enum End {
    /// Nobody needs it.
    Unused,
    /// It has to be started again.
    Lost(Error),
}

/// What wakes the task while it listens to a watch.
enum Wake {
    Update(Option<Update>),
    Refused(Vec<Arc<str>>),
    /// A suspect's time is over.
    Suspect,
    Save,
    Unused,
}

impl Follower {
    pub(super) fn new(entry: Arc<Entry>, cache: &Arc<Inner>) -> Self {
        let options = &cache.options;
        Self {
            registry: Arc::clone(&cache.registry),
            closed: cache.closed.subscribe(),
            idle: Idle::new(options.idle),
            losses: Losses::new(options.loss_guard.clone()),
            snapshots: cache.disk.as_ref().map(Snapshots::new),
            cache: Arc::downgrade(cache),
            known: Known::unknown(None),
            is_restored: false,
            is_over: false,
            entry,
        }
    }

    /// Follows the name until nobody needs it or the registry is closed.
    pub(super) async fn run(mut self) {
        let mut closed = self.closed.clone();
        tokio::select! {
            () = self.follow() => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
    }

    async fn follow(&mut self) {
        let mut pause = Backoff::default();
        loop {
            let error = match self.watch().await {
                Ok(watcher) => {
                    pause = Backoff::default();
                    match self.listen(watcher).await {
                        End::Unused => return,
                        End::Lost(error) => error,
                    }
                }
                Err(error) => {
                    self.restore().await;
                    error
                }
            };
            // The same call will give the same again.
            self.is_over = matches!(
                error,
                Error::Closed | Error::InvalidOption { .. } | Error::InvalidService { .. }
            );
            self.fail(error);
            self.publish();
            if self.is_over {
                return;
            }
            let again = Instant::now() + pause.next();
            loop {
                tokio::select! {
                    () = sleep_until(again) => break,
                    () = self.entry.wanted() => break,
                    refused = self.entry.refused() => self.refused(&refused),
                    () = at(self.losses.next()) => {}
                    () = self.idle.over(&self.entry, &self.cache) => return,
                }
                self.publish();
            }
        }
    }

    /// Begins a watch. If that takes time, what an earlier process knew has to do meanwhile.
    async fn watch(&mut self) -> Result<Watcher> {
        let registry = Arc::clone(&self.registry);
        let namespace = Namespaces::One(Arc::clone(&self.entry.namespace));
        let options = WatchOptions::service(Arc::clone(&self.entry.name)).with_namespace(namespace);
        let mut watch = registry.watch(options);
        if let Some(snapshots) = &self.snapshots
            && !self.known.is_known()
        {
            tokio::select! {
                watcher = &mut watch => return watcher,
                () = sleep(snapshots.patience()) => {}
            }
            self.restore().await;
        }
        watch.await
    }

    /// Takes what an earlier process knew, if nothing else is known.
    async fn restore(&mut self) {
        let Some(snapshots) = self.snapshots.as_mut().filter(|_| !self.known.is_known()) else {
            return;
        };
        if let Some(Saved { services, age }) = snapshots.load(&self.entry).await {
            info!(name = %self.entry.name, ?age, "the registry has not answered; using what was saved");
            let error = Error::unavailable(
                self.registry.name().to_owned(),
                "it has not answered yet; this was saved by an earlier process",
            );
            self.losses.stale(Instant::now());
            self.is_restored = true;
            self.known.services = services;
            self.known.standing = Standing::Stale {
                since: Instant::now(),
                age,
                error,
            };
            self.publish();
        }
    }

    async fn listen(&mut self, mut watcher: Watcher) -> End {
        let mut fold = Fold::new(&watcher.take_snapshot());
        let services = self.services(&fold);
        let before = std::mem::replace(&mut self.known.services, services);
        // What an earlier process knew may be long gone, and is not lost now.
        if !std::mem::take(&mut self.is_restored) {
            self.losses
                .resync(Instant::now(), &before, &self.known.services);
        }
        self.live();
        self.publish();
        loop {
            let mut wake = self.wait(&mut watcher).await;
            let mut is_changed = false;
            for _ in 0..BATCH {
                match wake {
                    Wake::Update(Some(update)) => is_changed |= self.update(&mut fold, update),
                    Wake::Update(None) => {
                        self.known.services = self.services(&fold);
                        return End::Lost(self.ended().await);
                    }
                    Wake::Refused(ids) => self.refused(&ids),
                    Wake::Suspect => {}
                    Wake::Save => self.save(),
                    Wake::Unused => return End::Unused,
                }
                // More that is there already is published with it.
                wake = tokio::select! {
                    biased;
                    update = watcher.next() => Wake::Update(update),
                    () = ready(()) => break,
                };
            }
            if is_changed {
                self.known.services = self.services(&fold);
                self.is_to_save();
            }
            self.publish();
            consume_budget().await;
        }
    }

    async fn wait(&mut self, watcher: &mut Watcher) -> Wake {
        let save = self.snapshots.as_ref().and_then(Snapshots::next);
        tokio::select! {
            update = watcher.next() => Wake::Update(update),
            ids = self.entry.refused() => Wake::Refused(ids),
            () = at(self.losses.next()) => Wake::Suspect,
            () = at(save) => Wake::Save,
            () = self.idle.over(&self.entry, &self.cache) => Wake::Unused,
        }
    }

    /// Says whether the nodes may be others.
    fn update(&mut self, fold: &mut Fold, update: Update) -> bool {
        match update {
            Update::Event(event) => {
                self.losses.event(Instant::now(), &event);
                return fold.apply(&event);
            }
            Update::Stale(error) => self.fail(error),
            Update::Live => self.live(),
            _ => {}
        }
        false
    }

    /// Why a watch ended that nobody stopped.
    async fn ended(&self) -> Error {
        match self.registry.init().await {
            Err(error) => error,
            Ok(()) => Error::unavailable(
                self.registry.name().to_owned(),
                "it ended a watch, which is started again",
            ),
        }
    }

    fn services(&self, fold: &Fold) -> Services {
        fold.service(&self.entry.namespace, &self.entry.name)
    }

    fn live(&mut self) {
        self.losses.live(Instant::now());
        self.known.standing = Standing::Live;
        self.is_to_save();
    }

    /// The registry can't be reached: what was known stays known.
    fn fail(&mut self, error: Error) {
        debug!(name = %self.entry.name, %error, "can't watch; what was known is served");
        self.losses.stale(Instant::now());
        self.known.standing = match &self.known.standing {
            Standing::Unknown(_) => Standing::Unknown(Some(error)),
            Standing::Live => Standing::Stale {
                since: Instant::now(),
                age: Duration::ZERO,
                error,
            },
            Standing::Stale { since, age, .. } => Standing::Stale {
                since: *since,
                age: *age,
                error,
            },
        };
    }

    fn refused(&mut self, ids: &[Arc<str>]) {
        for id in ids {
            self.losses.refused(id);
        }
    }

    fn publish(&mut self) {
        let left = self.known.services.node_count();
        if self.losses.judge(Instant::now(), left) {
            let suspects = self.losses.suspects();
            debug!(name = %self.entry.name, left, suspects = suspects.node_count(), "suspects");
            self.known.suspects = suspects;
        }
        let known = Arc::new(self.known.clone());
        // Look-ups first: who is told of a change must not find what was before it.
        if let Some(cache) = self.cache.upgrade() {
            cache.names.publish(&self.entry, &known);
        }
        self.entry.publish(known);
    }

    fn is_to_save(&mut self) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.changed();
        }
    }

    fn save(&mut self) {
        if let Some(snapshots) = &mut self.snapshots
            && matches!(self.known.standing, Standing::Live)
        {
            snapshots.save(&self.entry, &self.known.services);
        }
    }
}

/// However the task ends, even with its runtime, nobody is to find an entry that nobody follows.
impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.names.forget(&self.entry);
        }
        // Whoever subscribes meanwhile must not wait for ever.
        if self.entry.is_awaited() && !self.is_over {
            self.fail(Error::Closed);
            self.publish();
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
