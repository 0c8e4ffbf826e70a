//! One or two dialects as one engine.
//!
//! With both, DNS-SD leads: it says what is registered and who holds an id, and a node that is seen
//! twice is the one that it tells. What is seen in the Go dialect alone is added to it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{NodeRef, Result, Service, Wait};

use super::{
    Config, Counters, Ending, Engine, EngineEvent, Interface, LookupId, NodeKey, Outcome, Question,
    Received, Registered, Remote, Transmit,
    go::{Go, Manner},
};
use crate::options::Dialect;

/// What a driver drives: an [`Engine`], its likeness for the Go dialect, or both side by side.
#[derive(Debug)]
pub(crate) struct Dialects {
    sd: Option<Engine>,
    go: Option<Go>,
    /// What each side has told of a node, if there are two.
    told: HashMap<NodeRef, Sides>,
    lookups: HashMap<LookupId, Lookup>,
    /// Our look-ups by those of the first side.
    by_sd: HashMap<LookupId, LookupId>,
    next_lookup: u64,
    events: VecDeque<EngineEvent>,
    now: Option<Instant>,
}

/// A node as each side sees it.
#[derive(Debug, Default)]
struct Sides {
    sd: Option<Remote>,
    go: Option<Remote>,
}

impl Sides {
    fn best(&self) -> Option<&Remote> {
        self.sd.as_ref().or(self.go.as_ref())
    }

    fn of(&mut self, side: Side) -> &mut Option<Remote> {
        match side {
            Side::Sd => &mut self.sd,
            Side::Go => &mut self.go,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Sd,
    Go,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Sd => Self::Go,
            Self::Go => Self::Sd,
        }
    }
}

/// A look-up by both sides.
#[derive(Debug)]
struct Lookup {
    question: Question,
    began: Instant,
    sd_id: LookupId,
    sd: Option<Outcome>,
    go: Option<Outcome>,
    /// When the side that has found nothing is not waited for any longer.
    patience: Option<Instant>,
}

impl Dialects {
    /// Speaks what the dialect says.
    pub(crate) fn new(dialect: Dialect, config: Config, manner: Manner, seed: u64) -> Self {
        let go = || Go::new(config.clone(), manner, seed);
        let (sd, go) = match dialect {
            Dialect::DnsSd => (true, None),
            Dialect::Vine => (false, Some(go())),
            Dialect::Both => (true, Some(go())),
        };
        Self {
            sd: sd.then(|| Engine::new(config, seed)),
            go,
            told: HashMap::new(),
            lookups: HashMap::new(),
            by_sd: HashMap::new(),
            next_lookup: 0,
            events: VecDeque::new(),
            now: None,
        }
    }

