use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::task::coop::consume_budget;

use crate::{
    Update,
    watch::{Change, News, Queue, push_status},
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

/// What reaches the dispatcher.
pub(super) enum Record {
    Change(Arc<Change>),
    Command(Box<Command>),
}

/// What reaches it between the changes.
pub(super) enum Command {
    Subscribe(Subscriber, Topic),
    Unsubscribe(u64, Topic),
    End(u64),
    Status(Update),
}

impl From<&Arc<Change>> for Record {
    fn from(change: &Arc<Change>) -> Self {
        Self::Change(Arc::clone(change))
    }
}

impl From<Command> for Record {
    fn from(command: Command) -> Self {
        Self::Command(Box::new(command))
    }
}

pub(super) struct Subscriber {
    id: u64,
    owner: u64,
    queue: Arc<Queue<News>>,
}

/// Hands changes out to watchers, off the path of whoever makes them.
pub(super) struct Dispatcher {
    log: Arc<Queue<Record>>,
    topics: HashMap<Topic, Vec<Subscriber>>,
}

impl Dispatcher {
    pub(super) fn new(log: Arc<Queue<Record>>) -> Self {
        Self {
            log,
            topics: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut reader = None;
        while let Some(item) = poll_fn(|cx| self.log.poll_pop(cx, &mut reader)).await {
            match item {
                Record::Change(change) => self.hand_out(&change),
                Record::Command(command) => self.obey(*command),
            }
            consume_budget().await;
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

    fn hand_out(&self, change: &Arc<Change>) {
        for namespace in [Some(&change.namespace), None] {
            for service in [Some(&change.name), None] {
                let topic = Topic::new(namespace.cloned(), service.cloned());
                for subscriber in self.topics.get(&topic).into_iter().flatten() {
                    subscriber.queue.push_change(change);
                }
            }
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
        self.subscribers()
            .for_each(|subscriber| subscriber.queue.close());
    }
}

/// Who watches what, for those who make changes.
#[derive(Debug, Default)]
pub(super) struct Interest {
    next: AtomicU64,
    /// How many watchers there are.
    all: AtomicUsize,
    counts: Mutex<HashMap<Topic, usize>>,
}

/// Ends with the watcher.
pub(super) struct Subscription {
    id: u64,
    topic: Topic,
    interest: Arc<Interest>,
    log: Arc<Queue<Record>>,
}

impl Interest {
    pub(super) fn subscribe(
        interest: &Arc<Self>,
        log: &Arc<Queue<Record>>,
        topic: Topic,
        owner: u64,
        queue: &Arc<Queue<News>>,
    ) -> Subscription {
        let id = interest.next.fetch_add(1, Ordering::Relaxed);
        interest.all.fetch_add(1, Ordering::Relaxed);
        *interest.counts().entry(topic.clone()).or_default() += 1;
        let subscriber = Subscriber {
            id,
            owner,
            queue: Arc::clone(queue),
        };
        log.push_control(Command::Subscribe(subscriber, topic.clone()).into());
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

    fn counts(&self) -> MutexGuard<'_, HashMap<Topic, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.interest.all.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.interest.counts();
        if let Some(count) = counts.get_mut(&self.topic) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.topic);
            }
        }
        drop(counts);
        let topic = std::mem::take(&mut self.topic);
        self.log
            .push_control(Command::Unsubscribe(self.id, topic).into());
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
