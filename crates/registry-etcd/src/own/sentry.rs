use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};
use tonic::Streaming;
use tracing::{debug, warn};

use super::{Shared, request};
use crate::{
    client::{Failure, Line, Remedy},
    proto::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
};

const OPEN: Duration = Duration::from_millis(1500);

/// How often the server is asked for a sign of life, and how long it may take.
const ALIVE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// New keys are watched together, from the revision in which they were put.
const GATHER: Duration = Duration::from_millis(100);

/// So many new ones in that time are many; and how often more are waited for.
const MANY: usize = 16;
const MOST_GATHERED: usize = 20;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Requests = mpsc::UnboundedSender<WatchRequest>;

/// Watches each key of this handle, and none else, over one stream; and looks at all of them once
/// in a while, in case something was missed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let idle = shared.state().entries.is_empty();
        if idle {
            shared.watch.notified().await;
            continue;
        }
        let opened = Instant::now();
        match session(&shared).await {
            None => continue,
            Some(failure) if failure.is_denial() && failure.remedy() != Remedy::Authenticate => {
                let pause = shared.state().after_denial();
                sleep(pause).await;
            }
            Some(failure) => {
                debug!(?failure, "own keys can't be watched");
                if opened.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// One stream, as long as it is fine; none if another connection shall be used.
async fn session(shared: &Arc<Shared>) -> Option<Failure> {
    if let Err(failure) = verify(shared).await {
        return Some(failure);
    }
    let line = match shared.client.line().await {
        Ok(line) => line,
        Err(failure) => return Some(failure),
    };
    let failure = watch(shared, &line).await;
    if let Some(failure) = &failure {
        match failure.remedy() {
            Remedy::Authenticate => shared.client.expire(&line),
            _ => shared.client.rotate(&line),
        }
    }
    failure
}

/// Looks whether everything stands where it should; all keys are to be watched from then on.
async fn verify(shared: &Shared) -> Result<(), Failure> {
    let all: Vec<(usize, Bytes, Option<i64>)> = {
        let mut state = shared.state();
        state.unwatched.clear();
        let entries = state.entries.iter_mut().map(|(at, entry)| {
            entry.watched = false;
            (at, entry.key.clone(), entry.have)
        });
        entries.collect()
    };
    let keys: Vec<_> = all.iter().map(|(_, key, _)| key.clone()).collect();
    let looked = request::look(&shared.client, &keys, true, shared.timeout).await;
    let now = Instant::now();
    let mut state = shared.state();
    let (found, revision) = match looked {
        Ok(looked) => looked,
        Err(failure) => {
            if failure.is_denial() {
                let all: Vec<_> = all.iter().map(|(at, ..)| *at).collect();
                state.refused(&all, &failure, now);
            }
            return Err(failure);
        }
    };
    let era = shared.client.era();
    if state.era != era {
        warn!(revision, "the cluster lost data; registering again");
        state.era = era;
        state.rolled_back(revision, now);
    }
    for ((at, key, have), found) in all.into_iter().zip(found) {
        let Some(entry) = state.entries.get_mut(at).filter(|entry| entry.key == key) else {
            continue;
        };
        // What was put meanwhile is known better.
        entry.known = entry.known.max(revision);
        let stands = found.map(|kv| kv.mod_revision);
        if entry.have == have && have.is_some() && stands != have {
            state.distrust(at, now);
        }
        state.unwatched.push(at);
    }
    drop(state);
    shared.wake.notify_one();
    Ok(())
}

async fn watch(shared: &Shared, line: &Line) -> Option<Failure> {
    let (requests, receiver) = mpsc::unbounded_channel();
    let mut ids = HashMap::new();
    let mut last = 0;
    create(shared, &requests, &mut ids, &mut last);
    // The server answers the opening together with the first request.
    let _ = requests.send(progress());
    let mut client = line.connection.clone().watch();
    let opening = client.watch(crate::stream::of(receiver));
    let mut answers: Streaming<WatchResponse> = match line.connection.begins(OPEN, opening).await {
        Some(Ok(answers)) => answers.into_inner(),
        Some(Err(status)) => return Some(shared.client.failure(status)),
        None => return Some(Failure::Silent(OPEN)),
    };
    let now = Instant::now();
    let mut alive = interval_at(now + ALIVE, ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let verify_every = shared.lease_ttl;
    let mut verification = now + verify_every;
    let mut answer_due = None;
    loop {
        let due = answer_due.unwrap_or(now + Duration::from_secs(1 << 30));
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => {
                    answer_due = None;
                    shared.client.hear(line, answer.header);
                    if let Some(failure) = take(shared, &answer, &mut ids) {
                        return failure;
                    }
                }
                Ok(None) => return Some(Failure::Unreachable("the server ended the watch".into())),
                Err(status) => return Some(shared.client.failure(status)),
            },
            () = shared.watch.notified() => {
                gather(shared).await;
                create(shared, &requests, &mut ids, &mut last);
            }
            _ = alive.tick() => {
                if shared.state().entries.is_empty() {
                    return None;
                }
                cancel(shared, &requests, &mut ids);
                let _ = requests.send(progress());
                answer_due.get_or_insert_with(|| Instant::now() + PATIENCE);
            }
            () = sleep_until(due) => {
                // A watch that is new or quiet may have nothing to say: ask otherwise.
                answer_due = None;
                if let Err(failure) = check(shared).await {
                    return Some(failure);
                }
            }
            () = sleep_until(verification) => {
                verification = Instant::now() + verify_every;
                if let Err(failure) = check(shared).await {
                    return Some(failure);
                }
                if shared.state().era != shared.client.era() {
                    return None;
                }
            }
            () = shared.client.moved(line) => return None,
        }
    }
}

/// Leaves the cluster to those who register as long as many do, within limits.
async fn gather(shared: &Shared) {
    let mut before = 0;
    for _ in 0..MOST_GATHERED {
        sleep(GATHER).await;
        let now = shared.state().unwatched.len();
        if now - before.min(now) < MANY {
            return;
        }
        before = now;
    }
}

/// Looks whether everything still stands where it should, beside the watch.
async fn check(shared: &Shared) -> Result<(), Failure> {
    let all: Vec<(usize, Bytes, i64)> = {
        let state = shared.state();
        let settled = state
            .entries
            .iter()
            .filter_map(|(at, entry)| Some((at, entry.key.clone(), entry.have?)));
        settled.collect()
    };
    let keys: Vec<_> = all.iter().map(|(_, key, _)| key.clone()).collect();
    let looked = request::look(&shared.client, &keys, true, shared.timeout).await;
    let now = Instant::now();
    let mut state = shared.state();
    let found = match looked {
        Ok((found, _)) => found,
        Err(failure) => {
            if failure.is_denial() {
                let all: Vec<_> = all.iter().map(|(at, ..)| *at).collect();
                state.refused(&all, &failure, now);
            }
            return Err(failure);
        }
    };
    for ((at, key, have), found) in all.into_iter().zip(found) {
        let same = state
            .entries
            .get(at)
            .is_some_and(|entry| entry.key == key && entry.have == Some(have));
        if same && found.is_none_or(|kv| kv.mod_revision != have) {
            state.distrust(at, now);
        }
    }
    drop(state);
    shared.wake.notify_one();
    Ok(())
}

/// Begins to watch keys that are not watched yet.
fn create(shared: &Shared, requests: &Requests, ids: &mut HashMap<i64, Bytes>, last: &mut i64) {
    let mut state = shared.state();
    for at in std::mem::take(&mut state.unwatched) {
        let Some(entry) = state.entries.get_mut(at).filter(|entry| !entry.watched) else {
            continue;
        };
        entry.watched = true;
        *last += 1;
        ids.insert(*last, entry.key.clone());
        let create = WatchCreateRequest {
            key: entry.key.clone(),
            start_revision: entry.known + 1,
            watch_id: *last,
            ..Default::default()
        };
        let _ = requests.send(WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        });
    }
}

