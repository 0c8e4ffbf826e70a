//! What is known of the nodes of others, and for how long.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Node, NodeRef, Service, validate};

use super::{
    Due, Go, Map, Origin,
    names::{split, under},
    outage::{Trial, Verdict},
    packets::{self, Heard},
    payload::{Decoded, Payload},
};
use crate::{
    codec::Message,
    engine::{
        Ending, EngineEvent, Question, Remote,
        cache::GRACE,
        lease::{Expiry, Lease},
        quota::Charge,
        resolve::text,
        timers::Alarm,
        version::{Identity, Version},
    },
};

/// Thousandths of a lifetime by which refreshes are spread.
const MAX_JITTER: u32 = 20;

/// How long packets may be late: what was said before a goodbye does not count for so long.
const LATENESS: Duration = Duration::from_secs(10);
const MAX_TOMBS: usize = 4_096;

/// Goodbyes that were heard, and until when they count.
pub(super) type Tombs = Map<Identity, (Version, Instant)>;

/// A node of somebody else.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) remote: Remote,
    /// Where it is asked for.
    topic: String,
    version: Version,
    port: u16,
    /// Who is on several links has several addresses; one is kept as long as it is heard of.
    address: (IpAddr, Lease),
    pub(super) lease: Lease,
    /// Whether the last that was heard of it came from this very host.
    pub(super) is_near: bool,
    /// What it takes, and whether it has proven itself.
    pub(super) charge: Charge,
    pub(super) trial: Option<Trial>,
    pub(super) alarm: Alarm,
}

impl Known {
    /// Whether this was said of the very same registration on another link.
    fn is_elsewhere(
        &self,
        now: Instant,
        expiry: &Expiry,
        version: &Version,
        address: IpAddr,
    ) -> bool {
        let (kept, last) = &self.address;
        version.has_epoch()
            && *version == self.version
            && *kept != address
            && !last.is_over(now, expiry)
    }

    /// Takes in what is said of it now, and gives the change, if it is one.
    fn renew(
        &mut self,
        version: Version,
        heard: &Heard,
        remote: Remote,
        lease: Lease,
        is_elsewhere: bool,
    ) -> Option<EngineEvent> {
        self.lease = lease;
        self.trial = None;
        self.version = version;
        self.port = heard.port;
        if is_elsewhere {
            return None;
        }
        self.address = (heard.address, lease);
        if self.remote == remote {
            return None;
        }
        self.remote = remote.clone();
        Some(EngineEvent::Changed(remote))
    }
}

impl Go {
    /// Takes answers and announcements in.
    pub(super) fn take_response(&mut self, now: Instant, message: &Message, origin: Origin) {
        for (from, to, ttl) in packets::pointers(message) {
            self.hear_entry(now, &from, &to, ttl);
        }
        for heard in packets::nodes(message) {
            self.hear(now, &heard, origin);
        }
        self.look_at_lookups(now);
    }

    fn hear(&mut self, now: Instant, heard: &Heard, origin: Origin) {
        if self.own.is_own_target(&heard.target) {
            return;
        }
        // Before anything is inflated, which takes many times as much as the packet.
        if !self.matters(&heard.instance) {
            return;
        }
        let Some(decoded) = self.payloads.decode(&heard.txt) else {
            return;
        };
        let payload = &decoded.payload;
        let Some((id, domain)) = self.place(&heard.instance, &payload.service) else {
            return;
        };
        let namespace = self.namespace(domain, payload.namespace.as_ref());
        let is_sound = [&*namespace, &*payload.service, id]
            .iter()
            .all(|text| validate::name("name", text, 255).is_ok());
        if !is_sound {
            return;
        }
        let topic = under(&payload.service, domain);
        let identity = Identity::new(&namespace, &payload.service, &id.into());
        if let Some(key) = self.own.key(&identity) {
            let theirs = payload.stamp();
            let is_theirs = !heard.is_goodbye
                && self.manner.leads
                && self.contest(now, key, theirs, &heard.target);
            if !is_theirs {
                return;
            }
        }
        if heard.is_goodbye {
            self.hear_goodbye(now, &identity, heard);
            return;
        }
        if !self.is_wanted(&topic) {
            self.learn_topic(now, &payload.service, domain, heard.ttl);
            if !self.is_wanted(&topic) {
                return;
            }
        }
        if self.store(now, &identity, &topic, heard, &decoded, origin) {
            self.heard(now, &topic, &heard.instance, &identity, origin);
        }
    }

