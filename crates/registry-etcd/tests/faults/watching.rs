//! A watcher whose owner folds what it hears, and notes what must never be heard.

use tokio::{sync::watch, task::JoinHandle};
use vine_registry::{Fold, Update, Watcher};

use crate::truth::Holding;

/// What a watcher has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) fold: Fold,
    pub(crate) stale: bool,
    /// How often it said stale.
    pub(crate) outages: usize,
    pub(crate) events: usize,
    /// What it should not have said.
    pub(crate) wrong: Vec<String>,
}

/// A watcher, and the task that listens to it.
pub(crate) struct Watching {
    /// The one service that it watches; else all.
    pub(crate) service: Option<String>,
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn start(mut watcher: Watcher, service: Option<String>) -> Self {
        let first = Heard {
            fold: Fold::new(&watcher.take_snapshot()),
            ..Heard::default()
        };
        let (say, heard) = watch::channel(first);
        let task = tokio::spawn(async move {
            while let Some(update) = watcher.next().await {
                say.send_modify(|heard| heard.take(update));
            }
        });
        Self {
            service,
            heard,
            task,
        }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    pub(crate) fn holding(&self) -> Holding {
        let services = self.heard.borrow().fold.services();
        Holding::of(&services, self.service.as_deref())
    }

    /// Waits until what it has told is as wanted.
    pub(crate) async fn until(&self, wanted: fn(&Heard) -> bool) {
        let mut heard = self.heard.clone();
        // It fails when the watch has ended.
        heard.wait_for(wanted).await.expect("the watch goes on");
    }

    /// Waits until its watcher has said that there will be no more.
    pub(crate) async fn ended(self) {
        self.task.await.expect("the listener does not fail");
    }
}

impl Heard {
    fn take(&mut self, update: Update) {
        match update {
            Update::Event(event) => {
                self.events += 1;
                if !self.fold.apply(&event) {
                    self.wrong
                        .push(format!("an event that changes nothing: {event:?}"));
                }
            }
            Update::Stale(error) => {
                self.outages += 1;
                if std::mem::replace(&mut self.stale, true) {
                    self.wrong.push(format!("stale twice: {error}"));
                }
            }
            Update::Live => {
                if !std::mem::replace(&mut self.stale, false) {
                    self.wrong.push("live without stale".to_owned());
                }
            }
            other => self.wrong.push(format!("{other:?}")),
        }
    }
}
