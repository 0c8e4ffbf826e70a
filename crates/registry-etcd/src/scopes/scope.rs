mod outage;
mod session;

use std::{mem::take, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{Instrument, info, info_span};
use vine_registry::{
    telemetry::{CACHED_NODES, Level, Stage},
    view::Topic,
};

use self::session::{OPEN, Session, Start, begin, send};
use super::{Proof, Shared, Subscribe};
use crate::{
    AFTER_DENIAL, TELEMETRY,
    catalog::Catalog,
    client::{Client, Failure, Line, Remedy},
    listing::{self, Listing, Newest},
    proto::{Event, WatchProgressRequest, WatchResponse, watch_request::RequestUnion},
};

/// How often the server is asked for a sign of life, and how long it may take. A little more often
/// than a proof lasts, so that a healthy watch is always proven.
const ALIVE: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(2);

/// The wait before the watch begins again: by chance up to this, twice as much each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Watches one range of keys: lists, then takes in every change, and again after each gap.
pub(super) struct Scope {
    client: Arc<Client>,
    prefix: String,
    catalog: Catalog,
    shared: Arc<Shared>,
    incoming: mpsc::UnboundedReceiver<Subscribe>,
    waiting: Vec<Subscribe>,
    timeout: Duration,
    /// The last revision that the catalog holds as a whole; 0 if it has to be listed.
    mark: i64,
    /// That of the cluster when it was listed.
    era: u64,
    /// What the catalog has yet to catch up with, of a watch that was resumed.
    behind: Option<Newest>,
    /// Events of an answer that came in parts, until the last of them.
    parts: Vec<Event>,
    /// Since when the watch is not alive.
    down: Option<Instant>,
    nodes: Level,
}

/// How a session ended.
enum End {
    /// Nobody watches any more.
    Unwatched,
    /// Go on over another connection; nothing was wrong.
    Moved,
    /// What was known can't be continued from: list again.
    Gap(&'static str),
    Failed(Failure),
}

impl Scope {
    pub(super) fn new(
        client: Arc<Client>,
        prefix: String,
        catalog: Catalog,
        shared: Arc<Shared>,
        incoming: mpsc::UnboundedReceiver<Subscribe>,
        timeout: Duration,
    ) -> Self {
        Self {
            client,
            prefix,
            catalog,
            shared,
            incoming,
            waiting: Vec::new(),
            timeout,
            mark: 0,
            era: 0,
            behind: None,
            parts: Vec::new(),
            down: None,
            nodes: TELEMETRY.level(CACHED_NODES),
        }
    }

    pub(super) async fn run(mut self, topic: Topic) {
        let span = info_span!("scope", prefix = %self.prefix);
        async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let began = Instant::now();
                let wait = match self.session(&topic).await {
                    End::Unwatched => return,
                    End::Moved => continue,
                    End::Gap(reason) => {
                        info!(reason, "listing again");
                        TELEMETRY.resync(reason);
                        self.mark = 0;
                        continue;
                    }
                    End::Failed(failure) => {
                        self.fail(&failure);
                        if began.elapsed() > LONGEST_PAUSE {
                            pause = FIRST_PAUSE;
                        }
                        let wait = pause.mul_f64(fastrand::f64());
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        if is_denial(&failure) {
                            AFTER_DENIAL.mul_f64(0.5 + fastrand::f64() / 2.0)
                        } else {
                            wait
                        }
                    }
                };
                self.idle(wait).await;
                // Who has given up would keep it asking until the outage ends.
                self.waiting.retain(|waiting| !waiting.reply.is_closed());
                if self.waiting.is_empty() && self.catalog.view.watchers(&topic) == 0 {
                    return;
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Begins, and takes in what comes until something is wrong.
    async fn session(&mut self, topic: &Topic) -> End {
        while let Ok(subscribe) = self.incoming.try_recv() {
            self.waiting.push(subscribe);
        }
        let wants_list = self.mark == 0 || !self.waiting.is_empty();
        let client = Arc::clone(&self.client);
        let prefix = self.prefix.clone();
        let (mark, era, limit) = (self.mark, self.era, self.timeout);
        let beginning = begin(&client, &prefix, wants_list, mark, era, limit);
        let mut beginning = std::pin::pin!(beginning);
        // What is being listed may be from before they came.
        let mut late = Vec::new();
        let begun = loop {
            let stale = self.stale_at();
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                begun = &mut beginning => break begun,
                () = sleep_until(stale.unwrap_or(far)), if stale.is_some() => self.mark_stale(),
                Some(subscribe) = self.incoming.recv() => {
                    if subscribe.allow_stale && self.is_known_stale() {
                        self.answer(subscribe);
                    } else {
                        late.push(subscribe);
                    }
                }
            }
        };
        let (session, start) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                self.waiting.append(&mut late);
                return End::Failed(failure);
            }
        };
        match start {
            Start::Listed(listing) => self.list(&listing),
            Start::Resumed(newest) => self.behind = Some(newest),
        }
        self.parts.clear();
        if !late.is_empty() {
            self.waiting.append(&mut late);
            if let Err(failure) = self.list_again().await {
                return End::Failed(failure);
            }
        }
        let mut line = None;
        let end = self.follow(topic, session, &mut line).await;
        if let (End::Failed(failure), Some(line)) = (&end, line) {
            match failure.remedy() {
                Remedy::Authenticate => self.client.expire(&line),
                _ => self.client.rotate(&line),
            }
        }
        end
    }

    /// Takes in what comes.
    async fn follow(&mut self, topic: &Topic, session: Session, used: &mut Option<Line>) -> End {
        let Session {
            line,
            requests,
            mut answers,
        } = session;
        *used = Some(line.clone());
        let client = Arc::clone(&self.client);
        let mut due = Some(Instant::now() + OPEN);
        let mut created = false;
        let mut alive = Instant::now() + ALIVE;
        loop {
            let next = due.unwrap_or(alive).min(alive);
            tokio::select! {
                answer = answers.message() => {
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) => return End::Failed(Failure::Unreachable("the server ended the watch".into())),
                        Err(status) => return End::Failed(client.failure(status)),
                    };
                    due = None;
                    created |= answer.created;
                    client.hear(&line, answer.header);
                    if let Some(end) = self.take(answer) {
                        return end;
                    }
                }
                subscribe = self.incoming.recv() => match subscribe {
                    Some(subscribe) => {
                        self.waiting.push(subscribe);
                        if let Err(failure) = self.list_again().await {
                            return End::Failed(failure);
                        }
                    }
                    None => return End::Unwatched,
                },
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if due.is_some_and(|due| due <= now) {
                        due = None;
                        if !created {
                            return End::Failed(Failure::Silent(OPEN));
                        }
                        match self.prove().await {
                            Ok(true) => {}
                            Ok(false) => return End::Gap("the watch missed something"),
                            Err(failure) => return End::Failed(failure),
                        }
                    }
                    if alive <= now {
                        alive = now + ALIVE;
                        self.tell();
                        if self.catalog.view.watchers(topic) == 0 && self.waiting.is_empty() {
                            return End::Unwatched;
                        }
                        send(&requests, RequestUnion::ProgressRequest(WatchProgressRequest {}));
                        // A sign of life does not help one that should have caught up.
                        let patience = if self.behind.is_some() { Duration::ZERO } else { PATIENCE };
                        due.get_or_insert(now + patience);
                    }
                }
                () = client.moved(&line) => return End::Moved,
            }
        }
    }

    /// Takes an answer in; says how the session ends, if so.
    fn take(&mut self, answer: WatchResponse) -> Option<End> {
        if answer.canceled {
            if answer.compact_revision > 0 {
                return Some(End::Gap("what happened meanwhile was compacted"));
            }
            let reason = answer.cancel_reason;
            // Up to 3.5 a token that has expired is a denial, too; listing again tells.
            let status = if reason.contains("permission denied") || reason.contains("auth") {
                tonic::Status::unauthenticated(reason)
            } else {
                tonic::Status::unavailable(format!("the server ended the watch: {reason}"))
            };
            return Some(End::Failed(Failure::Refused(status)));
        }
        let mark = self.mark;
        let news = |event: &Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision > mark);
        self.parts.extend(answer.events.into_iter().filter(news));
        if answer.fragment {
            return None;
        }
        let events = take(&mut self.parts);
        let last = events
            .iter()
            .filter_map(|event| event.kv.as_ref())
            .map(|kv| kv.mod_revision);
        self.mark = last.max().unwrap_or_default().max(self.mark);
        self.catalog.apply(events);
        // What is answered before says nothing of what was missed.
        if self.has_caught_up() {
            self.live();
        }
        None
    }

    /// Whether the catalog holds what the cluster did when the watch began.
    fn has_caught_up(&self) -> bool {
        self.behind
            .as_ref()
            .is_none_or(|newest| newest.revision <= self.mark || self.holds(newest))
    }

    /// What was put and deleted since the mark has left no trace, and needs none.
    fn holds(&self, newest: &Newest) -> bool {
        newest.mod_revision <= self.mark && newest.count == self.catalog.len()
    }

    /// Lists beside the watch, for those who begin to watch; what the watch says of before does not
    /// count any more.
    async fn list_again(&mut self) -> Result<(), Failure> {
        while let Ok(subscribe) = self.incoming.try_recv() {
            self.waiting.push(subscribe);
        }
        let listing = listing::list(&self.client, &self.prefix, self.timeout).await?;
        if self.client.era() != self.era || listing.revision < self.mark {
            return Err(Failure::Unreachable(
                "the cluster has become another one".into(),
            ));
        }
        self.list(&listing);
        Ok(())
    }

    fn list(&mut self, listing: &Listing) {
        self.catalog.replace(&listing.kvs);
        self.parts.clear();
        self.mark = listing.revision;
        self.era = listing.era;
        self.live();
        for subscribe in take(&mut self.waiting) {
            self.answer(subscribe);
        }
    }

    fn answer(&mut self, subscribe: Subscribe) {
        if !subscribe.reply.is_closed() {
            let watcher = self.catalog.view.watch(subscribe.topic, 0);
            // Dropped, if nobody waits any more.
            let _ = subscribe.reply.send(Ok(watcher));
        }
    }

    /// Whether the cluster holds what the catalog does.
    async fn prove(&mut self) -> Result<bool, Failure> {
        let newest = listing::newest(&self.client, &self.prefix, self.timeout).await?;
        let same = self.holds(&newest) && self.client.era() == self.era;
        if same {
            self.live();
        }
        Ok(same)
    }

    /// Says how it is doing.
    fn tell(&self) {
        self.nodes.set(self.catalog.len());
        let proven = self.shared.proof().at;
        if let Some(at) = proven {
            TELEMETRY.watch_lag(Stage::Proof, at.elapsed());
        }
    }
}

/// Whether only somebody who manages the cluster can help; a token that has expired is none.
fn is_denial(failure: &Failure) -> bool {
    failure.is_denial() && failure.remedy() != Remedy::Authenticate
}
