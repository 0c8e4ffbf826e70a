//! What this handle registered: brought about, kept alive and put right, whatever happens.

mod batch;
mod keeper;
mod lease;
mod life;
mod renewal;
mod request;
mod sentry;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::warn;
use vine_registry::{DeregisterOptions, Error, Options, Result, Service, next_epoch, view::Topic};

use self::life::Life;
use self::state::{Call, Farewell, Occupant, State, Written};
use crate::{EtcdOptions, NAME, client::Client, keys::Keys, listing, options::MIN_LEASE, value};

/// How long a call waits for registrations that were there before and are being put back.
const RESTORING: Duration = Duration::from_millis(500);

/// How long a handle that was dropped has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a handle that is closed takes at most to say that it ends on purpose.
const FAREWELL: Duration = Duration::from_secs(1);

/// The registrations of one handle.
pub(crate) struct Own {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    life: Life,
    /// How closing went, once it has begun.
    ending: Mutex<Option<watch::Receiver<Option<Result<()>>>>>,
}

/// What the tasks share.
struct Shared {
    client: Arc<Client>,
    keys: Keys,
    /// That of services which name none.
    namespace: Arc<str>,
    timeout: Duration,
    lease_ttl: Duration,
    state: Mutex<State>,
    /// There is something for the keeper.
    wake: Notify,
    /// There is another lease to renew.
    renew: Notify,
    /// There are other keys to watch.
    watch: Notify,
}

impl Shared {
    /// How long one request may be tried: a little less than a call, which then learns why.
    fn attempt(&self) -> Duration {
        self.timeout.mul_f64(0.9)
    }