/// Ends the watches of keys that are of no interest any more.
fn cancel(shared: &Shared, requests: &Requests, ids: &mut HashMap<i64, Bytes>) {
    let state = shared.state();
    ids.retain(|id, key| {
        let wanted = state
            .by_key(key)
            .and_then(|at| state.entries.get(at))
            .is_some_and(|entry| entry.watched);
        if !wanted {
            let _ = requests.send(WatchRequest {
                request_union: Some(RequestUnion::CancelRequest(WatchCancelRequest {
                    watch_id: *id,
                })),
            });
        }
        wanted
    });
}

/// Takes an answer in; gives why to begin again, if so.
fn take(
    shared: &Shared,
    answer: &WatchResponse,
    ids: &mut HashMap<i64, Bytes>,
) -> Option<Option<Failure>> {
    if answer.canceled {
        if ids.remove(&answer.watch_id).is_none() && answer.watch_id != -1 {
            return None;
        }
        // Compacted, or not permitted: looking at the keys tells.
        let reason = answer.cancel_reason.clone();
        if reason.contains("auth") || reason.contains("permission") {
            return Some(Some(Failure::Refused(tonic::Status::unauthenticated(
                reason,
            ))));
        }
        return Some(None);
    }
    if answer.events.is_empty() {
        return None;
    }
    let now = Instant::now();
    let mut state = shared.state();
    for kv in answer.events.iter().filter_map(|event| event.kv.as_ref()) {
        if let Some(at) = state.by_key(&kv.key) {
            state.changed(at, kv.mod_revision, now);
        }
    }
    drop(state);
    shared.wake.notify_one();
    None
}

fn progress() -> WatchRequest {
    WatchRequest {
        request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
    }
}