    /// Whether anybody wants to know of an instance, whatever service it says to be of.
    fn matters(&self, instance: &str) -> bool {
        let mut places = instance.match_indices('.');
        self.wants_all()
            || places.any(|(at, _)| self.is_wanted(&instance[at + 1..]))
            || self.own.at(instance).next().is_some()
    }

    /// Takes an instance apart to an id and a domain that matters here.
    fn place<'a>(&self, instance: &'a str, service: &str) -> Option<(&'a str, &'a str)> {
        let mut places = split(instance, service);
        match &self.manner.domain {
            Some(own) => places.find(|(_, domain)| *domain == &**own),
            None => {
                let last = places.next()?;
                let wanted = |domain: &str| self.topics.contains_key(&under(service, domain));
                if wanted(last.1) {
                    return Some(last);
                }
                Some(places.find(|(_, domain)| wanted(domain)).unwrap_or(last))
            }
        }
    }

    fn hear_goodbye(&mut self, now: Instant, identity: &Identity, heard: &Heard) {
        let is_its_own = self
            .nodes
            .get(identity)
            .is_some_and(|known| known.version.is_from(&heard.target) && known.port == heard.port);
        if is_its_own && let Some(known) = self.nodes.get(identity) {
            let version = known.version.clone();
            self.forget(identity, Ending::Said);
            self.bury(now, identity, version);
        }
    }

    /// Remembers a goodbye for a while: answers that were on their way may come after it. Who does
    /// not say when he registered can't be told from who comes again.
    fn bury(&mut self, now: Instant, identity: &Identity, version: Version) {
        if !version.has_epoch() {
            return;
        }
        if self.tombs.len() >= MAX_TOMBS {
            self.tombs.retain(|_, (_, until)| *until > now);
            if self.tombs.len() >= MAX_TOMBS {
                return;
            }
        }
        let tomb = (version, now + LATENESS);
        self.tombs.insert(identity.clone(), tomb);
    }

    /// Whether this was said before a goodbye.
    fn is_buried(&self, now: Instant, identity: &Identity, version: &Version) -> bool {
        let tomb = self.tombs.get(identity);
        tomb.is_some_and(|(buried, until)| *until > now && version <= buried)
    }

    /// Takes in what is said of a node; false if there is no room for it.
    fn store(
        &mut self,
        now: Instant,
        identity: &Identity,
        topic: &str,
        heard: &Heard,
        decoded: &Decoded,
        origin: Origin,
    ) -> bool {
        let payload = &decoded.payload;
        let version = Version::new(payload.stamp(), Some(heard.target.clone()));
        let jitter = self.random.u32(0..=MAX_JITTER);
        let lease = Lease::new(now, heard.ttl, jitter, origin.by);
        let known = self.nodes.get(identity);
        let is_old = known.is_some_and(|known| !version.supersedes(&known.version));
        if is_old || self.is_buried(now, identity, &version) {
            return true;
        }
        let by = origin.by.host;
        let has_room = self.make_room(by, identity, decoded.weight);
        let remote = self.remote(identity, heard, payload, origin);
        let event = match self.nodes.get_mut(identity) {
            // It is alive, and goes on as what it was.
            Some(known) if !has_room => {
                known.lease = lease;
                known.trial = None;
                None
            }
            Some(known) => {
                known.is_near = origin.is_near;
                let is_elsewhere = known.is_elsewhere(now, &self.expiry, &version, heard.address);
                let event = known.renew(version, heard, remote, lease, is_elsewhere);
                self.recharge(now, identity, decoded.weight);
                event
            }
            None if !has_room => return false,
            None => {
                let known = Known {
                    remote: remote.clone(),
                    topic: topic.to_owned(),
                    version,
                    port: heard.port,
                    address: (heard.address, lease),
                    lease,
                    is_near: origin.is_near,
                    charge: self.charge(now, by, identity, decoded.weight),
                    trial: None,
                    alarm: Alarm::default(),
                };
                self.nodes.insert(identity.clone(), known);
                Some(EngineEvent::Found(remote))
            }
        };
        self.events.extend(event);
        self.arm_node(identity);
        true
    }

    fn remote(
        &self,
        identity: &Identity,
        heard: &Heard,
        payload: &Payload,
        origin: Origin,
    ) -> Remote {
        let more = payload.more.as_ref();
        let address = more.and_then(|more| more.address.clone());
        let address = address.unwrap_or_else(|| {
            let zone = self.links.interface(origin.by.link.0).map(|i| &*i.name);
            text(heard.address, zone, heard.port)
        });
        let node = Node::new(Arc::clone(&identity.id), address)
            .with_metadata(payload.metadata.clone().unwrap_or_default());
        let node = Arc::new(node);
        let version = payload.version.clone().unwrap_or_default();
        let mut service = Service::new(Arc::clone(&identity.name), version)
            .with_namespace(Arc::clone(&identity.namespace))
            .with_endpoints(payload.endpoints.clone().unwrap_or_default())
            .with_node(Arc::clone(&node));
        if let Some(more) = more {
            service = service
                .with_metadata(more.metadata.clone())
                .with_apis(Arc::clone(&more.apis));
            service.ttl = more.ttl;
        }
        let stamp = payload.stamp();
        Remote {
            service: Arc::new(service),
            node,
            epoch: stamp.epoch,
            changed: stamp.changed,
        }
    }

    /// Forgets a node and says that it is gone, and how that is known.
    pub(super) fn forget(&mut self, identity: &Identity, ending: Ending) {
        if let Some(known) = self.drop_node(identity) {
            self.events
                .push_back(EngineEvent::Gone(known.remote, ending));
        }
    }

    /// Forgets the nodes that nobody asks for any more.
    pub(super) fn forget_unwanted(&mut self) {
        let topics = &self.topics;
        let unwanted = |known: &Known| !topics.contains_key(&known.topic);
        let gone = self.nodes.iter().filter(|(_, known)| unwanted(known));
        let gone: Vec<_> = gone.map(|(identity, _)| identity.clone()).collect();
        for identity in gone {
            self.forget(&identity, Ending::Lost);
        }
    }

    /// Forgets a node that DNS-SD says is gone, if it is the very registration that is known here.
    pub(crate) fn forget_registration(&mut self, node: &NodeRef, epoch: u64) {
        let identity = Self::identity(node);
        let known = self.nodes.get(&identity);
        if epoch != 0 && known.is_some_and(|known| known.remote.epoch == epoch) {
            self.forget(&identity, Ending::Lost);
        }
    }

    /// Whether a node is known that answers the question.
    pub(super) fn has_found(&self, question: &Question) -> bool {
        self.nodes.keys().any(|identity| identity.answers(question))
    }

    pub(super) fn arm_node(&mut self, identity: &Identity) {
        if let Some(known) = self.nodes.get_mut(identity) {
            let trial = known.trial.as_ref().map(Trial::next);
            let next = known.lease.next(&self.expiry);
            if let Some(at) = trial.into_iter().chain(next).min() {
                self.timers
                    .set(&mut known.alarm, at, || Due::Node(identity.clone()));
            }
        }
    }

    pub(super) fn arm_all_nodes(&mut self) {
        let all: Vec<_> = self.nodes.keys().cloned().collect();
        for identity in all {
            self.arm_node(&identity);
        }
    }

    /// Asks again for what is about to expire, and forgets what has.
    pub(super) fn node_due(&mut self, now: Instant, at: Instant, identity: &Identity) {
        let Some(known) = self.nodes.get_mut(identity) else {
            return;
        };
        if !known.alarm.rings(at) {
            return;
        }
        if known.lease.is_cut_off(&self.expiry) {
            known.trial = None;
        }
        let verdict = known.try_it(now);
        if verdict == Verdict::Gone || known.lease.is_over(now, &self.expiry) {
            self.forget(identity, Ending::Lost);
            return;
        }
        let is_refresh = known.lease.take_refresh(now);
        let topic = known.topic.clone();
        match verdict {
            Verdict::Ask => self.ask_soon(now, &topic, Duration::ZERO),
            _ if is_refresh => self.ask_soon(now, &topic, GRACE),
            _ => {}
        }
        self.arm_node(identity);
    }
}
