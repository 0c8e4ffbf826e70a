//! Answers that are late.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryFutureExt, future::Either, stream::FuturesUnordered};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep_until},
};
use tonic::{Response, Status};

use super::{ATTEMPT, Client, Connection, Line, exchange::Heard};

/// An answer that takes longer is late. A request that a follower passed on to a leader which is
/// gone is lost, and nobody ever says so.
pub(super) const LATE: Duration = Duration::from_millis(200);

/// What to do about a late answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Wait: what was asked may be large.
    Wait,
    /// Ask again beside: it is small.
    Repeat,
}

/// A request that was made.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) at: Instant,
    deadline: Instant,
    late: Late,
    /// Of what may be large.
    pub(super) heard: Option<Arc<Heard>>,
}

impl Sent {
    pub(super) fn new(deadline: Instant, late: Late) -> Self {
        let at = Instant::now();
        Self {
            at,
            deadline,
            late,
            heard: (late == Late::Wait).then(|| Arc::new(Heard::new(at))),
        }
    }

    /// When the answer is late.
    pub(super) fn late(&self) -> Instant {
        self.deadline.min(self.at + LATE)
    }

    /// When the attempt is over: a member that is still speaking has not failed, nor has one whose
    /// answer waits for a large one to get through.
    fn end(&self, connection: &Connection) -> Instant {
        let last = self.heard.as_ref().map_or(self.at, |heard| heard.last());
        let last = last.max(connection.last_large());
        self.deadline.min(last + ATTEMPT)
    }
}

/// Finds out whether requests are lost: of all those that wait, one alone is made again and again,
/// so that a cluster that is merely slow gets hardly more to do.
#[derive(Debug)]
pub(super) struct Scout {
    turn: Arc<Semaphore>,
    /// What was sent before is lost.
    lost: watch::Sender<Instant>,
}

impl Scout {
    pub(super) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            lost: watch::Sender::new(Instant::now()),
        }
    }
}

/// Turns to another member when an answer is not waited for any more, and this one has said nothing
/// for so long that it was late: whoever waits may have less patience than there is here, and would
/// meet the same member again and again.
pub(super) struct Patience<'a> {
    client: &'a Client,
    connection: &'a Connection,
    generation: u64,
    sent: Instant,
}

impl<'a> Patience<'a> {
    pub(super) fn new(client: &'a Client, connection: &'a Connection, generation: u64) -> Self {
        Self {
            client,
            connection,
            generation,
            sent: Instant::now(),
        }
    }

    /// Since then.
    pub(super) fn since(mut self, sent: Instant) -> Self {
        self.sent = sent;
        self
    }

    /// It was waited for.
    pub(super) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if self.connection.last_heard().max(self.sent).elapsed() >= LATE {
            self.client.drop_connection(self.generation);
        }
    }
}

impl Client {
    /// Waits for an answer that is late, as long as an attempt may take; none if it does not come, or
    /// if another connection has come into use, since this one was not good enough for somebody.
    pub(super) async fn wait_longer<T, F, Fut>(
        &self,
        first: Pin<&mut Fut>,
        sent: &Sent,
        line: &Line,
        request: &mut F,
    ) -> Option<Result<Response<T>, Status>>
    where
        F: FnMut(Connection) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let patience = Patience::new(self, &line.connection, line.generation).since(sent.at);
        let mut end = sent.end(&line.connection);
        let mut asked = FuturesUnordered::new();
        asked.push(since(sent.at, Either::Left(first)));
        let mut copy = |asked: &mut FuturesUnordered<_>| {
            let again = request(line.connection.clone());
            asked.push(since(Instant::now(), Either::Right(again)));
        };
        let mut lost = self.scout.lost.subscribe();
        let (mut turn, mut next) = (None, Instant::now());
        let mut repeats = sent.late == Late::Repeat;
        let answer = loop {
            tokio::select! {
                biased;
                Some((time, answer)) = asked.next() => {
                    if time > sent.at {
                        self.scout.lost.send_replace(time);
                    }
                    break Some(answer);
                }
                () = sleep_until(end) => match sent.end(&line.connection) {
                    // Some of it has come since, or of what comes before.
                    later if later > end => end = later,
                    _ => break None,
                },
                () = self.moved(line) => break None,
                Ok(()) = lost.wait_for(|time| *time > sent.at).map_ok(drop), if repeats && turn.is_none() => {
                    repeats = false;
                    copy(&mut asked);
                }
                () = sleep_until(next), if repeats => {
                    next += LATE;
                    turn = turn.or_else(|| Arc::clone(&self.scout.turn).try_acquire_owned().ok());
                    if turn.is_some() {
                        copy(&mut asked);
                    }
                }
            }
        };
        patience.end();
        answer
    }
}

async fn since<F: Future>(time: Instant, answer: F) -> (Instant, F::Output) {
    (time, answer.await)
}
