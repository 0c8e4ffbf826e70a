use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    mem::take,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use smallvec::SmallVec;
use tokio::task::coop::consume_budget;

use super::{
    log::{Log, Record},
    reader::Key,
};
use crate::{
    Update,
    telemetry::{Level, Stage, Telemetry, WATCHERS},
    watch::{Backlog, Change, Next, Queue, push_status},
};

/// What a watcher is interested in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Topic {
    /// One namespace, or all of them.
    pub namespace: Option<Arc<str>>,
    /// One service, or all of them.
    pub service: Option<Arc<str>>,
}

impl Topic {
    /// Services of one namespace or of all, of one name or of all.
    #[must_use]
    pub fn new(namespace: Option<Arc<str>>, service: Option<Arc<str>>) -> Self {
        Self { namespace, service }
    }

    /// One service.
    #[must_use]
    pub fn service(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self::new(Some(namespace.into()), Some(name.into()))
    }

    /// Whether this service belongs to it.
    #[must_use]
    pub fn covers(&self, namespace: &str, name: &str) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|own| **own == *namespace)
            && self.service.as_ref().is_none_or(|own| **own == *name)
    }
}

/// What reaches the dispatcher between the changes.
pub(super) enum Command {
    Subscribe(Subscriber, Topic),
    Unsubscribe(u64, Topic),
    End(u64),
    Status(Update),
}

/// For each topic, who watches it.
type Audience<'a> = SmallVec<[&'a Vec<Subscriber>; 4]>;

pub(super) struct Subscriber {
    id: u64,
    owner: u64,
    queue: Arc<Queue>,
}

/// Hands changes out to watchers, off the path of whoever makes them.
pub(super) struct Dispatcher {
    log: Arc<Log>,
    batch: Backlog<Record>,
    topics: HashMap<Topic, Vec<Subscriber>>,
    telemetry: Telemetry,
}

impl Dispatcher {
    pub(super) fn new(log: Arc<Log>, telemetry: Telemetry) -> Self {
        Self {
            log,
            batch: Backlog::new(),
            topics: HashMap::new(),
            telemetry,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(lag) = poll_fn(|cx| self.log.poll_take(cx, &mut self.batch)).await {
            self.telemetry.watch_lag(Stage::Dispatch, lag);
            while let Some(next) = self.batch.pop() {
                let Some(record) = next.into_item() else {
                    continue;
                };
                match record {
                    Record::Edited(edited) => {
                        let Key { namespace, name } = &edited.slot.key;
                        let audience = self.audience(namespace, name);
                        if !audience.is_empty() {
                            self.hand_out(&audience, edited.into_change());
                        }
                    }
                    Record::Change(change) => {
                        let audience = self.audience(&change.namespace, &change.name);
                        self.hand_out(&audience, change);
                    }
                    Record::Command(command) => self.obey(*command),
                }
                consume_budget().await;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe(subscriber, topic) => {
                self.topics.entry(topic).or_default().push(subscriber);
            }
            Command::Unsubscribe(id, topic) => self.remove(id, &topic),
            Command::End(owner) => {
                let of_owner = self
                    .subscribers()
                    .filter(|subscriber| subscriber.owner == owner);
                of_owner.for_each(|subscriber| subscriber.queue.close());
            }
            Command::Status(status) => {
                self.subscribers()
                    .for_each(|subscriber| push_status(&subscriber.queue, status.clone()));
            }
        }
    }

    /// Who hears of this service.
    fn audience(&self, namespace: &Arc<str>, name: &Arc<str>) -> Audience<'_> {
        let mut audience = Audience::new();
        for namespace in [Some(namespace), None] {
            for service in [Some(name), None] {
                let topic = Topic::new(namespace.cloned(), service.cloned());
                audience.extend(self.topics.get(&topic));
            }
        }
        audience
    }

    fn hand_out(&self, audience: &Audience<'_>, change: Change) {
        let change = Arc::new(change);
        let mut late = 0;
        for subscriber in audience.iter().copied().flatten() {
            late += u64::from(subscriber.queue.push_change(&change));
        }
        if late > 0 {
            self.telemetry.coalesced(late);
        }
    }

    fn remove(&mut self, id: u64, topic: &Topic) {
        let Some(subscribers) = self.topics.get_mut(topic) else {
            return;
        };
        if let Some(at) = subscribers
            .iter()
            .position(|subscriber| subscriber.id == id)
        {
            subscribers.swap_remove(at);
        }
        if subscribers.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.topics.values().flatten()
    }
}

impl Drop for Dispatcher {
    /// The view is gone, or the runtime: either way nobody says anything more.
    fn drop(&mut self) {
        while let Some(next) = self.batch.pop() {
            if let Next::Item(Record::Command(command)) = next
                && let Command::Subscribe(subscriber, _) = *command
            {
                subscriber.queue.close();
            }
        }
        self.subscribers()
            .for_each(|subscriber| subscriber.queue.close());
    }
}

/// Who watches what, for those who make changes.
#[derive(Debug)]
pub(super) struct Interest {
    next: AtomicU64,
    /// How many watchers there are. Set under the lock.
    all: AtomicUsize,
    counts: Mutex<HashMap<Topic, usize>>,
    level: Level,
}

/// Ends with the watcher.
pub(super) struct Subscription {
    id: u64,
    topic: Topic,
    interest: Arc<Interest>,
    log: Arc<Log>,
}

impl Interest {
    pub(super) fn new(telemetry: Telemetry) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(0),
            all: AtomicUsize::new(0),
            counts: Mutex::default(),
            level: telemetry.level(WATCHERS),
        })
    }

    pub(super) fn subscribe(
        interest: &Arc<Self>,
        log: &Arc<Log>,
        topic: Topic,
        owner: u64,
        queue: &Arc<Queue>,
    ) -> Subscription {
        let id = interest.next.fetch_add(1, Ordering::Relaxed);
        let mut counts = interest.counts();
        *counts.entry(topic.clone()).or_default() += 1;
        interest.count_all(|all| all + 1);
        drop(counts);
        let subscriber = Subscriber {
            id,
            owner,
            queue: Arc::clone(queue),
        };
        log.push_command(Command::Subscribe(subscriber, topic.clone()));
        Subscription {
            id,
            topic,
            interest: Arc::clone(interest),
            log: Arc::clone(log),
        }
    }

    pub(super) fn count(&self, topic: &Topic) -> usize {
        self.counts().get(topic).copied().unwrap_or_default()
    }

    /// Whether any change is of interest to anybody.
    pub(super) fn any(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0
    }

    /// Under the lock.
    fn count_all(&self, change: impl FnOnce(usize) -> usize) {
        let all = change(self.all.load(Ordering::Relaxed));
        self.all.store(all, Ordering::Relaxed);
        self.level.set(all);
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Topic, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut counts = self.interest.counts();
        if let Some(count) = counts.get_mut(&self.topic) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.topic);
            }
        }
        self.interest.count_all(|all| all - 1);
        drop(counts);
        let topic = take(&mut self.topic);
        self.log.push_command(Command::Unsubscribe(self.id, topic));
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
