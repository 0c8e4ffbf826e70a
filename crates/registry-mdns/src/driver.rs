//! The one task that owns everything: engine, view and sockets.
//!
//! Handles send it [`Command`]s and read what it publishes in [`Shared`]. Between two waits it takes
//! in what is there (commands, packets, deadlines) and then lets the engine out: packets, events. Who
//! registered or deregistered is answered after that: others have been told by then.

mod browses;
mod clock;
mod network;
mod news;
mod own;
mod shared;
mod suspicion;
mod told;

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    time::{Instant, sleep_until, timeout},
};
use vine_registry::{
    NodeRef, Result, Service, Wait, Watcher,
    view::{Topic, View},
};

use self::{
    browses::Browses, clock::Clock, news::News, own::Own, suspicion::Suspicion, told::Told,
};
pub(crate) use self::{own::Deregistered, shared::Shared};
use crate::{
    MdnsOptions,
    engine::{
        Config, Counters, Destination, Dialects, EngineEvent, Interface, Manner, NodeKey, Question,
        Received,
    },
    interfaces::{self, Monitor},
    registry::TELEMETRY,
    socket::{KNOWS_DESTINATIONS, Link, MAX_PACKET, Sockets},
};

/// How much is taken in before the engine gets to answer.
const BATCH: usize = 64;

/// How many batches may be taken in before what is due is done all the same.
const MAX_UNREAD: u32 = 16;

/// How long goodbyes may wait for a full socket.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// After packets were lost, so long until questions are asked again: the flood shall pass first.
const CALM: Duration = Duration::from_millis(250);

/// So much later a packet may be read than it came.
const LATE: Duration = Duration::from_millis(50);

/// Watches have no owner but the one handle.
const OWNER: u64 = 0;

/// What handles ask of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Register {
        service: Arc<Service>,
        namespace: Arc<str>,
        ttl: Option<Duration>,
        reply: oneshot::Sender<Result<()>>,
    },
    Deregister {
        /// Without its metadata and the like: name, version and nodes.
        service: Service,
        namespace: Arc<str>,
        force: bool,
        /// Whether a look-up was made, so that what is not known does not exist.
        looked_up: bool,
        reply: oneshot::Sender<Result<Deregistered>>,
    },
    Settle(Settle),
    /// Somebody could not reach a node.
    Reconfirm(NodeRef),
    Watch {
        topic: Topic,
        question: Question,
        reply: oneshot::Sender<Watcher>,
    },
    Statistics {
        reply: oneshot::Sender<Counters>,
    },
    Close {
        reply: oneshot::Sender<Result<()>>,
    },
}

/// Asks until the answer is as complete as `wait` wants it.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) question: Question,
    pub(crate) wait: Wait,
    /// Whether to wait for an outage to end.
    pub(crate) patient: bool,
    pub(crate) reply: oneshot::Sender<Result<()>>,
}

/// The answer to a command that others are to be told of first.
#[derive(Debug)]
enum Answer {
    Registered(oneshot::Sender<Result<()>>, Result<()>),
    Deregistered(oneshot::Sender<Result<Deregistered>>, Result<Deregistered>),
}

impl Answer {
    /// That nobody waits for it any more is fine.
    fn give(self) {
        match self {
            Self::Registered(reply, registered) => drop(reply.send(registered)),
            Self::Deregistered(reply, done) => drop(reply.send(done)),
        }
    }
}

/// Who a node in the view belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Own(NodeKey),
    Other,
}

#[derive(Debug)]
pub(crate) struct Driver {
    options: MdnsOptions,
    commands: mpsc::UnboundedReceiver<Command>,
    answers: Vec<Answer>,
    shared: Arc<Shared>,
    engine: Dialects,
    view: View<Holder>,
    own: Own,
    browses: Browses,
    sockets: Sockets,
    monitor: Monitor,
    interfaces: Vec<Interface>,
    clock: Clock,
    /// When to ask again because packets were lost.
    ask_again: Option<Instant>,
    suspicion: Suspicion,
    told: Told,
}

