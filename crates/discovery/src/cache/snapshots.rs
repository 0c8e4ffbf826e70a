use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};
use tracing::warn;
use vine_registry::Services;

use super::{
    Entry,
    disk::{Disk, Saved},
};

/// Changes within this time are saved together.
const DELAY: Duration = Duration::from_secs(1);

/// What does not change is saved again after this time, so that its age is true.
const REFRESH: Duration = Duration::from_secs(300);

/// How long the registry may take to answer before what was saved is used.
const PATIENCE: Duration = Duration::from_millis(250);

/// Sees to it that what is known of one name is on disk, off the task that follows it.
#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<Disk>,
    next: Option<Instant>,
    /// What was saved was looked for.
    is_loaded: bool,
    writing: Option<JoinHandle<()>>,
}

impl Snapshots {
    pub(super) fn new(disk: &Arc<Disk>) -> Self {
        Self {
            disk: Arc::clone(disk),
            next: None,
            is_loaded: false,
            writing: None,
        }
    }

    pub(super) const fn patience(&self) -> Duration {
        PATIENCE
    }

    /// When to save, if at all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// There is something to save.
    pub(super) fn changed(&mut self) {
        let soon = Instant::now() + DELAY;
        self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
    }

    /// Saves, unless the last time is not over.
    pub(super) fn save(&mut self, entry: &Arc<Entry>, services: &Services) {
        if self
            .writing
            .as_ref()
            .is_some_and(|writing| !writing.is_finished())
        {
            self.next = Some(Instant::now() + DELAY);
            return;
        }
        self.next = Some(Instant::now() + REFRESH);
        let (disk, entry, services) = (Arc::clone(&self.disk), Arc::clone(entry), services.clone());
        self.writing = Some(spawn_blocking(move || {
            if let Err(error) = disk.save(&entry.namespace, &entry.name, &services) {
                let path = disk.path(&entry.namespace, &entry.name);
                warn!(name = %entry.name, path = %path.display(), %error, "can't save a snapshot");
            }
        }));
    }

    /// What an earlier process saved, if it can be read. Only the first time: nothing else will be there.
    pub(super) async fn load(&mut self, entry: &Arc<Entry>) -> Option<Saved> {
        if std::mem::replace(&mut self.is_loaded, true) {
            return None;
        }
        let (disk, entry) = (Arc::clone(&self.disk), Arc::clone(entry));
        let load = move || match disk.load(&entry.namespace, &entry.name) {
            Ok(saved) => saved,
            Err(error) => {
                let path = disk.path(&entry.namespace, &entry.name);
                warn!(name = %entry.name, path = %path.display(), %error, "ignoring a damaged snapshot");
                None
            }
        };
        spawn_blocking(load).await.ok().flatten()
    }
}
