//! Requests to a cluster: one connection at a time, sticky, and another member when it fails.

mod auth;
mod connection;
mod exchange;
mod failure;
mod history;
mod late;
mod tls;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    sync::{Mutex as Gate, watch},
    time::{Instant, sleep, timeout_at},
};
use tonic::{Response, Status};
use tracing::{debug, info};
use vine_registry::{Options, Result};

pub(crate) use self::late::Late;
use self::{
    auth::Auth,
    connection::Tls,
    history::{Dated, History},
    late::{Patience, Scout, Sent},
};
pub(crate) use self::{
    connection::Connection,
    failure::{Failure, Remedy},
};
use crate::{TELEMETRY, address::Member, proto::ResponseHeader};

/// How long one member has for an answer.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// The wait before a request is made again: by chance up to this, twice as much each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The same while the members elect a leader, and how often it is asked in such a way: an election
/// takes a second or two, and is not to be missed by much.
const LONGEST_ELECTING: Duration = Duration::from_millis(160);
const MOST_ELECTING: usize = 24;

/// A member that could not be connected to is the last one to try for so long.
const AVOID: Duration = Duration::from_secs(10);

/// The largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// A cluster, asked through whichever member answers.
#[derive(Debug)]
pub(crate) struct Client {
    members: Vec<(Member, Option<Tls>)>,
    auth: Auth,
    state: Mutex<State>,
    /// Held by the one that connects.
    connecting: Gate<()>,
    /// Whether there ever was an answer: a cluster that is known to exist is worth waiting for.
    answered: AtomicBool,
    /// Counts connections.
    generation: watch::Sender<u64>,
    history: History,
    scout: Scout,
}

#[derive(Debug)]
struct State {
    current: Option<Connection>,
    /// The member that is connected to, or the one to try first.
    member: usize,
    /// When members could not be connected to.
    failed: Vec<Option<Instant>>,
    closed: bool,
}

