//! A watch with a deadline, that keeps count of what it has heard.

use futures_util::FutureExt;
use vine_registry::{Event, Fold, Registry, Services, WatchOptions, Watcher};

use crate::{
    Handle,
    expect::{PATIENCE, eventually, found, ids, shape, soon},
    samples::NAME,
};

/// A watch, and what it has told so far.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) watcher: Watcher,
    pub(crate) snapshot: Services,
    pub(crate) fold: Fold,
}

impl Listener {
    /// Watches [`NAME`].
    pub(crate) async fn new(registry: Handle<'_>) -> Self {
        Self::with(registry, WatchOptions::service(NAME)).await
    }

    /// Watches every service in the own namespace.
    pub(crate) async fn all(registry: Handle<'_>) -> Self {
        Self::with(registry, WatchOptions::new()).await
    }

    /// Watches what the options say.
    pub(crate) async fn with(registry: Handle<'_>, options: WatchOptions) -> Self {
        let what = format!("watch with {options:?}");
        let mut watcher = match soon(&what, Registry::watch(registry, options)).await {
            Ok(watcher) => watcher,
            Err(error) => panic!("{what} fails: {error}"),
        };
        let snapshot = watcher.take_snapshot();
        let fold = Fold::new(&snapshot);
        Self {
            watcher,
            snapshot,
            fold,
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        let event = soon("the next event of a watch", self.watcher.next_event()).await;
        let Some(event) = event else {
            panic!("Watcher::next gives none though nobody stopped the watch");
        };
        assert!(
            self.fold.apply(&event),
            "Watcher: every event changes what was told before; this one does not: {event:?}"
        );
        event
    }

    /// The next event, for instance `create v1: n1`.
    pub(crate) async fn next(&mut self) -> String {
        describe(&self.event().await)
    }

    /// Expects just these events, in this order.
    pub(crate) async fn hears(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected, "the next event of a watch");
        }
    }

    /// Takes in events until what was told of [`NAME`] has these versions and ids.
    pub(crate) async fn until(&mut self, registry: Handle<'_>, expected: &str) {
        let namespace = registry.options().namespace.clone();
        loop {
            let told = shape(&self.fold.service(&namespace, NAME));
            if told == expected {
                return;
            }
            let Ok(event) = tokio::time::timeout(PATIENCE, self.watcher.next_event()).await else {
                panic!("a watch told {told:?} and then nothing more; expected {expected:?}");
            };
            let event = event.expect("nobody stopped the watch");
            self.fold.apply(&event);
        }
    }

    /// Takes in events until what was told of a service is what a look-up gives.
    pub(crate) async fn agrees(&mut self, registry: Handle<'_>, name: &str) {
        let namespace = registry.options().namespace.clone();
        eventually(
            "snapshot and events of a watch are what get_service gives",
            || {
                while let Some(Some(event)) = self.watcher.next_event().now_or_never() {
                    self.fold.apply(&event);
                }
                let told = self.fold.service(&namespace, name);
                found(registry, name).map(move |found| {
                    if found == told {
                        return Ok(());
                    }
                    Err(format!("told {told:?}, found {found:?}"))
                })
            },
        )
        .await;
    }

    /// Expects that the watch has ended.
    pub(crate) async fn ends(&mut self) {
        let what = "Watcher::next gives none when the watch was stopped or the registry closed";
        soon(what, async { while self.watcher.next().await.is_some() {} }).await;
        assert!(self.watcher.next().await.is_none(), "{what}, and again");
    }
}

/// An event, for instance `update v1: n1`; `update v1:` when it names no node.
pub(crate) fn describe(event: &Event) -> String {
    let text = format!(
        "{} {}: {}",
        event.action,
        event.service.version,
        ids(&event.service.nodes)
    );
    text.trim_end().to_owned()
}
