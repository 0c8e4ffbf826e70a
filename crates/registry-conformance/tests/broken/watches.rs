//! Faults of watches.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use vine_registry::{
    Action, Error, Event, GetOptions, Namespaces, Publisher, Registry, Result, Service, Services,
    Stopper, WatchOptions, Watcher,
};

use crate::{engine::Broken, faults::Fault};

impl Broken {
    pub(crate) async fn faulty_watch(&self, mut options: WatchOptions) -> Result<Watcher> {
        match self.fault {
            Fault::DroppedWatchBlocks => self.fragile().await?,
            Fault::WatchOfOneIsOfAll => options.service = None,
            Fault::WatchIgnoresNamespace => options.namespace = Namespaces::All,
            Fault::WatchOfAllIsOfOwn => options.namespace = Namespaces::Own,
            _ => {}
        }
        let early = match self.fault {
            Fault::GapAfterSnapshot => {
                let early = self.inner.watch(options.clone()).await?.take_snapshot();
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                Some(early)
            }
            Fault::SnapshotIsEmpty => Some(Services::new()),
            _ => None,
        };
        let mut source = self.inner.watch(options).await?;
        let snapshot = source.take_snapshot();
        if self.fault == Fault::WatchOfNothingFails && snapshot.is_empty() {
            return Err(Error::not_found("conformance", "any"));
        }
        let snapshot = early.unwrap_or(snapshot);
        let (publisher, watcher) = Watcher::channel(snapshot.clone());
        let number = {
            let mut state = self.state();
            state.stoppers.push(watcher.stopper());
            state.watches += 1;
            state.watches
        };
        let relay = Relay {
            fault: self.fault,
            source,
            publisher,
            snapshot,
            number,
            told: 0,
            registry: self.inner.clone(),
        };
        let state = self.stoppers();
        tokio::spawn(relay.run(state));
        Ok(watcher)
    }

    fn stoppers(&self) -> impl Fn() -> Vec<Stopper> + Send + Sync + 'static {
        let shared = self.shared();
        move || {
            let state = shared
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            state.stoppers.clone()
        }
    }
}

/// Passes on what a sound watch tells, with a fault.
struct Relay {
    fault: Fault,
    source: Watcher,
    publisher: Publisher,
    snapshot: Services,
    /// Which watch of the registry it is.
    number: usize,
    told: usize,
    registry: vine_registry::MemoryRegistry,
}

impl Relay {
    async fn run(mut self, stoppers: impl Fn() -> Vec<Stopper>) {
        loop {
            tokio::select! {
                event = self.source.next_event() => match event {
                    Some(event) => self.pass_on(event).await,
                    None => break,
                },
                () = self.publisher.stopped() => {
                    if self.fault == Fault::StoppingOneStopsAll {
                        stoppers().iter().for_each(Stopper::stop);
                    }
                    return;
                }
            }
        }
        if self.fault == Fault::CloseLeavesWatches {
            self.publisher.stopped().await;
        }
    }

    async fn pass_on(&mut self, mut event: Event) {
        self.told += 1;
        let service = &event.service;
        match self.fault {
            Fault::WatchesAreDeaf => return,
            Fault::OnlyOneWatcherHears if self.number > 1 => return,
            Fault::WatchesTire if self.told > 1_000 => return,
            Fault::LosesEveryTenthEvent if self.told.is_multiple_of(10) => return,
            Fault::LosesDeletes if event.action == Action::Delete => return,
            Fault::FieldChangesAreSilent if service.nodes.is_empty() => return,
            Fault::WatchOfAllMissesNewServices
                if !self.snapshot.iter().any(|known| known.name == service.name) =>
            {
                return;
            }
            Fault::UpdatesAreCreates if event.action == Action::Update => {
                event.action = Action::Create;
            }
            Fault::EventsHoldNoFields => {
                event.service = Arc::new(Service::clone(service).with_metadata([("", "")]));
            }
            Fault::EventsHoldAllNodes => {
                let options = GetOptions::new().with_namespace(Arc::clone(&service.namespace));
                let services = self
                    .registry
                    .get_service_with(&service.name, &options)
                    .await;
                if let Some(all) = services
                    .ok()
                    .and_then(|all| all.version(&service.version).cloned())
                {
                    event.service = all;
                }
            }
            Fault::TimestampsInMilliseconds => event.timestamp *= 1_000,
            Fault::CreatesBeforeDeletes if event.action == Action::Delete => {
                let next = timeout(Duration::from_millis(1), self.source.next_event()).await;
                if let Ok(Some(next)) = next {
                    self.publisher.publish(&next);
                }
            }
            _ => {}
        }
        self.publisher.publish(&event);
    }
}