/// A connection to make requests on, and which one it is.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) connection: Connection,
    generation: u64,
    token: u64,
    era: u64,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let members = Member::all(options)?;
        let mut config = None;
        let members = members.into_iter().map(|member| {
            if !member.secure {
                return Ok((member, None));
            }
            let config = match &config {
                Some(config) => Arc::clone(config),
                None => Arc::clone(config.insert(tls::config(options)?)),
            };
            let name = tls::server_name(options, &member.host)?;
            Ok((member, Some((config, name))))
        });
        let mut members = members.collect::<Result<Vec<_>>>()?;
        // In an order of its own, so that the clients of a member that is lost do not all turn to
        // the same one.
        fastrand::shuffle(&mut members);
        Ok(Self {
            state: Mutex::new(State {
                current: None,
                member: 0,
                failed: vec![None; members.len()],
                closed: false,
            }),
            members,
            auth: Auth::new(options.credentials.clone()),
            connecting: Gate::new(()),
            answered: AtomicBool::new(false),
            generation: watch::Sender::new(0),
            history: History::default(),
            scout: Scout::new(),
        })
    }

    /// Makes a request, which must do no harm when it is made twice: of one member after the other,
    /// until there is an answer or the time is over.
    ///
    /// # Cancel safety
    /// The request may have been made.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        operation: &'static str,
        within: Duration,
        late: Late,
        mut request: F,
    ) -> Result<T, Failure>
    where
        T: Dated,
        F: FnMut(Connection) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + within;
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        let mut authenticated = false;
        loop {
            let failure = match timeout_at(deadline, self.line()).await {
                Err(_) => return Err(Failure::Silent(within)),
                Ok(Err(failure)) => failure,
                Ok(Ok(line)) => {
                    let failure = match self.attempt(&line, deadline, late, &mut request).await {
                        Ok(answer) => {
                            TELEMETRY.requests(operation, true, 1);
                            return Ok(answer);
                        }
                        Err(failure) => failure,
                    };
                    TELEMETRY.requests(operation, false, 1);
                    match failure.remedy() {
                        Remedy::Rotate => self.rotate(&line),
                        Remedy::Authenticate if authenticated => return Err(failure),
                        Remedy::Authenticate => {
                            authenticated = true;
                            self.auth.expire(line.token);
                            continue;
                        }
                        Remedy::Again => {}
                        Remedy::Tell => return Err(failure),
                    }
                    failure
                }
            };
            failures += 1;
            let hopeless = failures >= self.members.len() && !self.answered.load(Ordering::Relaxed);
            let wait = pause.mul_f64(fastrand::f64());
            if hopeless || failure.remedy() == Remedy::Tell || Instant::now() + wait >= deadline {
                return Err(failure);
            }
            debug!(operation, ?failure, "asking again");
            TELEMETRY.retries(operation, 1);
            sleep(wait).await;
            let electing = failure.is_leaderless() && failures < MOST_ELECTING;
            let longest = if electing {
                LONGEST_ELECTING
            } else {
                LONGEST_PAUSE
            };
            pause = (pause * 2).min(longest);
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        line: &Line,
        deadline: Instant,
        late: Late,
        request: &mut F,
    ) -> Result<T, Failure>
    where
        T: Dated,
        F: FnMut(Connection) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let known = self.history.known();
        let sent = Sent::new(deadline, late);
        let connection = line.connection.clone().with_heard(sent.heard.clone());
        let mut first = pin!(request(connection));
        let answer = match timeout_at(sent.late(), first.as_mut()).await {
            Ok(answer) => Some(answer),
            Err(_) => {
                // What hardly ever happens takes its room apart, as elsewhere here: each request
                // would be twice as large with it.
                Box::pin(self.wait_longer(first, &sent, line, request)).await
            }
        };
        match answer {
            Some(Ok(answer)) => {
                self.answered.store(true, Ordering::Relaxed);
                let answer = answer.into_inner();
                if let Some(date) = answer.date() {
                    self.history.learn(known, date);
                }
                Ok(answer)
            }
            Some(Err(status)) => {
                let failure = self.failure(status);
                if matches!(failure, Failure::Refused(_)) {
                    self.answered.store(true, Ordering::Relaxed);
                }
                Err(failure)
            }
            None => Err(Failure::Silent(sent.at.elapsed())),
        }
    }

    /// A connection, made if there is none, with a token if the cluster wants one.
    pub(crate) async fn line(&self) -> Result<Line, Failure> {
        let (connection, generation) = match self.alive() {
            Some(alive) => alive,
            None => Box::pin(self.connect()).await?,
        };
        let (token, number) = match self.auth.known() {
            Some(token) => token,
            None => Box::pin(self.authenticate(&connection, generation)).await?,
        };
        Ok(Line {
            connection: connection.with_token(token),
            generation,
            token: number,
            era: self.history.era(),
        })
    }

    async fn authenticate(
        &self,
        connection: &Connection,
        generation: u64,
    ) -> Result<(Option<HeaderValue>, u64), Failure> {
        let patience = Patience::new(self, connection, generation);
        let token = self.auth.authenticate(connection).await;
        patience.end();
        token.inspect_err(|failure| {
            if failure.remedy() == Remedy::Rotate {
                self.drop_connection(generation);
            }
        })
    }

    async fn connect(&self) -> Result<(Connection, u64), Failure> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(alive) = self.alive() {
            return Ok(alive);
        }
        if self.state().closed {
            return Err(Failure::Unreachable("the handle is closed".into()));
        }
        let mut reasons = Vec::new();
        for at in self.order() {
            let (member, tls) = &self.members[at];
            // Before, in case nobody waits until it is known.
            self.state().failed[at] = Some(Instant::now());
            match Connection::open(member, tls.clone()).await {
                Ok(connection) => {
                    info!(%member, "connected");
                    let mut state = self.state();
                    state.member = at;
                    state.failed[at] = None;
                    if !state.closed {
                        state.current = Some(connection.clone());
                    }
                    drop(state);
                    let mut generation = 0;
                    self.generation.send_modify(|last| {
                        *last += 1;
                        generation = *last;
                    });
                    return Ok((connection, generation));
                }
                Err(reason) => {
                    debug!(%member, %reason, "can't connect");
                    reasons.push(reason);
                }
            }
        }
        Err(Failure::Unreachable(reasons.join(", ").into()))
    }

    /// The members in the order to try them: the one whose turn it is, the others after it, and in
    /// the end those that were away a moment ago, since finding that out may take a while; first
    /// the one that was not tried for the longest time.
    fn order(&self) -> Vec<usize> {
        let state = self.state();
        let count = self.members.len();
        let mut order: Vec<_> = (0..count)
            .map(|step| (state.member + step) % count)
            .collect();
        order.sort_by_key(|at| state.failed[*at].filter(|time| time.elapsed() < AVOID));
        order
    }

    /// Turns to another member; a connection that was made since stays.
    pub(crate) fn rotate(&self, line: &Line) {
        self.drop_connection(line.generation);
    }

    /// Authenticates anew before the next request.
    pub(crate) fn expire(&self, line: &Line) {
        self.auth.expire(line.token);
    }

    fn drop_connection(&self, generation: u64) {
        let mut state = self.state();
        if *self.generation.borrow() == generation && state.current.take().is_some() {
            state.member = (state.member + 1) % self.members.len();
        }
    }

    /// Hangs up, for good.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.current = None;
        drop(state);
        self.generation.send_modify(|last| *last += 1);
    }

    /// Turns to another member, by chance, so that one which was away is used again.
    pub(crate) fn drift(&self) {
        if self.members.len() < 2 {
            return;
        }
        let mut state = self.state();
        state.current = None;
        state.member = fastrand::usize(..self.members.len());
        drop(state);
        self.generation.send_modify(|last| *last += 1);
    }

    /// Waits until another connection than that of `line` is in use, for streams to follow.
    pub(crate) async fn moved(&self, line: &Line) {
        let mut generation = self.generation.subscribe();
        while *generation.borrow_and_update() == line.generation {
            if generation.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes in what an answer of a stream says of the cluster.
    pub(crate) fn hear(&self, line: &Line, header: Option<ResponseHeader>) {
        if let Some(header) = header {
            self.history.hear(line.era, header);
        }
    }

    /// Changes whenever the cluster has become another one or an older one.
    pub(crate) fn era(&self) -> u64 {
        self.history.era()
    }

    /// Whether there ever was an answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// What a status means.
    pub(crate) fn failure(&self, status: Status) -> Failure {
        let status = self.auth.reinterpret(status);
        let member = self.state().member;
        Failure::of(status, &self.members[member].0)
    }

    fn alive(&self) -> Option<(Connection, u64)> {
        let state = self.state();
        let current = state
            .current
            .as_ref()
            .filter(|current| !current.is_closed());
        current.map(|current| (current.clone(), *self.generation.borrow()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! clients {
    ($($method:ident: $module:ident::$client:ident,)+) => {$(
        impl Connection {
            pub(crate) fn $method(self) -> crate::proto::$module::$client<Self> {
                crate::proto::$module::$client::new(self)
                    .max_decoding_message_size(MAX_ANSWER)
                    .max_encoding_message_size(MAX_ANSWER)
            }
        }
    )+};
}

clients! {
    kv: kv_client::KvClient,
    watch: watch_client::WatchClient,
    lease: lease_client::LeaseClient,
    auth: auth_client::AuthClient,
}
