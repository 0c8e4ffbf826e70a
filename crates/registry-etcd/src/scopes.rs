//! What is watched: one part of the registry each, for all its watchers.

mod scope;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use vine_registry::{
    Error, Result, Watcher,
    view::{Reader, Topic},
};

use self::scope::Scope;
use crate::{
    NAME,
    catalog::Catalog,
    client::{Client, Failure},
    keys::Keys,
};

/// How long a view that was proven to be true may be read instead of the cluster.
const PROVEN: Duration = Duration::from_secs(5);

/// How many scopes may end just as somebody subscribes to them. One that nobody watches any more
/// does; all do whose runtime is shutting down.
const MOST_ENDED: usize = 4;

/// The scopes of one handle.
pub(crate) struct Scopes {
    client: Arc<Client>,
    keys: Keys,
    namespace: Arc<str>,
    timeout: Duration,
    running: Mutex<HashMap<Topic, Running>>,
    closed: AtomicBool,
}

struct Running {
    subscribe: mpsc::UnboundedSender<Subscribe>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Asks for a watcher.
struct Subscribe {
    topic: Topic,
    /// Whether one of before an outage will do.
    allow_stale: bool,
    reply: oneshot::Sender<Result<Watcher>>,
}

/// What is known of a scope from outside.
struct Shared {
    reader: Reader,
    proof: Mutex<Proof>,
}

#[derive(Default)]
struct Proof {
    /// The last revision that is in the view as a whole.
    mark: i64,
    /// When the view was last known to be true.
    at: Option<Instant>,
    /// Why not, if not.
    error: Option<Error>,
}

impl Shared {
    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scopes {
    pub(crate) fn new(
        client: Arc<Client>,
        keys: Keys,
        namespace: Arc<str>,
        timeout: Duration,
    ) -> Self {
        Self {
            client,
            keys,
            namespace,
            timeout,
            running: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Watches a topic.
    pub(crate) async fn watch(&self, topic: Topic, allow_stale: bool) -> Result<Watcher> {
        let deadline = Instant::now() + self.timeout;
        for _ in 0..MOST_ENDED {
            let (reply, answer) = oneshot::channel();
            let shared = self.subscribe(Subscribe {
                topic: topic.clone(),
                allow_stale,
                reply,
            })?;
            match timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => return answer,
                // The scope ended before it heard of this one.
                Ok(Err(_)) => {}
                Err(_) => {
                    let known = shared.proof().error.clone();
                    return Err(known.unwrap_or_else(|| Failure::Silent(self.timeout).into()));
                }
            }
        }
        Err(Error::unavailable(NAME, "the watch ended as it began"))
    }

    /// What is known of a topic, if it is true now: a view that covers it, is proven, and holds what
    /// was written from here up to `written`.
    pub(crate) fn proven(&self, topic: &Topic, written: i64) -> Option<Reader> {
        let running = self.running();
        if running.is_empty() {
            return None;
        }
        let candidates = covering(topic);
        let proven = candidates
            .iter()
            .filter_map(|topic| running.get(topic))
            .find(|running| {
                let proof = running.shared.proof();
                proof.mark >= written && proof.at.is_some_and(|at| at.elapsed() < PROVEN)
            });
        proven.map(|running| running.shared.reader.clone())
    }

    /// What was last known of a topic, true or not.
    pub(crate) fn known(&self, topic: &Topic) -> Option<Reader> {
        let running = self.running();
        let known = covering(topic).iter().find_map(|topic| {
            running
                .get(topic)
                .filter(|running| running.shared.proof().mark > 0)
        });
        known.map(|running| running.shared.reader.clone())
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        let mut running = self.running();
        self.closed.store(true, Ordering::Relaxed);
        running
            .drain()
            .for_each(|(_, running)| running.task.abort());
    }

    fn subscribe(&self, subscribe: Subscribe) -> Result<Arc<Shared>> {
        let topic = subscribe.topic.clone();
        let mut running = self.running();
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let subscribe = match running.get(&topic) {
            Some(known) => match known.subscribe.send(subscribe) {
                Ok(()) => return Ok(Arc::clone(&known.shared)),
                Err(mpsc::error::SendError(subscribe)) => subscribe,
            },
            None => subscribe,
        };
        // Scopes end by themselves when nobody watches.
        running.retain(|_, running| !running.task.is_finished());
        let runtime = Handle::try_current().map_err(|_| {
            Error::unavailable(NAME, "there is no tokio runtime; call it from within one")
        })?;
        let catalog = Catalog::new(self.keys, Arc::clone(&self.namespace));
        let shared = Arc::new(Shared {
            reader: catalog.view.reader(),
            proof: Mutex::default(),
        });
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(subscribe);
        let prefix = self.keys.prefix(&topic);
        let scope = Scope::new(
            Arc::clone(&self.client),
            prefix,
            catalog,
            Arc::clone(&shared),
            receiver,
            self.timeout,
        );
        let task = runtime.spawn(scope.run(topic.clone()));
        running.insert(
            topic,
            Running {
                subscribe: sender,
                shared: Arc::clone(&shared),
                task,
            },
        );
        Ok(shared)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Topic, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scopes {
    fn drop(&mut self) {
        self.close();
    }
}

/// The topics whose scopes know all of this one.
fn covering(topic: &Topic) -> Vec<Topic> {
    let mut all = vec![topic.clone()];
    if topic.service.is_some() {
        all.push(Topic::new(topic.namespace.clone(), None));
    }
    if topic.namespace.is_some() {
        all.push(Topic::default());
    }
    all
}

#[cfg(test)]
mod tests {
    use vine_registry::Options;

    use super::*;
    use crate::Layout;

    #[tokio::test]
    async fn a_scope_that_ends_takes_no_subscriber_with_it() {
        let options = Options::new().with_addrs(["127.0.0.1:1"]);
        let client = Arc::new(Client::new(&options).unwrap());
        let scopes = Scopes::new(client, Keys(Layout::Vine), "vine".into(), options.timeout);
        let topic = Topic::service("vine", "a");
        let (subscribe, mut incoming) = mpsc::unbounded_channel::<Subscribe>();
        let catalog = Catalog::new(Keys(Layout::Vine), "vine".into());
        let ending = Running {
            subscribe,
            shared: Arc::new(Shared {
                reader: catalog.view.reader(),
                proof: Mutex::default(),
            }),
            task: tokio::spawn(async move {
                let subscribe = incoming.recv().await;
                drop((incoming, subscribe));
            }),
        };
        scopes.running().insert(topic.clone(), ending);
        let watched = scopes.watch(topic.clone(), false).await;
        assert!(
            matches!(watched, Err(Error::Unavailable { .. })),
            "another scope has asked: {watched:?}"
        );
        scopes.close();
        let watched = scopes.watch(topic, false).await;
        assert!(matches!(watched, Err(Error::Closed)), "{watched:?}");
    }
}
