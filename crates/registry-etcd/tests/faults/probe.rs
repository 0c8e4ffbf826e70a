//! Whether registrations said the truth about themselves, all the time.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use vine_etcd_harness::{
    Client, prefix_end,
    proto::{RangeRequest, RangeResponse},
};
use vine_registry::Observer;

use crate::truth::PREFIX;

/// How often to look.
const PERIOD: Duration = Duration::from_millis(100);
/// A member that takes longer can't be asked for the truth just now.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks again and again at what registrations say and at what the cluster holds.
pub(crate) struct Probe {
    longest: Arc<Mutex<Longest>>,
    task: JoinHandle<()>,
}

/// For how long at a stretch, or at how many looks, a registration was wrong about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Longest {
    /// It said that it was registered, and nobody could find it.
    pub(crate) claimed: Duration,
    /// At how many looks in a row it was there for all to find, and said that it was not, after the
    /// cluster had returned; before, it can't know.
    denied: Option<usize>,
    /// How often the truth was known.
    pub(crate) looks: usize,
}

struct Watched {
    key_end: String,
    observer: Observer,
    /// For how long it has claimed so by now.
    claims: Option<Duration>,
    denials: usize,
}

impl Probe {
    /// Of registrations, each with the end of its key.
    pub(crate) fn start(
        clients: Vec<Client>,
        registrations: impl IntoIterator<Item = (String, Observer)>,
    ) -> Self {
        let mut watched: Vec<_> = registrations
            .into_iter()
            .map(|(key_end, observer)| Watched {
                key_end,
                observer,
                claims: None,
                denials: 0,
            })
            .collect();
        let longest = Arc::new(Mutex::new(Longest::default()));
        let shared = Arc::clone(&longest);
        let task = tokio::spawn(async move {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = Instant::now();
            loop {
                ticks.tick().await;
                let keys = keys(&clients).await;
                let now = Instant::now();
                let passed = (now - mem::replace(&mut last, now)).min(PERIOD + PATIENCE);
                let mut longest = shared.lock().expect("nobody panicked");
                longest.looks += usize::from(keys.is_some());
                for one in &mut watched {
                    one.look(keys.as_ref(), passed, &mut longest);
                }
            }
        });
        Self { longest, task }
    }

    /// From now on a registration that is there has to say so.
    pub(crate) fn returned(&self) {
        self.longest.lock().expect("nobody panicked").denied = Some(0);
    }

    /// From now on it may not know again; gives at how many looks in a row it denied itself.
    pub(crate) fn settled(&self) -> usize {
        let denied = self.longest.lock().expect("nobody panicked").denied.take();
        denied.unwrap_or_default()
    }

    /// What was worst so far.
    pub(crate) fn longest(&self) -> Longest {
        self.longest.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// A look is later than that only if this process stood still, and its registrations with it.
    fn look(&mut self, keys: Option<&HashSet<String>>, passed: Duration, longest: &mut Longest) {
        let Some(keys) = keys else {
            self.claims = None;
            return;
        };
        let says = self.observer.state().is_registered();
        let is = keys.contains(&self.key_end);
        let before = self.claims.map(|before| before + passed);
        self.claims = (says && !is).then(|| before.unwrap_or_default());
        longest.claimed = longest.claimed.max(self.claims.unwrap_or_default());
        let counts = is && !says && longest.denied.is_some();
        self.denials = if counts { self.denials + 1 } else { 0 };
        longest.denied = longest.denied.map(|most| most.max(self.denials));
    }
}

/// The ends of the keys in the cluster, from the first member that answers.
async fn keys(clients: &[Client]) -> Option<HashSet<String>> {
    for client in clients {
        let request = RangeRequest {
            key: PREFIX.into(),
            range_end: prefix_end(PREFIX),
            keys_only: true,
            ..RangeRequest::default()
        };
        let request = async { client.kv().range(client.request(request).await).await };
        if let Ok(Ok(response)) = timeout(PATIENCE, request).await {
            let RangeResponse { kvs, .. } = response.into_inner();
            let end = |key: &[u8]| String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
            return Some(kvs.iter().map(|kv| end(&kv.key)).collect());
        }
    }
    None
}
