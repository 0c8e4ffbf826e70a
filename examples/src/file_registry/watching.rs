//! Watches: when the file has changed, each gets it whole, and its publisher finds out what is
//! different.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};
use vine::{Error, Namespaces, Publisher, Result, Service, Watcher};

use super::{
    blocking,
    store::{Contents, ORPHANED, Store},
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a watch, a look-up or a listing is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    namespace: Option<Arc<str>>,
    name: Option<Arc<str>>,
}

/// The watches of one handle, and the task that serves them and keeps its registrations.
#[derive(Debug)]
pub(super) struct Watches {
    store: Arc<Store>,
    owner: String,
    state: Mutex<State>,
    attended: AtomicBool,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<(Scope, Publisher)>,
    /// What the file said when it was published last; none if a watch has begun since.
    published: Option<String>,
    /// When something in it ends.
    ends: Option<Instant>,
}

impl Scope {
    pub(super) fn new(namespaces: &Namespaces, own: &Arc<str>, name: Option<Arc<str>>) -> Self {
        let namespace = namespaces.resolve(own).cloned();
        Self { namespace, name }
    }

    pub(super) fn one(namespace: Arc<str>, name: &str) -> Self {
        Self {
            namespace: Some(namespace),
            name: Some(name.into()),
        }
    }

    pub(super) fn has(&self, service: &Service) -> bool {
        let is =
            |wanted: &Option<Arc<str>>, got| wanted.as_ref().is_none_or(|wanted| wanted == got);
        is(&self.namespace, &service.namespace) && is(&self.name, &service.name)
    }
}

impl Watches {
    pub(super) fn new(store: Arc<Store>, owner: String) -> Arc<Self> {
        Arc::new(Self {
            store,
            owner,
            state: Mutex::default(),
            attended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn begin(&self, scope: Scope) -> Result<Watcher> {
        // Locked while the file is read, so that nobody publishes an older state afterwards.
        let mut state = self.lock();
        self.check_open()?;
        let snapshot = self.store.load()?.services(|service| scope.has(service));
        let (publisher, watcher) = Watcher::channel(snapshot);
        state.open.push((scope, publisher));
        state.published = None;
        Ok(watcher)
    }

    pub(super) fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Ends every watch: that is what dropping its publisher means.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.lock().open.clear();
    }

    /// Starts the task, if it does not run yet. It ends with the handle.
    pub(super) fn attend(self: &Arc<Self>) {
        if self.attended.swap(true, Ordering::AcqRel) {
            return;
        }
        let watches = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut renewed = Instant::now();
            loop {
                looks.tick().await;
                let Some(watches) = watches
                    .upgrade()
                    .filter(|watches| watches.check_open().is_ok())
                else {
                    return;
                };
                let renew = renewed.elapsed() > ORPHANED / 3;
                if renew {
                    renewed = Instant::now();
                }
                let looked = blocking(move || watches.look(renew)).await;
                if let Err(error) = looked {
                    tracing::debug!(%error, "can't look after the registrations in the file");
                }
            }
        });
    }

    /// Publishes what the file says, if that is something else than before.
    fn look(&self, renew: bool) -> Result<()> {
        if renew {
            self.store.change(|contents| {
                contents.renew(&self.owner);
                Ok(())
            })?;
        }
        let mut state = self.lock();
        state.open.retain(|(_, publisher)| !publisher.is_stopped());
        if state.open.is_empty() {
            return Ok(());
        }
        let read = self.store.text().and_then(|text| {
            let ended = state.ends.is_some_and(|ends| ends <= Instant::now());
            let news = ended || state.published.as_ref() != Some(&text);
            let contents = if news {
                Some(Contents::parse(&text)?)
            } else {
                None
            };
            Ok((text, contents))
        });
        match read {
            Ok((text, Some(contents))) => {
                state.published = Some(text);
                state.ends = contents.next_end().map(|left| Instant::now() + left);
                for (scope, publisher) in &mut state.open {
                    publisher.live();
                    publisher.resync(&contents.services(|service| scope.has(service)));
                }
            }
            Ok((_, None)) => {}
            Err(error) => {
                state.published = None;
                for (_, publisher) in &mut state.open {
                    publisher.stale(error.clone());
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
