//! The mDNS engine: packets and calls in, packets, events and deadlines out.
//!
//! It knows no socket, no clock and no runtime. Its driver calls it like this:
//!
//! 1. After any call, send what [`Engine::poll_transmit`] gives and take what
//!    [`Engine::poll_event`] gives, each until there is nothing more. Packets are put together
//!    when they are polled, so that several calls in a row share packets.
//! 2. Then wait for a packet ([`Engine::handle_packet`]), for [`Engine::poll_timeout`]
//!    ([`Engine::handle_timeout`]), or for the next call.
//!
//! Time goes in as an argument and never goes back.

mod event;
mod io;

use std::{collections::VecDeque, sync::Arc, time::Instant};

pub use event::{
    Config, Counters, EngineEvent, LookupId, NodeKey, Outcome, Question, Registered, Remote,
};
pub use io::{Destination, Family, Interface, LinkKind, Port, Received, Transmit};
use vine_registry::{Result, Service, Wait};

/// One participant in mDNS: what it registers, what it asks for and what it knows.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    seed: u64,
    interfaces: Vec<Interface>,
    events: VecDeque<EngineEvent>,
    counters: Counters,
    next_id: u64,
}

impl Engine {
    /// An engine without interfaces: it sends nothing until [`set_interfaces`](Self::set_interfaces).
    ///
    /// `seed` must differ between engines, in one process too: delays, ids of questions and the
    /// host names of the registered nodes come from it.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            seed,
            interfaces: Vec::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            next_id: 0,
        }
    }

    /// Says which interfaces there are to use. Call it again whenever that changes.
    ///
    /// On new ones, registrations are announced and questions asked again. Without any, nothing
    /// expires: [`EngineEvent::Stale`].
    pub fn set_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let _ = now;
        self.interfaces = interfaces;
    }

    /// Takes a packet in.
    pub fn handle_packet(&mut self, now: Instant, received: Received<'_>) {
        let _ = (now, received);
        self.counters.ignored += 1;
    }

    /// Does what is due. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Registers the nodes of `service`, or changes them, or renews them: all of them or, on an
    /// error, none.
    ///
    /// `service` has its namespace and its effective ttl filled in; with a ttl, each of its nodes
    /// ends by itself unless it is registered or [renewed](Self::renew) again in time. A node
    /// whose id was registered under another version moves. `unix_ms` is the wall clock.
    ///
    /// # Errors
    /// [`TooLarge`](vine_registry::Error::TooLarge) when a node does not fit into a record;
    /// [`InvalidService`](vine_registry::Error::InvalidService) when an address does not parse.
    pub fn register(
        &mut self,
        now: Instant,
        unix_ms: u64,
        service: &Arc<Service>,
    ) -> Result<Vec<Registered>> {
        let _ = (now, unix_ms, service, &self.config, self.seed);
        Ok(Vec::new())
    }

    /// Begins the ttl of a registration anew. False if there is none by this key.
    pub fn renew(&mut self, now: Instant, key: NodeKey) -> bool {
        let _ = (now, key);
        false
    }

    /// Ends a registration with a goodbye (RFC 6762 section 10.1). False if there is none by this
    /// key.
    pub fn deregister(&mut self, now: Instant, key: NodeKey) -> bool {
        let _ = (now, key);
        false
    }

    /// Begins to ask for nodes for good (RFC 6762 section 5.2). Browses are counted: each wants
    /// its [`end_browse`](Self::end_browse).
    ///
    /// Nodes of other namespaces, and of other names that are spelled alike, may be told as well.
    pub fn browse(&mut self, now: Instant, question: Question) {
        let _ = (now, question);
    }

    /// Ends a browse. Nodes that nobody asks for any more are told as gone.
    pub fn end_browse(&mut self, now: Instant, question: &Question) {
        let _ = (now, question);
    }

    /// Asks for nodes once, and tells when the answer is [complete](EngineEvent::LookupDone).
    ///
    /// Begin a [browse](Self::browse) before it, or what it finds is forgotten when it is done.
    pub fn lookup(&mut self, now: Instant, question: Question, wait: Wait) -> LookupId {
        let _ = (now, question, wait);
        self.next_id += 1;
        LookupId(self.next_id)
    }

    /// Gives a look-up up; its end is not told.
    pub fn cancel_lookup(&mut self, now: Instant, id: LookupId) {
        let _ = (now, id);
    }

    /// Asks every browse's question again soon: packets may have been lost, as when a socket's
    /// buffer was full.
    pub fn ask_again(&mut self, now: Instant) {
        let _ = now;
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