    /// See [`Engine::set_interfaces`].
    pub(crate) fn set_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        match (&mut self.sd, &mut self.go) {
            (Some(sd), Some(go)) => {
                go.set_interfaces(now, interfaces.clone());
                sd.set_interfaces(now, interfaces);
            }
            (Some(sd), None) => sd.set_interfaces(now, interfaces),
            (None, Some(go)) => go.set_interfaces(now, interfaces),
            (None, None) => {}
        }
    }

    /// See [`Engine::handle_packet`].
    pub(crate) fn handle_packet(&mut self, now: Instant, received: Received<'_>) {
        self.note(now);
        if let Some(sd) = &mut self.sd {
            sd.handle_packet(now, received);
        }
        if let Some(go) = &mut self.go {
            go.handle_packet(now, received);
        }
    }

    /// See [`Engine::handle_timeout`].
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.note(now);
        if let Some(sd) = &mut self.sd {
            sd.handle_timeout(now);
        }
        if let Some(go) = &mut self.go {
            go.handle_timeout(now);
        }
    }

    /// See [`Engine::poll_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let sd = self.sd.as_ref().and_then(Engine::poll_timeout);
        let go = self.go.as_ref().and_then(Go::poll_timeout);
        let patience = self.lookups.values().filter_map(|lookup| lookup.patience);
        sd.into_iter().chain(go).chain(patience).min()
    }

    /// See [`Engine::poll_transmit`].
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        let sd = self.sd.as_mut().and_then(Engine::poll_transmit);
        sd.or_else(|| self.go.as_mut().and_then(Go::poll_transmit))
    }

    /// See [`Engine::went_out`].
    pub(crate) fn went_out(&mut self, now: Instant) {
        if let Some(sd) = &mut self.sd {
            sd.went_out(now);
        }
        if let Some(go) = &mut self.go {
            go.went_out(now);
        }
    }

    /// See [`Engine::counters`]; those of DNS-SD alone.
    pub(crate) fn counters(&self) -> Counters {
        self.sd.as_ref().map(Engine::counters).unwrap_or_default()
    }

    /// Whether packets wait for their turn, so that [`handle_timeout`](Self::handle_timeout) brings
    /// more to send.
    pub(crate) fn has_waiting(&self) -> bool {
        let sd = self.sd.as_ref().is_some_and(|sd| sd.outbox.has_waiting());
        sd || self.go.as_ref().is_some_and(Go::has_waiting)
    }

    /// See [`Engine::poll_event`].
    pub(crate) fn poll_event(&mut self) -> Option<EngineEvent> {
        match (&mut self.sd, &mut self.go) {
            (Some(sd), None) => sd.poll_event(),
            (None, Some(go)) => go.poll_event(),
            _ => {
                self.merge();
                self.events.pop_front()
            }
        }
    }

    /// See [`Engine::register`].
    pub(crate) fn register(
        &mut self,
        now: Instant,
        unix_ms: u64,
        service: &Arc<Service>,
    ) -> Result<Vec<Registered>> {
        self.note(now);
        let registered = match (&mut self.sd, &mut self.go) {
            (Some(sd), go) => {
                let registered = sd.register(now, unix_ms, service)?;
                if let Some(go) = go {
                    go.follow(now, service, &registered);
                }
                registered
            }
            (None, Some(go)) => go.register(now, unix_ms, service)?,
            (None, None) => Vec::new(),
        };
        for one in &registered {
            self.told
                .remove(&NodeRef::of(service, Arc::clone(&one.node.id)));
        }
        Ok(registered)
    }

    /// See [`Engine::renew`].
    pub(crate) fn renew(&mut self, now: Instant, key: NodeKey) -> bool {
        match (&mut self.sd, &mut self.go) {
            (Some(sd), _) => sd.renew(now, key),
            (None, Some(go)) => go.renew(now, key),
            (None, None) => false,
        }
    }

    /// See [`Engine::deregister`].
    pub(crate) fn deregister(&mut self, now: Instant, key: NodeKey) -> bool {
        let by_go = self.go.as_mut().is_some_and(|go| go.deregister(now, key));
        match &mut self.sd {
            Some(sd) => sd.deregister(now, key),
            None => by_go,
        }
    }

    /// See [`Engine::browse`].
    pub(crate) fn browse(&mut self, now: Instant, question: Question) {
        if let Some(go) = &mut self.go {
            go.browse(now, question.clone());
        }
        if let Some(sd) = &mut self.sd {
            sd.browse(now, question);
        }
    }

    /// See [`Engine::end_browse`].
    pub(crate) fn end_browse(&mut self, now: Instant, question: &Question) {
        if let Some(go) = &mut self.go {
            go.end_browse(now, question);
        }
        if let Some(sd) = &mut self.sd {
            sd.end_browse(now, question);
        }
    }

    /// See [`Engine::lookup`].
    pub(crate) fn lookup(&mut self, now: Instant, question: Question, wait: Wait) -> LookupId {
        self.note(now);
        self.next_lookup += 1;
        let id = LookupId(self.next_lookup);
        match (&mut self.sd, &mut self.go) {
            (Some(sd), None) => return sd.lookup(now, question, wait),
            (None, Some(go)) => go.lookup(now, id, question, wait),
            (Some(sd), Some(go)) => {
                let sd_id = sd.lookup(now, question.clone(), wait);
                go.lookup(now, id, question.clone(), wait);
                self.by_sd.insert(sd_id, id);
                let lookup = Lookup {
                    question,
                    began: now,
                    sd_id,
                    sd: None,
                    go: None,
                    patience: None,
                };
                self.lookups.insert(id, lookup);
            }
            (None, None) => {}
        }
        id
    }

    /// See [`Engine::ask_again`].
    pub(crate) fn ask_again(&mut self, now: Instant) {
        if let Some(sd) = &mut self.sd {
            sd.ask_again(now);
        }
        if let Some(go) = &mut self.go {
            go.ask_again(now);
        }
    }

    /// Packets were lost here for want of room; everything will be [asked again](Self::ask_again)
    /// after `calm`.
    pub(crate) fn overflowed(&mut self, now: Instant, calm: Duration) {
        if let Some(go) = &mut self.go {
            go.overflowed(now, calm);
        }
    }

    /// See [`Engine::lose_packets`].
    pub(crate) fn lose_packets(&mut self) {
        if let Some(sd) = &mut self.sd {
            sd.lose_packets();
        }
    }

    /// See [`Engine::wake`].
    pub(crate) fn wake(&mut self, now: Instant, slept: Duration) {
        self.note(now);
        if let Some(sd) = &mut self.sd {
            sd.wake(now, slept);
        }
        if let Some(go) = &mut self.go {
            go.wake(now, slept);
        }
    }

    /// See [`Engine::reconfirm`].
    pub(crate) fn reconfirm(&mut self, now: Instant, node: &NodeRef) {
        self.note(now);
        if let Some(sd) = &mut self.sd {
            sd.reconfirm(now, &node.namespace, &node.service, &node.id);
        }
        if let Some(go) = &mut self.go {
            go.reconfirm(now, node);
        }
    }

    /// See [`Engine::is_certain`].
    pub(crate) fn is_certain(&self, question: &Question) -> bool {
        match (&self.sd, &self.go) {
            (Some(sd), Some(go)) => {
                sd.is_certain(question) && (!go.is_stale() || go.is_all_near(question))
            }
            (Some(sd), None) => sd.is_certain(question),
            (None, Some(go)) => go.is_certain(question),
            (None, None) => true,
        }
    }

    fn note(&mut self, now: Instant) {
        self.now = Some(self.now.map_or(now, |before| before.max(now)));
    }

    /// Takes what the two sides tell, and makes one tale of it.
    fn merge(&mut self) {
        while let Some(event) = self.sd.as_mut().and_then(Engine::poll_event) {
            self.take(Side::Sd, event);
        }
        while let Some(event) = self.go.as_mut().and_then(Go::poll_event) {
            self.take(Side::Go, event);
        }
        self.end_patience();
    }

    fn take(&mut self, side: Side, event: EngineEvent) {
        match event {
            EngineEvent::Found(remote) | EngineEvent::Changed(remote) => {
                self.seen(side, reference(&remote), Ok(remote));
            }
            EngineEvent::Gone(remote, ending) => {
                let node = reference(&remote);
                if side == Side::Sd {
                    // Its goodbye in the other dialect may be lost or late.
                    if let Some(go) = &mut self.go {
                        go.forget_registration(&node, remote.epoch);
                    }
                    if let Some(sides) = self.told.get_mut(&node)
                        && remote.epoch != 0
                    {
                        sides.go.take_if(|known| known.epoch == remote.epoch);
                    }
                }
                self.seen(side, node, Err(ending));
            }
            EngineEvent::LookupDone { id, outcome } => {
                let id = match side {
                    Side::Sd => self.by_sd.get(&id).copied(),
                    Side::Go => Some(id),
                };
                if let Some(id) = id {
                    self.looked_up(side, id, outcome);
                }
            }
            // DNS-SD leads; and both lose the same interfaces.
            _ if side == Side::Go => {}
            EngineEvent::Replaced(key) => {
                if let Some(go) = &mut self.go {
                    go.forget_own(key);
                }
                self.events.push_back(event);
            }
            EngineEvent::Expired(key) => {
                if let (Some(go), Some(now)) = (&mut self.go, self.now) {
                    go.deregister(now, key);
                }
                self.events.push_back(event);
            }
            EngineEvent::Stale | EngineEvent::Live => self.events.push_back(event),
        }
    }

    /// One side sees a node in another way, or not any more.
    fn seen(&mut self, side: Side, node: NodeRef, remote: std::result::Result<Remote, Ending>) {
        let sides = self.told.entry(node.clone()).or_default();
        let before = sides.best().cloned();
        let ending = remote.as_ref().err().copied().unwrap_or(Ending::Lost);
        *sides.of(side) = remote.ok();
        let after = sides.best().cloned();
        let event = match (before, after) {
            (None, Some(node)) => Some(EngineEvent::Found(node)),
            (Some(before), Some(node)) if before != node => Some(EngineEvent::Changed(node)),
            (Some(node), None) => Some(EngineEvent::Gone(node, ending)),
            _ => None,
        };
        if sides.best().is_none() {
            self.told.remove(&node);
        }
        self.events.extend(event);
    }

    fn looked_up(&mut self, side: Side, id: LookupId, outcome: Outcome) {
        let quiet = match side.other() {
            Side::Sd => self.sd.as_ref().map(Engine::quiet),
            Side::Go => self.go.as_ref().map(Go::quiet),
        };
        let Some(lookup) = self.lookups.get_mut(&id) else {
            return;
        };
        match side {
            Side::Sd => lookup.sd = Some(outcome),
            Side::Go => lookup.go = Some(outcome),
        }
        let done = match (lookup.sd, lookup.go) {
            (Some(sd), Some(go)) => Some(better(sd, go)),
            _ if outcome == Outcome::First => Some(outcome),
            _ => None,
        };
        let question = lookup.question.clone();
        let began = lookup.began;
        if let Some(outcome) = done {
            self.finish(id, outcome);
        } else if outcome == Outcome::Settled && !self.has_found(side.other(), &question) {
            // Who has found nothing would go on for a second.
            let patience = began + quiet.unwrap_or_default();
            if let Some(lookup) = self.lookups.get_mut(&id) {
                lookup.patience = Some(patience);
            }
        }
    }

    fn has_found(&self, side: Side, question: &Question) -> bool {
        self.told.iter().any(|(node, sides)| {
            let is_told = match side {
                Side::Sd => sides.sd.is_some(),
                Side::Go => sides.go.is_some(),
            };
            let answers = match question {
                Question::All => true,
                Question::Service { namespace, name } => {
                    node.namespace == *namespace && node.service == *name
                }
            };
            is_told && answers
        })
    }

    /// Ends look-ups whose other side has found nothing by the time that it would have.
    fn end_patience(&mut self) {
        let Some(now) = self.now else { return };
        let over = |lookup: &Lookup| lookup.patience.is_some_and(|until| until <= now);
        let due = self.lookups.iter().filter(|(_, lookup)| over(lookup));
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        for id in due {
            let Some(lookup) = self.lookups.get_mut(&id) else {
                continue;
            };
            lookup.patience = None;
            let late = if lookup.sd.is_none() {
                Side::Sd
            } else {
                Side::Go
            };
            let question = lookup.question.clone();
            if !self.has_found(late, &question) {
                self.finish(id, Outcome::Settled);
            }
        }
    }

    fn finish(&mut self, id: LookupId, outcome: Outcome) {
        let (Some(lookup), Some(now)) = (self.lookups.remove(&id), self.now) else {
            return;
        };
        self.by_sd.remove(&lookup.sd_id);
        if let Some(sd) = self.sd.as_mut().filter(|_| lookup.sd.is_none()) {
            sd.cancel_lookup(now, lookup.sd_id);
        }
        if let Some(go) = self.go.as_mut().filter(|_| lookup.go.is_none()) {
            go.cancel_lookup(now, id);
        }
        self.events
            .push_back(EngineEvent::LookupDone { id, outcome });
    }
}

impl Engine {
    /// How long nothing new must come before nothing new is to be expected, on any link.
    fn quiet(&self) -> Duration {
        self.links.quiet()
    }
}

fn reference(remote: &Remote) -> NodeRef {
    NodeRef::of(&remote.service, Arc::clone(&remote.node.id))
}

/// What to say when the two sides end in different ways.
fn better(a: Outcome, b: Outcome) -> Outcome {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::First => 0,
        Outcome::Settled => 1,
        Outcome::Elapsed => 2,
        Outcome::NotFound => 3,
        Outcome::Offline => 4,
    };
    [a, b].into_iter().min_by_key(rank).unwrap_or(a)
}

#[cfg(test)]
mod tests;
