use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use vine_registry::{
    Error,
    telemetry::{Level, REGISTRATIONS},
};

use super::{
    Shared,
    request::{self, Answer, Done},
    state::{State, Task},
};
use crate::{TELEMETRY, client::Failure};

/// How many requests are under way at most.
const PIPELINE: usize = 128;

/// The wait after a failure: by chance up to this, twice as much each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often leases are looked for that nothing needs any more.
const SWEEP: Duration = Duration::from_secs(10);

/// How often another member is chosen, so that one which was away gets its share.
const DRIFT: Duration = Duration::from_secs(3600);

/// Brings about what the calls want: puts, deletes, leases.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// What is under way, and one future that never ends: it is polled once, and without it every
    /// round would have polled all there are, after which this type wakes its own task again.
    work: FuturesUnordered<BoxFuture<'static, Finished>>,
    failures: u32,
    /// Nothing is asked before.
    resume: Option<Instant>,
    sweep: Instant,
    drift: Instant,
    registrations: Level,
}

enum Finished {
    Task {
        at: usize,
        wish: u64,
        lease: i64,
        answer: Answer<Done>,
    },
    Grant {
        seconds: u64,
        id: i64,
        result: Result<(), Failure>,
    },
    Revoke(Result<(), Failure>),
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            work: FuturesUnordered::from_iter([pending().boxed()]),
            failures: 0,
            resume: None,
            sweep: now + SWEEP,
            registrations: TELEMETRY.level(REGISTRATIONS),
            drift: now + DRIFT.mul_f64(0.5 + fastrand::f64()),
        }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // One for all turns: hardly any of them has another time to wait for than the one before.
        let mut timer = pin!(sleep_until(self.sweep));
        let mut finished = Vec::new();
        while let Some(next) = self.turn(&mut finished) {
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(one) = self.work.next() => finished.push(one),
                () = timer.as_mut() => {}
            }
            while let Some(Some(one)) = self.work.next().now_or_never() {
                finished.push(one);
            }
        }
    }

    /// Takes in what has finished, does what is due, and gives when to look again; none at the end.
    fn turn(&mut self, finished: &mut Vec<Finished>) -> Option<Instant> {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        for one in finished.drain(..) {
            self.finish(&mut state, one, now);
        }
        if state.closed {
            return None;
        }
        let timers = [state.expire(now), state.awake(now)];
        let leases = self.begin(&mut state, now);
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.sweep(&mut state, now);
            state.forget_writes(now);
        }
        self.registrations.set(state.wanted());
        let has_unwatched = !state.unwatched.is_empty();
        let ended = std::mem::take(&mut state.ended);
        drop(state);
        // Last, and unlocked: who waited mostly comes with the next call at once.
        if has_unwatched {
            shared.watch.notify_one();
        }
        ended.iter().for_each(|batch| batch.wake());
        if now >= self.drift {
            self.drift = now + DRIFT;
            shared.client.drift();
        }
        let timers = timers.into_iter().chain([leases, self.resume]).flatten();
        Some(timers.fold(self.sweep, Instant::min))
    }

    /// Begins as much as may be under way; gives the time when a lease may be asked for.
    fn begin(&mut self, state: &mut State, now: Instant) -> Option<Instant> {
        if self.resume.is_some_and(|time| time > now) {
            return None;
        }
        self.resume = None;
        // After a failure one request finds out whether the cluster is there again.
        let limit = if self.failures > 0 { 1 } else { PIPELINE };
        while self.work.len() - 1 < limit {
            if self.grant(state, now) {
                continue;
            }
            if let Some((at, wish, task)) = state.next(now) {
                self.work.push(self.task(at, wish, task));
            } else if state.lease_wanted(now).is_none_or(|time| time > now) {
                break;
            }
        }
        state.lease_wanted(now).filter(|time| *time > now)
    }

    fn task(&self, at: usize, wish: u64, task: Task) -> BoxFuture<'static, Finished> {
        let shared = Arc::clone(&self.shared);
        let (Task::Put { lease, .. } | Task::Delete { lease, .. }) = task;
        async move {
            let answer = request::perform(
                &shared.client,
                shared.keys,
                &shared.namespace,
                task,
                shared.attempt(),
            )
            .await;
            Finished::Task {
                at,
                wish,
                lease,
                answer,
            }
        }
        .boxed()
    }

    /// Asks for a lease that something waits for; says whether it did.
    fn grant(&self, state: &mut State, now: Instant) -> bool {
        let State {
            leases, own_leases, ..
        } = state;
        let lease = leases
            .values_mut()
            .find(|lease| lease.wanted_at(now).is_some_and(|time| time <= now));
        let Some(lease) = lease else {
            return false;
        };
        lease.granting = true;
        own_leases.insert(lease.id);
        let (shared, id, seconds) = (Arc::clone(&self.shared), lease.id, lease.seconds);
        let grant = async move {
            let result = request::grant(&shared.client, id, seconds, shared.attempt()).await;
            Finished::Grant {
                seconds,
                id,
                result,
            }
        };
        self.work.push(grant.boxed());
        true
    }

    /// Ends leases that nothing has needed for a while.
    fn sweep(&self, state: &mut State, now: Instant) {
        let mut ended = Vec::new();
        for (seconds, lease) in &state.leases {
            let is_idle = lease.is_granted() && !state.uses_lease(*seconds);
            ended.push((*seconds, is_idle));
        }
        for (seconds, is_idle) in ended {
            let Some(lease) = state.leases.get_mut(&seconds) else {
                continue;
            };
            let since = if is_idle {
                Some(lease.idle.unwrap_or(now))
            } else {
                None
            };
            lease.idle = since;
            if since.is_some_and(|since| now.duration_since(since) >= SWEEP) {
                let (shared, id) = (Arc::clone(&self.shared), lease.id);
                state.leases.remove(&seconds);
                let revoke = async move {
                    Finished::Revoke(request::revoke(&shared.client, id, shared.attempt()).await)
                };
                self.work.push(revoke.boxed());
            }
        }
    }

    fn finish(&mut self, state: &mut State, finished: Finished, now: Instant) {
        let failure = match finished {
            Finished::Task {
                at,
                wish,
                lease,
                answer,
            } => {
                if answer.in_doubt {
                    state.doubt(at, now);
                }
                match answer.result {
                    Ok(Done::Put(put)) => state.put(at, wish, put, now),
                    Ok(Done::Deleted { occupant, revision }) => {
                        state.deleted(at, wish, occupant.as_ref(), revision, now);
                    }
                    Err(failure) if failure.is_lease_not_found() => {
                        state.lease_gone(at, lease, now)
                    }
                    Err(failure) => {
                        state.failed(at, &failure, now);
                        return self.failed(&failure, now);
                    }
                }
                None
            }
            Finished::Grant {
                seconds,
                id,
                result,
            } => match result {
                Ok(()) => {
                    debug!(id, seconds, "lease granted");
                    state.granted(seconds, id, now);
                    self.shared.renew.notify_one();
                    None
                }
                Err(failure) => {
                    state.not_granted(seconds, &failure, now);
                    Some(failure)
                }
            },
            Finished::Revoke(result) => {
                if let Err(failure) = result {
                    debug!(?failure, "could not revoke an unused lease; it runs out");
                }
                return;
            }
        };
        match failure {
            Some(failure) => self.failed(&failure, now),
            None => {
                if std::mem::take(&mut self.failures) > 0 {
                    info!("the cluster answers again");
                }
            }
        }
    }

    /// Leaves the cluster alone for a while.
    fn failed(&mut self, failure: &Failure, now: Instant) {
        if failure.is_denial() {
            warn!(error = %Error::from(failure.clone()), "the cluster refuses");
            return;
        }
        if self.failures == 0 {
            warn!(
                error = %Error::from(failure.clone()),
                "the cluster does not answer; trying again for ever"
            );
        }
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.resume = Some(now + longest.mul_f64(fastrand::f64()));
    }
}
