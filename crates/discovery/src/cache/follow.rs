//! The task that follows one name: holds a watch, and publishes what it tells.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::coop::consume_budget,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep},
};
use tracing::debug;
use vine_registry::{
    Error, Fold, Namespaces, Registry, Result, Services, Update, WatchOptions, Watcher,
};

use super::{Inner, entry::Entry};
use crate::{Known, Standing};

/// How often within the idle time is looked whether anybody uses the name.
const LOOKS: u32 = 4;

/// What the task of one name holds.
pub(super) struct Follower {
    registry: Arc<dyn Registry>,
    entry: Arc<Entry>,
    cache: Weak<Inner>,
    closed: watch::Receiver<bool>,
    idle: Idle,
    /// What was published last is the end.
    is_over: bool,
    known: Known,
}

/// Why a watch is no longer followed.
enum End {
    /// Nobody needs it.
    Unused,
    /// It has to be started again.
    Lost(Error),
}

impl Follower {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        entry: Arc<Entry>,
        cache: Weak<Inner>,
        closed: watch::Receiver<bool>,
        idle: Duration,
    ) -> Self {
        Self {
            registry,
            entry,
            cache,
            closed,
            idle: Idle::new(idle),
            is_over: false,
            known: Known::unknown(None),
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
                Err(error) => error,
            };
            // The same call will give the same again.
            self.is_over = matches!(
                error,
                Error::Closed | Error::InvalidOption { .. } | Error::InvalidService { .. }
            );
            self.failed(error);
            if self.is_over {
                return;
            }
            tokio::select! {
                () = sleep(pause.next()) => {}
                () = self.entry.wanted() => {}
                () = self.idle.over(&self.entry, &self.cache) => return,
            }
        }
    }

    async fn watch(&self) -> Result<Watcher> {
        let namespace = Namespaces::One(Arc::clone(&self.entry.namespace));
        let options = WatchOptions::service(Arc::clone(&self.entry.name)).with_namespace(namespace);
        self.registry.watch(options).await
    }

    async fn listen(&mut self, mut watcher: Watcher) -> End {
        let mut fold = Fold::new(&watcher.take_snapshot());
        self.tell(&fold, Standing::Live);
        loop {
            let update = tokio::select! {
                update = watcher.next() => update,
                () = self.idle.over(&self.entry, &self.cache) => return End::Unused,
            };
            match update {
                Some(Update::Event(event)) => {
                    fold.apply(&event);
                    self.tell(&fold, self.known.standing.clone());
                }
                Some(Update::Stale(error)) => self.failed(error),
                Some(Update::Live) => self.tell(&fold, Standing::Live),
                Some(_) => {}
                None => return End::Lost(self.ended().await),
            }
            consume_budget().await;
        }
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

    fn tell(&mut self, fold: &Fold, standing: Standing) {
        self.known.services = self.services(fold);
        self.known.standing = standing;
        self.entry.publish(self.known.clone());
    }

    fn services(&self, fold: &Fold) -> Services {
        fold.service(&self.entry.namespace, &self.entry.name)
    }

    /// The registry can't be reached: what was known stays known.
    fn failed(&mut self, error: Error) {
        debug!(name = %self.entry.name, %error, "can't watch; what was known is served");
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
        self.entry.publish(self.known.clone());
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
            self.failed(Error::Closed);
        }
    }
}

/// Counts how long nobody used a name.
struct Idle {
    interval: Interval,
    unused: u32,
}

impl Idle {
    fn new(idle: Duration) -> Self {
        let look = (idle / LOOKS).max(Duration::from_millis(1));
        let mut interval = interval_at(Instant::now() + look, look);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            unused: 0,
        }
    }

    /// Waits until nobody used the name so long and it is let go. Cancel safe.
    async fn over(&mut self, entry: &Arc<Entry>, cache: &Weak<Inner>) {
        loop {
            tokio::select! {
                _ = self.interval.tick() => {
                    let used = entry.take_used() || entry.is_awaited();
                    self.unused = if used { 0 } else { self.unused + 1 };
                }
                () = entry.dismissed() => self.unused = LOOKS,
            }
            if self.unused >= LOOKS {
                match cache.upgrade() {
                    Some(cache) if !cache.names.let_go(entry) => self.unused = 0,
                    _ => return,
                }
            }
        }
    }
}

/// Pauses between attempts: twice as long each time, from 50 ms to 5 s, of which a random half is
/// left out, so that many clients do not come at once.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let full = Duration::from_millis(50 << self.0.min(7)).min(Duration::from_secs(5));
        self.0 += 1;
        full / 2 + full.mul_f64(fastrand::f64() / 2.0)
    }
}