impl Driver {
    /// Opens the sockets. That none can be opened is an outage and no error.
    pub(crate) fn new(
        options: MdnsOptions,
        namespace: Arc<str>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let config = Config {
            port: options.port,
            knows_destinations: KNOWS_DESTINATIONS,
            keys: options.keys.clone(),
            ..Config::default()
        };
        let manner = Manner::new(&options, namespace);
        let view = View::new(crate::registry::NAME);
        let mut driver = Self {
            commands,
            answers: Vec::new(),
            shared: Arc::new(Shared::new(view.reader())),
            engine: Dialects::new(options.dialect, config, manner, fastrand::u64(..)),
            view,
            own: Own::default(),
            browses: Browses::new(Instant::now()),
            sockets: Sockets::new(options.port),
            monitor: Monitor::new(),
            interfaces: Vec::new(),
            clock: Clock::new(),
            ask_again: None,
            suspicion: Suspicion::default(),
            told: Told::new(),
            options,
        };
        driver.follow(interfaces::usable(&driver.options), true);
        driver.let_out();
        driver
    }

    /// What handles may read without asking.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until the handle is closed or dropped, and then says goodbye.
    pub(crate) async fn run(mut self) {
        let mut buffer = vec![0; MAX_PACKET];
        let mut unread = 0;
        let closing = loop {
            self.let_out();
            if unread == 0 {
                self.answers.drain(..).for_each(Answer::give);
            }
            let deadline = self.deadline();
            let next = tokio::select! {
                command = self.commands.recv() => Next::Commands(command),
                () = poll_fn(|cx| self.sockets.poll_ready(cx)) => Next::Packets,
                () = sleep_until(deadline) => Next::Deadline,
                () = self.monitor.changed() => Next::Interfaces,
            };
            self.wake();
            match next {
                Next::Commands(first) => {
                    if let Some(closing) = self.obey_all(first) {
                        break closing;
                    }
                }
                Next::Packets => self.sockets.flush(),
                Next::Deadline => {}
                Next::Interfaces => self.look_at_interfaces(),
            }
            // What has arrived may be what a deadline is for.
            unread = match self.receive(&mut buffer) {
                true if unread < MAX_UNREAD => unread + 1,
                _ => 0,
            };
            if unread == 0 {
                self.pass_time();
            }
        };
        self.say_goodbye(closing).await;
    }

    /// Sees whether the machine slept, before anything is done about the time that has passed.
    fn wake(&mut self) {
        if let Some(slept) = self.clock.slept() {
            self.woke(slept);
        }
    }

    fn woke(&mut self, slept: Duration) {
        tracing::debug!(?slept, "woke up; asking and announcing again");
        self.look_at_interfaces();
        self.unsettle();
        self.engine.wake(Instant::now().into_std(), slept);
    }

    /// Does what handles ask, until all of them are gone or one closes.
    fn obey_all(&mut self, first: Option<Command>) -> Option<Closing> {
        let mut next = first.ok_or(TryRecvError::Disconnected);
        for left in (0..BATCH).rev() {
            match next {
                Ok(Command::Close { reply }) => return Some(Closing(Some(reply))),
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Some(Closing(None)),
            }
            if left == 0 {
                break;
            }
            next = self.commands.try_recv();
        }
        None
    }

