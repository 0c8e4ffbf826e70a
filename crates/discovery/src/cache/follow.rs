//! The task that follows one name: holds a watch, and publishes what it tells.

use std::{
    future::{Future, ready},
    pin::pin,
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
use crate::{Known, Standing, known::ends, time::at};

/// After so many updates of a watch they are published at the latest.
const BATCH: usize = 1024;

/// Who has watched for so long without a fault may ask again soon.
const HEALTH: Duration = Duration::from_secs(5);

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
            known: Known::unknown(),
            is_restored: false,
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
                Some(Ok(watcher)) => {
                    let start = Instant::now();
                    let End::Lost(error) = self.listen(watcher).await else {
                        return;
                    };
                    if start.elapsed() >= HEALTH {
                        pause = Backoff::default();
                    }
                    error
                }
                Some(Err(error)) => {
                    self.restore().await;
                    error
                }
                None => return,
            };
            let is_over = ends(&error);
            self.fail(error);
            self.publish();
            if is_over || self.meanwhile(self.pause(pause.next())).await.is_none() {
                return;
            }
        }
    }

    /// Begins a watch. If that takes time, what an earlier process knew has to do meanwhile.
    async fn watch(&mut self) -> Option<Result<Watcher>> {
        let registry = Arc::clone(&self.registry);
        let namespace = Namespaces::One(Arc::clone(&self.entry.namespace));
        let options = WatchOptions::service(Arc::clone(&self.entry.name)).with_namespace(namespace);
        let mut watch = Box::pin(async move { registry.watch(options).await });
        if let Some(snapshots) = &self.snapshots
            && !self.known.is_known()
        {
            tokio::select! {
                watcher = &mut watch => return Some(watcher),
                () = sleep(snapshots.patience()) => {}
            }
            self.restore().await;
        }
        self.meanwhile(watch).await
    }

    /// Until the registry is asked again: so long, or until somebody wants an answer.
    fn pause(&self, time: Duration) -> impl Future<Output = ()> + use<> {
        let (entry, over) = (Arc::clone(&self.entry), Instant::now() + time);
        async move {
            tokio::select! {
                () = sleep_until(over) => {}
                () = entry.wanted() => {}
            }
        }
    }

    /// Waits for something while the registry tells nothing. None if nobody needs the name any more.
    async fn meanwhile<T>(&mut self, wanted: impl Future<Output = T>) -> Option<T> {
        let mut wanted = pin!(wanted);
        loop {
            tokio::select! {
                done = &mut wanted => return Some(done),
                refused = self.entry.refused() => self.refused(&refused),
                () = at(self.losses.next()) => {}
                () = self.idle.over(&self.entry, &self.cache) => return None,
            }
            if self.judge() {
                self.tell();
            }
        }
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
            let (mut is_news, mut is_changed) = (false, false);
            for left in (0..BATCH).rev() {
                match wake {
                    Wake::Update(Some(update)) => {
                        is_news |= !matches!(update, Update::Event(_));
                        is_changed |= self.update(&mut fold, update);
                    }
                    Wake::Update(None) => {
                        self.known.services = self.services(&fold);
                        return self.ended().await;
                    }
                    Wake::Refused(ids) => self.refused(&ids),
                    Wake::Suspect => {}
                    Wake::Save => self.save(),
                    Wake::Unused => return End::Unused,
                }
                // More that is there already is published with it. What were taken at last, nobody would see.
                wake = tokio::select! {
                    biased;
                    update = watcher.next(), if left > 0 => Wake::Update(update),
                    () = ready(()) => break,
                };
            }
            if is_changed {
                self.known.services = self.services(&fold);
                self.is_to_save();
            }
            if self.judge() || is_changed || is_news {
                self.tell();
            }
            consume_budget().await;
        }
    }

    async fn wait(&mut self, watcher: &mut Watcher) -> Wake {
        // What is from before an outage is saved already.
        let is_live = matches!(self.known.standing, Standing::Live);
        let snapshots = self.snapshots.as_ref().filter(|_| is_live);
        let save = snapshots.and_then(Snapshots::next);
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

    /// A watch ended that nobody stopped: it tells nothing from now on, whatever the reason.
    async fn ended(&mut self) -> End {
        let error = Error::unavailable(
            self.registry.name().to_owned(),
            "it ended a watch, which is started again",
        );
        self.fail(error.clone());
        self.publish();
        let registry = Arc::clone(&self.registry);
        match self.meanwhile(async move { registry.init().await }).await {
            Some(Err(error)) => End::Lost(error),
            Some(Ok(())) => End::Lost(error),
            None => End::Unused,
        }
    }

    fn services(&self, fold: &Fold) -> Services {
        fold.service(&self.entry.namespace, &self.entry.name)
    }

    fn live(&mut self) {
        self.losses.live(Instant::now());
        self.known.is_awaited = false;
        self.known.standing = Standing::Live;
        self.is_to_save();
    }

    /// The registry can't be reached: what was known stays known.
    fn fail(&mut self, error: Error) {
        debug!(name = %self.entry.name, %error, "can't watch; what was known is served");
        self.losses.stale(Instant::now());
        self.known.is_awaited = false;
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

    /// Says whether the suspects are others now.
    fn judge(&mut self) -> bool {
        let left = self.known.services.node_count();
        let is_other = self.losses.judge(Instant::now(), left);
        if is_other {
            let suspects = self.losses.suspects();
            debug!(name = %self.entry.name, left, suspects = suspects.node_count(), "suspects");
            self.known.suspects = suspects;
        }
        is_other
    }

    fn publish(&mut self) {
        self.judge();
        self.tell();
    }

    fn tell(&self) {
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
        if let Some(snapshots) = &mut self.snapshots {
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
        if self.entry.is_awaited() && self.known.end().is_none() {
            self.fail(Error::Closed);
            self.tell();
        }
    }
}