    /// Every change is whole before anything can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    pub(crate) fn new(
        client: Arc<Client>,
        keys: Keys,
        options: &Options,
        etcd: &EtcdOptions,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                keys,
                namespace: Arc::clone(&options.namespace),
                timeout: options.timeout,
                lease_ttl: etcd.lease_ttl,
                state: Mutex::new(State::new()),
                wake: Notify::new(),
                renew: Notify::new(),
                watch: Notify::new(),
            }),
            tasks: Mutex::default(),
            life: Life::default(),
            ending: Mutex::default(),
        }
    }

    /// Answers a call that says nothing new; none if it does.
    pub(crate) fn repeat(
        &self,
        namespace: &str,
        service: &Arc<Service>,
        ttl: Option<Duration>,
    ) -> Option<Result<()>> {
        if !self.life.goes_on() {
            return None;
        }
        self.shared
            .state()
            .repeat(namespace, service, ttl, Instant::now())
    }

    pub(crate) async fn register(
        &self,
        namespace: Arc<str>,
        service: Arc<Service>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let shared = &*self.shared;
        let epoch = next_epoch();
        let mut source = Service::clone(&service).with_namespace(Arc::clone(&namespace));
        source.ttl = ttl;
        let nodes = service.nodes.iter().map(|node| {
            let value = value::encode(&source, node, epoch, epoch)?;
            Ok(Written {
                node: Arc::clone(node),
                key: shared.keys.node(&namespace, &service.name, &node.id).into(),
                value: value.into(),
            })
        });
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        source = source.with_nodes(Vec::<Arc<vine_registry::Node>>::new());
        self.run()?;
        let call = Call {
            source: Arc::new(source),
            namespace: Arc::clone(&namespace),
            ttl,
            nodes,
            epoch,
            seconds: seconds(ttl.unwrap_or(shared.lease_ttl)),
            service: Arc::clone(&service),
        };
        let (restoring, batch) = {
            let mut state = shared.state();
            if state.entries.is_empty() && state.leases.is_empty() {
                state.era = shared.client.era();
            }
            let restoring = state.is_restoring(&namespace, &service);
            (restoring, state.register(call, Instant::now())?)
        };
        shared.wake.notify_one();
        if restoring {
            return match batch.wait("register", RESTORING).await {
                Err(Error::Timeout { .. }) => Err(Error::unavailable(
                    NAME,
                    "the service is being registered again",
                )),
                other => other,
            };
        }
        batch.wait("register", shared.timeout).await
    }

    pub(crate) async fn deregister(
        &self,
        namespace: &Arc<str>,
        service: &Service,
        options: &DeregisterOptions,
    ) -> Result<()> {
        let shared = &*self.shared;
        let (_, unknown) = shared.state().held(namespace, service);
        let others = self
            .others(namespace, service, &unknown, options.force)
            .await?;
        let (any, batch) = {
            let mut state = shared.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let (held, _) = state.held(namespace, service);
            (!held.is_empty(), state.deregister(&held, Instant::now()))
        };
        if any {
            self.run()?;
            shared.wake.notify_one();
        }
        for (key, occupant) in others {
            request::remove(&shared.client, key, occupant, shared.timeout).await?;
        }
        batch.wait("deregister", shared.timeout).await
    }

    /// The keys of nodes that somebody else registered and that are to be removed by force.
    async fn others(
        &self,
        namespace: &Arc<str>,
        service: &Service,
        unknown: &[Arc<str>],
        force: bool,
    ) -> Result<Vec<(Bytes, Occupant)>> {
        let shared = &*self.shared;
        let keys: Vec<Bytes> = if service.nodes.is_empty() && force {
            let prefix = shared.keys.prefix(&Topic::service(
                Arc::clone(namespace),
                Arc::clone(&service.name),
            ));
            let listing = listing::list(&shared.client, &prefix, shared.timeout).await?;
            listing.kvs.into_iter().map(|kv| kv.key).collect()
        } else {
            let key = |id: &Arc<str>| shared.keys.node(namespace, &service.name, id).into();
            unknown.iter().map(key).collect()
        };
        let occupants = request::occupants(
            &shared.client,
            shared.keys,
            &shared.namespace,
            &keys,
            shared.timeout,
        )
        .await?;
        let mut others = Vec::new();
        for (key, occupant) in keys.into_iter().zip(occupants) {
            let Some(occupant) = occupant else { continue };
            let Some(node) = &occupant.node else {
                continue;
            };
            let meant = node.service == service.name
                && node.namespace == *namespace
                && occupant.version == service.version;
            let state = shared.state();
            let own = state.own_leases.contains(&occupant.lease);
            if !meant || own && state.by_key(&key).is_some() {
                continue;
            }
            drop(state);
            if !force && !own {
                return Err(Error::NotOwner {
                    name: Arc::clone(&service.name),
                    id: Arc::clone(&node.id),
                });
            }
            others.push((key, occupant));
        }
        Ok(others)
    }

    /// The last revision in which this handle changed a service.
    pub(crate) fn written(&self, namespace: &Arc<str>, name: &Arc<str>) -> i64 {
        self.shared.state().written(namespace, name)
    }

    /// Ends everything, and hangs up: with its lease, what was registered is gone at once.
    ///
    /// # Cancel safety
    /// It goes on without its caller; a second one waits for the same.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut ending = self.ending()?;
        let ended = ending.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|ended| ended.clone());
        ended.unwrap_or_else(|| Err(may_be_seen("the tokio runtime has ended")))
    }

    /// Begins to end everything, unless that has begun; gives where to hear of it.
    fn ending(&self) -> Result<watch::Receiver<Option<Result<()>>>> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = &*ending {
            return Ok(ending.clone());
        }
        let runtime = match runtime() {
            Err(error) if !self.shared.state().leases.is_empty() => return Err(error),
            runtime => runtime.ok(),
        };
        let (leases, farewells) = self.end();
        let (say, ended) = watch::channel(None);
        let shared = Arc::clone(&self.shared);
        let end = async move {
            let result = farewell(&shared, leases, farewells).await;
            shared.client.close();
            say.send_replace(Some(result));
        };
        match runtime {
            Some(runtime) => drop(runtime.spawn(end)),
            // Nothing was ever asked of the cluster.
            None => drop(end.now_or_never()),
        }
        *ending = Some(ended.clone());
        Ok(ended)
    }

    /// Stops the tasks; gives the leases that are left, and what to say at their keys before.
    fn end(&self) -> (Vec<i64>, Vec<Farewell>) {
        let mut state = self.shared.state();
        let farewells = state.close();
        let leases = std::mem::take(&mut state.leases);
        let ended = std::mem::take(&mut state.ended);
        drop(state);
        ended.iter().for_each(|batch| batch.wake());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
        let asked = leases
            .into_values()
            .filter(|lease| lease.is_granted() || lease.granting);
        (asked.map(|lease| lease.id).collect(), farewells)
    }

    /// Starts the tasks, unless they run; again if their runtime has ended, or does nothing.
    fn run(&self) -> Result<()> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.state();
        let now = Instant::now();
        if self.life.goes_on() && !state.is_abandoned(now) {
            return Ok(());
        }
        if state.closed {
            return Err(Error::Closed);
        }
        let runtime = runtime()?;
        if !tasks.is_empty() {
            warn!("what is registered was left alone; looking after it again");
            tasks.drain(..).for_each(|task| task.abort());
            state.adopted(now);
        }
        drop(state);
        let shared = || Arc::clone(&self.shared);
        let begun = self.life.begin([
            keeper::Keeper::new(shared()).run().boxed(),
            renewal::run(shared()).boxed(),
            sentry::run(shared()).boxed(),
        ]);
        tasks.extend(begun.map(|task| runtime.spawn(task)));
        Ok(())
    }
}

impl Drop for Own {
    /// Nobody waits for it, but what was registered shall not outlive its owner for long.
    fn drop(&mut self) {
        let (leases, farewells) = self.end();
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if leases.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        runtime.spawn(timeout(GOODBYE, async move {
            request::say_all(&shared.client, farewells, Instant::now() + FAREWELL).await;
            for id in leases {
                let _ = request::revoke(&shared.client, id, GOODBYE).await;
            }
        }));
    }
}

/// Says goodbye and gives the leases back, in the time that a call has.
async fn farewell(shared: &Shared, leases: Vec<i64>, farewells: Vec<Farewell>) -> Result<()> {
    let begun = Instant::now();
    let spoken = begun + FAREWELL.min(shared.timeout / 2);
    request::say_all(&shared.client, farewells, spoken).await;
    let left = shared.timeout.saturating_sub(begun.elapsed());
    let revoked = leases
        .into_iter()
        .map(|id| request::revoke(&shared.client, id, left));
    let failed = join_all(revoked).await.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |failure| Err(may_be_seen(Error::from(failure))))
}

fn may_be_seen(reason: impl fmt::Display) -> Error {
    let reason = format!("others may see the services until their ttl ends: {reason}");
    Error::unavailable(NAME, reason)
}

fn runtime() -> Result<Handle> {
    Handle::try_current()
        .map_err(|_| Error::unavailable(NAME, "there is no tokio runtime; call it from within one"))
}

/// The whole seconds of a lease.
fn seconds(ttl: Duration) -> u64 {
    let ttl = ttl.max(MIN_LEASE);
    ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)
}