    /// Does what a handle asks. That nobody waits for the answer any more is fine.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Register {
                service,
                namespace,
                ttl,
                reply,
            } => {
                let registered = self.register(service, namespace, ttl);
                self.answers.push(Answer::Registered(reply, registered));
            }
            Command::Deregister {
                service,
                namespace,
                force,
                looked_up,
                reply,
            } => {
                let done = self.deregister(&service, &namespace, force, looked_up);
                self.answers.push(Answer::Deregistered(reply, done));
            }
            Command::Settle(settle) => self.settle(settle),
            Command::Reconfirm(node) => {
                let now = Instant::now().into_std();
                self.engine.reconfirm(now, &node);
            }
            Command::Statistics { reply } => {
                let _ = reply.send(self.engine.counters());
            }
            Command::Watch {
                topic,
                question,
                reply,
            } => {
                self.browse(&question);
                self.browses.watched(&question, &topic);
                let _ = reply.send(self.view.watch(topic, OWNER));
            }
            Command::Close { reply } => drop(reply),
        }
    }

    /// Takes in what has arrived, and gives whether there may be more.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let now = Instant::now().into_std();
        let mut is_more = true;
        for _ in 0..BATCH {
            let Some(arrival) = self.sockets.receive(buffer) else {
                is_more = false;
                break;
            };
            let Some(payload) = buffer.get(..arrival.len) else {
                continue;
            };
            let received = Received {
                payload,
                source: arrival.source,
                interface: arrival.link.interface,
                port: arrival.port,
                multicast: arrival.multicast,
            };
            self.engine.handle_packet(self.arrived(), received);
        }
        if self.sockets.take_losses().overflowed > 0 {
            self.engine.lose_packets();
            self.ask_again.get_or_insert_with(|| Instant::now() + CALM);
            self.engine.overflowed(now, CALM);
        }
        is_more
    }

    /// When a packet came that waited in its socket: before what has become due meanwhile. This process
    /// may have been kept from running, and who answered in time shall not be missed for that.
    fn arrived(&self) -> std::time::Instant {
        let now = Instant::now().into_std();
        let due = self.engine.poll_timeout().filter(|due| *due <= now);
        due.filter(|due| now.saturating_duration_since(*due) < LATE)
            .and_then(|due| due.checked_sub(Duration::from_nanos(1)))
            .unwrap_or(now)
    }

    fn deadline(&self) -> Instant {
        let engine = self.engine.poll_timeout().map(Instant::from_std);
        [engine, self.ask_again, Some(self.browses.next_look())]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(Instant::now)
    }

    /// Does what is due.
    fn pass_time(&mut self) {
        let now = Instant::now();
        let due = self.engine.poll_timeout();
        if due.is_some_and(|due| due <= now.into_std()) {
            self.engine.handle_timeout(now.into_std());
        }
        if self.ask_again.is_some_and(|at| at <= now) {
            tracing::debug!("packets were lost; asking again");
            self.ask_again = None;
            TELEMETRY.resync("packets were lost");
            self.engine.ask_again(now.into_std());
        }
        if !self.options.keys.is_empty() {
            self.suspicion.look_at(now, self.engine.counters());
        }
        self.end_idle_browses(now);
    }

    /// Lets out what the engine has to say.
    fn let_out(&mut self) {
        let mut has_sent = false;
        while let Some(packet) = self.engine.poll_transmit() {
            has_sent = true;
            let link = Link {
                interface: packet.interface,
                family: packet.family,
            };
            match packet.to {
                Destination::Multicast => {
                    self.sockets
                        .send_to_group(link, packet.port, &packet.payload);
                }
                Destination::Unicast(to) => {
                    self.sockets.send(link, packet.port, to, &packet.payload);
                }
            }
        }
        if has_sent {
            self.engine.went_out(Instant::now().into_std());
        }
        let (mut news, mut others) = (Vec::new(), Vec::new());
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Found(remote) | EngineEvent::Changed(remote) => {
                    news.push(News::seen(remote));
                }
                EngineEvent::Gone(remote, ending) => news.push(News::gone(&remote, ending)),
                EngineEvent::Replaced(key) => {
                    news.extend(self.lose(key).map(|node| News::ended(node, key)));
                }
                EngineEvent::Expired(key) => {
                    news.extend(self.expire(key).map(|node| News::ended(node, key)));
                }
                other => others.push(other),
            }
        }
        self.take_in(news);
        // What a look-up has found is there when it ends.
        for event in others {
            match event {
                EngineEvent::LookupDone { id, outcome } => self.looked_up(id, outcome),
                EngineEvent::Stale => self.go_stale(),
                EngineEvent::Live => self.go_live(),
                _ => {}
            }
        }
        let (own, nodes) = (self.own.len(), self.view.node_count());
        self.told.tell(self.engine.counters(), own, nodes);
    }

    /// Ends what this handle registered; gives the goodbyes a moment to get out.
    async fn say_goodbye(mut self, closing: Closing) {
        let unseen = self.shared.staleness().filter(|_| !self.own.is_empty());
        self.end_own();
        self.view.end_watches(OWNER);
        self.let_out();
        self.answers.drain(..).for_each(Answer::give);
        let flushed = async {
            loop {
                while !self.sockets.is_flushed() {
                    poll_fn(|cx| self.sockets.poll_ready(cx)).await;
                    self.sockets.flush();
                    // What arrives is of no interest any more, but keeps the sockets ready.
                    let mut buffer = [0; 1];
                    while self.sockets.receive(&mut buffer).is_some() {}
                }
                if !self.engine.has_waiting() {
                    break;
                }
                // More than receivers can follow at once.
                sleep_until(self.deadline()).await;
                self.engine.handle_timeout(Instant::now().into_std());
                self.let_out();
            }
        };
        if timeout(LAST_WORDS, flushed).await.is_err() {
            tracing::debug!("not every goodbye got out");
        }
        if let Some(reply) = closing.0 {
            let _ = reply.send(unseen.map_or(Ok(()), Err));
        }
    }
}

/// What there is to do.
enum Next {
    Commands(Option<Command>),
    Packets,
    Deadline,
    Interfaces,
}

/// The driver ends: a handle was closed and wants to hear of it, or all were dropped.
struct Closing(Option<oneshot::Sender<Result<()>>>);

#[cfg(test)]
mod tests;
