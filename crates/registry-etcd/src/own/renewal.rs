use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::Streaming;
use tracing::{debug, warn};
use vine_registry::Error;

use super::Shared;
use crate::{
    client::{Failure, Line, Remedy},
    proto::{LeaseKeepAliveRequest, LeaseKeepAliveResponse},
};

/// How long the stream may take to open.
const OPEN: Duration = Duration::from_millis(1500);

/// The wait before it is opened again: by chance up to this, twice as much each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Renews all leases over one stream, each at a third of its ttl.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if shared
            .state()
            .leases
            .values()
            .all(|lease| !lease.is_granted())
        {
            shared.renew.notified().await;
            continue;
        }
        let opened = Instant::now();
        let failure = match open(&shared).await {
            Ok((line, requests, answers)) => match renew(&shared, &line, requests, answers).await {
                // Another connection is in use now, and this one was fine.
                None => continue,
                Some(failure) => {
                    match failure.remedy() {
                        Remedy::Authenticate => shared.client.expire(&line),
                        _ => shared.client.rotate(&line),
                    }
                    failure
                }
            },
            Err(failure) => failure,
        };
        debug!(?failure, "leases can't be renewed");
        let now = Instant::now();
        let is_denial = failure.is_denial() && failure.remedy() != Remedy::Authenticate;
        let error = Error::from(failure);
        for lease in shared
            .state()
            .leases
            .values_mut()
            .filter(|lease| lease.is_granted())
        {
            lease.troubled(&error, now);
        }
        if is_denial {
            let pause = shared.state().after_denial();
            sleep(pause).await;
            continue;
        }
        if now.duration_since(opened) > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        sleep(pause.mul_f64(fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

type Requests = mpsc::UnboundedSender<LeaseKeepAliveRequest>;

async fn open(
    shared: &Shared,
) -> Result<(Line, Requests, Streaming<LeaseKeepAliveResponse>), Failure> {
    let line = shared.client.line().await?;
    let (requests, receiver) = mpsc::unbounded_channel();
    // The server answers the opening together with the first request.
    ask(shared, &requests, true);
    let mut client = line.connection.clone().lease();
    let opening = client.lease_keep_alive(crate::stream::of(receiver));
    let opening = line.connection.begins(OPEN, opening);
    match timeout(longest_opening(shared), opening).await {
        Ok(Some(Ok(answers))) => Ok((line, requests, answers.into_inner())),
        Ok(Some(Err(status))) => {
            let failure = shared.client.failure(status);
            match failure.remedy() {
                Remedy::Authenticate => shared.client.expire(&line),
                _ => shared.client.rotate(&line),
            }
            Err(failure)
        }
        Ok(None) | Err(_) => {
            shared.client.rotate(&line);
            Err(Failure::Silent(OPEN))
        }
    }
}

/// A large answer may come first, but no lease is to run out meanwhile.
fn longest_opening(shared: &Shared) -> Duration {
    let state = shared.state();
    let shortest = state.leases.values().map(|lease| lease.ttl() / 3).min();
    shortest.unwrap_or_default().max(OPEN)
}

/// Asks for the renewals that are due, or for all; gives when to look again.
fn ask(shared: &Shared, requests: &Requests, all: bool) -> Option<Instant> {
    let now = Instant::now();
    let mut state = shared.state();
    let mut wake = None;
    for lease in state.leases.values_mut().filter(|lease| lease.is_granted()) {
        if all || lease.asked.is_none() && lease.next <= now {
            lease.asked = Some(now);
            let _ = requests.send(LeaseKeepAliveRequest { id: lease.id });
        }
        let time = match lease.asked {
            Some(asked) => asked + lease.patience(),
            None => lease.next,
        };
        wake = Some(wake.map_or(time, |wake: Instant| wake.min(time)));
    }
    drop(state);
    wake
}

/// Renews until something is wrong; none if another connection shall be used.
async fn renew(
    shared: &Shared,
    line: &Line,
    requests: Requests,
    mut answers: Streaming<LeaseKeepAliveResponse>,
) -> Option<Failure> {
    loop {
        let wake = ask(shared, &requests, false)?;
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => take(shared, &answer),
                Ok(None) => return Some(Failure::Unreachable("the server ended the renewal of leases".into())),
                Err(status) => return Some(shared.client.failure(status)),
            },
            () = sleep_until(wake) => {
                if let Some(patience) = overdue(shared) {
                    return Some(Failure::Silent(patience));
                }
            }
            () = shared.renew.notified() => {}
            () = shared.client.moved(line) => return None,
        }
    }
}

/// How long an answer was waited for in vain.
fn overdue(shared: &Shared) -> Option<Duration> {
    let now = Instant::now();
    let state = shared.state();
    let mut leases = state.leases.values();
    leases.find_map(|lease| {
        let asked = lease.asked?;
        (now.duration_since(asked) >= lease.patience()).then(|| lease.patience())
    })
}

fn take(shared: &Shared, answer: &LeaseKeepAliveResponse) {
    let now = Instant::now();
    let mut state = shared.state();
    if answer.ttl <= 0 {
        warn!(id = answer.id, "lease lost; registering again");
        state.lose_lease(answer.id, now);
        drop(state);
        shared.wake.notify_one();
        return;
    }
    if let Some(lease) = state
        .leases
        .values_mut()
        .find(|lease| lease.id == answer.id)
    {
        lease.acknowledged(now);
    }
}
