//! The names of services that URLs held. Those that calls brought are let go when nobody uses them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::{task::JoinHandle, time::sleep};

use super::Host;

/// How often within the idle time is looked whether anybody used a name.
const LOOKS: usize = 4;

#[derive(Debug)]
pub(super) struct Names {
    known: ArcSwap<Known>,
    /// Counts the names learned and the looks at them. Each name knows when it was used last by this,
    /// so that a call need not ask for the time.
    era: AtomicU64,
    writing: Mutex<Writing>,
    idle: Duration,
    max: usize,
}

type Known = HashMap<Arc<str>, Arc<Host>, RandomState>;

#[derive(Debug, Default)]
struct Writing {
    /// Those that it is not known of yet whether they are a service's: held by the calls that wait.
    learning: HashMap<Arc<str>, Weak<Host>>,
    sweeper: Option<JoinHandle<()>>,
}

impl Names {
    /// So many names are kept, each until it was not used for so long.
    pub(super) fn new(idle: Duration, max: usize) -> Self {
        Self {
            known: ArcSwap::default(),
            era: AtomicU64::new(0),
            writing: Mutex::default(),
            idle,
            max: max.max(1),
        }
    }

    /// The service of a name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Host>> {
        let known = self.known.load();
        let host = known.get(name)?;
        host.touch(self.era.load(Ordering::Relaxed));
        Some(Arc::clone(host))
    }

    /// Keeps a name for good.
    pub(super) fn pin(&self, name: Arc<str>, host: Arc<Host>) {
        let _writing = self.lock();
        let mut known = HashMap::clone(&self.known.load());
        known.insert(name, host);
        self.known.store(Arc::new(known));
    }

    /// The service of a name that is being learned, the same for all calls that wait for that.
    pub(super) fn learn(&self, name: &str, make: impl FnOnce() -> Arc<Host>) -> Arc<Host> {
        let mut writing = self.lock();
        if let Some(host) = self.get(name) {
            return host;
        }
        let learning = &mut writing.learning;
        if let Some(host) = learning.get(name).and_then(Weak::upgrade) {
            return host;
        }
        learning.retain(|_, host| host.strong_count() > 0);
        let host = make();
        learning.insert(name.into(), Arc::downgrade(&host));
        host
    }

    /// Keeps a name that was learned: it is a service's.
    pub(super) fn keep(self: &Arc<Self>, name: &str, host: &Arc<Host>) {
        let mut writing = self.lock();
        writing.learning.remove(name);
        let known = self.known.load_full();
        if known.contains_key(name) {
            return;
        }
        // What is used from here on is used later than this.
        host.touch(self.era.fetch_add(2, Ordering::Relaxed) + 1);
        let mut known = HashMap::clone(&known);
        while known.values().filter(|host| host.is_learned()).count() >= self.max {
            let learned = known.iter().filter(|(_, host)| host.is_learned());
            let oldest = learned
                .min_by_key(|(_, host)| host.used())
                .map(|(name, _)| Arc::clone(name));
            oldest.and_then(|name| known.remove(&name));
        }
        known.insert(name.into(), Arc::clone(host));
        self.known.store(Arc::new(known));
        // Also if the runtime that did it is gone.
        if writing.sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let look = (self.idle / LOOKS as u32).max(Duration::from_millis(1));
            writing.sweeper = Some(tokio::spawn(sweep(Arc::downgrade(self), look)));
        }
    }

    /// Lets the names go that were used before an era alone, and by no call that is under way.
    fn let_go(&self, since: u64) {
        let _writing = self.lock();
        let known = self.known.load_full();
        let now = self.era.load(Ordering::Relaxed);
        let mut gone = Vec::new();
        for (name, host) in &*known {
            if !host.is_learned() || host.used() >= since {
                continue;
            }
            // Besides the map, calls hold it.
            if Arc::strong_count(host) > 1 {
                host.touch(now);
            } else {
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            let mut left = HashMap::clone(&known);
            for name in gone {
                left.remove(name);
            }
            self.known.store(Arc::new(left));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(names: Weak<Names>, look: Duration) {
    let mut looks = VecDeque::with_capacity(LOOKS + 1);
    loop {
        sleep(look).await;
        let Some(names) = names.upgrade() else { return };
        looks.push_back(names.era.fetch_add(1, Ordering::Relaxed) + 1);
        if looks.len() > LOOKS
            && let Some(since) = looks.pop_front()
        {
            names.let_go(since);
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let writing = self.writing.get_mut();
        let writing = writing.unwrap_or_else(PoisonError::into_inner);
        if let Some(sweeper) = &writing.sweeper {
            sweeper.abort();
        }
    }
}
