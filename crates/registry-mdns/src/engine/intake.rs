//! What the answers and announcements of others change.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Instant};

use super::{
    Ending, Engine,
    cache::{Address, GRACE, Instance, Txt},
    lease::{Lease, Source},
    quota::{RETRY, taken},
    timers::Timer,
    version::Version,
};
use crate::{
    codec::{Data, Message, Name, Record, Srv},
    mapping::{Facts, Unread, decode},
};

/// RFC 6762 section 6.7.
const LEGACY_TTL: u32 = 10;

/// Where an answer came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) by: Source,
    /// Whether the sender is on this host.
    pub(super) is_near: bool,
    /// The one-shot question that it answers, if it does. Such an answer neither shortens nor
    /// ends anything.
    pub(super) asked: Option<Asked>,
}

impl Origin {
    pub(super) fn is_weak(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn ttl(&self, ttl: u32) -> u32 {
        if self.is_weak() {
            ttl.min(LEGACY_TTL)
        } else {
            ttl
        }
    }
}

/// A one-shot question that was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// Whether it had been asked before.
    pub(super) is_repeated: bool,
}

/// What a packet says of an instance.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) srv: Option<(&'a Srv, u32)>,
    pub(super) txt: Option<(&'a Arc<[u8]>, u32)>,
}

impl Said<'_> {
    fn contradicts(&self, known: &Instance) -> bool {
        let srv = known.srv.as_ref().map(|(srv, _)| srv);
        let txt = known.txt.as_ref().map(|txt| &txt.bytes);
        self.srv.is_some_and(|(said, _)| srv != Some(said))
            || self.txt.is_some_and(|(said, _)| txt != Some(said))
    }
}

/// What to make of it.
enum Verdict {
    /// It is one's own, or old, or another holder's.
    Ignore,
    /// It was said before a goodbye; if it may count all the same, it is asked for then.
    Late(Option<Instant>),
    /// There is no room for it; who is known stays as he was.
    NoRoom,
    /// The node is gone.
    Gone,
    /// It counts; the facts are those of the TXT record, if it can be understood.
    Take(Option<Arc<Facts>>),
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

impl Engine {
    /// Takes an answer or an announcement in.
    pub(super) fn take_response(&mut self, now: Instant, message: &Message, origin: &Origin) {
        if !origin.is_weak() {
            self.hear_answers(now, message, origin.by.link);
        }
        self.peers.see(message, &self.own, &self.names.service_type);
        self.notice_foreign(now, message, origin);
        let records = || message.answers.iter().chain(&message.additionals);
        let mut verdicts = Map::default();
        for (name, said) in self.said(records()) {
            let verdict = self.judge(now, name, &said, origin);
            verdicts.insert(name, (said, verdict));
        }
        let mut touched = Vec::new();
        for record in records() {
            if let Data::Ptr(instance) = &record.data {
                let verdict = verdicts.get(instance).map(|(_, verdict)| verdict);
                if self.take_pointer(now, record, instance, verdict, origin) {
                    touched.push(instance.clone());
                }
            }
        }
        for (name, (said, verdict)) in verdicts {
            match verdict {
                Verdict::Ignore | Verdict::Late(_) => {}
                Verdict::NoRoom => {
                    self.ask_when_there_is_room(now, name);
                    self.hold(now, name, &said, origin);
                    touched.push(name.clone());
                }
                Verdict::Gone => self.forget_instance(name, Ending::Said),
                Verdict::Take(facts) => {
                    if self.has_room_for(now, name, &said, facts.as_deref(), origin) {
                        self.take_said(now, name, &said, facts, origin);
                    } else {
                        self.hold(now, name, &said, origin);
                    }
                    touched.push(name.clone());
                }
            }
        }
        for record in records() {
            self.take_address(now, record, origin, &mut touched);
        }
        for name in &touched {
            self.follow_blob(now, name, origin.by);
            self.follow(now, name);
        }
        self.take_chunks(now, records(), origin);
        if origin.asked.is_some() {
            self.note_whole(message, origin.by);
        }
        self.look_at_lookups(now);
    }

    /// What the records say of instances that matter: own ones, known ones, and ones that a
    /// pointer in the packet makes known.
    pub(super) fn said<'a>(
        &self,
        records: impl Iterator<Item = &'a Record> + Clone,
    ) -> Map<&'a Name, Said<'a>> {
        let mut said: Map<&Name, Said<'_>> = Map::default();
        for record in records.clone() {
            if let Data::Ptr(instance) = &record.data
                && self.cache.topics.contains_key(&record.name)
            {
                said.entry(instance).or_default();
            }
        }
        for record in records {
            let name = &record.name;
            let matters = |said: &Map<&Name, Said<'_>>| {
                said.contains_key(name)
                    || self.cache.instances.contains_key(name)
                    || self.own.at(name).is_some()
            };
            match &record.data {
                Data::Srv(srv) if matters(&said) => {
                    said.entry(name).or_default().srv = Some((srv, record.ttl));
                }
                Data::Txt(bytes) if matters(&said) => {
                    said.entry(name).or_default().txt = Some((bytes, record.ttl));
                }
                _ => {}
            }
        }
        said.retain(|_, said| said.srv.is_some() || said.txt.is_some());
        said
    }

    fn judge(&mut self, now: Instant, name: &Name, said: &Said<'_>, origin: &Origin) -> Verdict {
        let read = said.txt.map(|(bytes, _)| self.facts(name, bytes));
        let has_room = read != Some(Err(Unread::NoRoom));
        let facts = read.and_then(Result::ok);
        let version = match (said.srv, &facts) {
            (Some((srv, _)), Some(facts)) => {
                Some(Version::new(facts.stamp, Some(srv.target.clone())))
            }
            _ => None,
        };
        let is_goodbye = said.srv.is_some_and(|(_, ttl)| ttl == 0);
        let is_own = said
            .srv
            .is_some_and(|(srv, _)| self.own.is_own_target(&srv.target));
        if let Some((key, own)) = self.own.at(name) {
            let contradicts =
                said.srv.is_some() || said.txt.is_some_and(|(txt, _)| *txt != own.txt);
            let lost = match version {
                _ if is_own => {
                    self.rescue(now, name, said, origin);
                    false
                }
                // Who leaves contests nothing any more, nor does what he said before.
                Some(version) if is_goodbye => {
                    if !origin.is_weak() && version.has_epoch() {
                        self.cache.bury(now, name, version);
                    }
                    self.outlive(now, key);
                    false
                }
                Some(version) if self.is_late(now, name, &version) => false,
                Some(version) => !self.contest(now, name, &version),
                None => {
                    if contradicts && !is_goodbye && !origin.is_weak() {
                        self.announce_again(now, key);
                    }
                    false
                }
            };
            return if lost {
                Verdict::Take(facts)
            } else {
                Verdict::Ignore
            };
        }
        if is_own || is_goodbye && origin.is_weak() {
            return Verdict::Ignore;
        }
        let known = self.cache.instances.get(name);
        let held = known.and_then(|known| known.srv.as_ref());
        let is_held = said
            .srv
            .is_some_and(|(srv, _)| held.is_some_and(|(held, _)| held == srv));
        let buried = version
            .as_ref()
            .and_then(|version| self.cache.buried(now, name, version));
        if let Some(burial) = &buried
            && !(is_goodbye && is_held)
        {
            return Verdict::Late((!burial.is_own).then_some(burial.until));
        }
        if !has_room && !is_goodbye {
            return Verdict::NoRoom;
        }
        if is_outdated(known, version.as_ref(), facts.as_deref(), said) {
            return Verdict::Ignore;
        }
        if !is_goodbye {
            return Verdict::Take(facts);
        }
        // The target names the process that says goodbye. Who registered the node before it has
        // been replaced by it.
        let version = version.filter(Version::has_epoch);
        let is_over = is_held || version.is_some();
        if let Some(version) = version {
            self.cache.bury(now, name, version);
        }
        if is_over {
            Verdict::Gone
        } else {
            Verdict::Ignore
        }
    }

    /// Whether whoever says this has said goodbye, so that it comes late.
    pub(super) fn is_late(&self, now: Instant, name: &Name, version: &Version) -> bool {
        let buried = self.cache.buried(now, name, version);
        buried.is_some_and(|burial| burial.is_own)
    }

    /// RFC 6762 section 6.6: somebody said that a record of one's own ends sooner than it does.
    fn rescue(&mut self, now: Instant, name: &Name, said: &Said<'_>, origin: &Origin) {
        let Some((key, own)) = self.own.at(name).filter(|_| !origin.is_weak()) else {
            return;
        };
        let ttls = said
            .srv
            .map(|(_, ttl)| ttl)
            .into_iter()
            .chain(said.txt.map(|(_, ttl)| ttl));
        if ttls.min().is_some_and(|ttl| ttl < own.ttl / 2) {
            self.announce_again(now, key);
        }
    }

    /// What a TXT record says; decoded only if it is other than the one known.
    pub(super) fn facts(&mut self, name: &Name, bytes: &Arc<[u8]>) -> Result<Arc<Facts>, Unread> {
        let known = self
            .cache
            .instances
            .get(name)
            .and_then(|known| known.txt.as_ref());
        if let Some(known) = known.filter(|known| known.bytes == *bytes) {
            return known.facts.clone().ok_or(Unread::Nonsense);
        }
        let facts = decode(bytes, &mut self.cache.extras).map(Arc::new);
        match facts {
            Err(Unread::Nonsense) => self.counters.unreadable += 1,
            Err(Unread::NoRoom) => self.counters.refused += 1,
            Ok(_) => {}
        }
        facts
    }

    /// Makes room for what a known instance says now.
    fn has_room_for(
        &mut self,
        now: Instant,
        name: &Name,
        said: &Said<'_>,
        facts: Option<&Facts>,
        origin: &Origin,
    ) -> bool {
        let known = self.cache.instances.get(name);
        let known = known.and_then(|known| known.txt.as_ref());
        let bytes = match said.txt.filter(|(_, ttl)| *ttl > 0) {
            Some((txt, _)) => taken(txt.len(), facts),
            None => taken(
                known.map_or(0, |txt| txt.bytes.len()),
                known.and_then(|txt| txt.facts.as_deref()),
            ),
        };
        self.recharge(now, name, origin.by.host, bytes)
    }

    fn lease(&self, now: Instant, ttl: u32, origin: &Origin) -> Lease {
        Lease::new(now, origin.ttl(ttl), self.jitter, origin.by)
    }

    /// Takes a pointer in; gives whether its instance is to be looked after.
    fn take_pointer(
        &mut self,
        now: Instant,
        record: &Record,
        name: &Name,
        verdict: Option<&Verdict>,
        origin: &Origin,
    ) -> bool {
        if let Some((key, _)) = self.own.at(name) {
            if record.ttl == 0 && !origin.is_weak() {
                self.announce_again(now, key);
            }
            return false;
        }
        let is_known = self.cache.instances.contains_key(name);
        match verdict {
            Some(Verdict::Late(Some(until))) => self.ask_by(&record.name, *until),
            Some(Verdict::NoRoom) if !is_known => {
                self.ask_by(&record.name, now + RETRY);
                return false;
            }
            _ => {}
        }
        if !self.cache.topics.contains_key(&record.name)
            || matches!(
                verdict,
                Some(Verdict::Ignore | Verdict::Late(_) | Verdict::Gone)
            )
            || !name.is_child_of(&self.names.service_type)
        {
            return false;
        }
        if record.ttl == 0 {
            return !origin.is_weak() && self.end_pointer(now, &record.name, name);
        }
        if !is_known {
            let Some(charge) = self.make_room(now, name, origin) else {
                return false;
            };
            self.cache
                .instances
                .insert(name.clone(), Instance::new(charge));
        }
        let lease = self.lease(now, record.ttl, origin);
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return false;
        };
        match instance.pointer_mut(&record.name) {
            Some(known) => known.renew(lease, origin.is_weak()),
            None => {
                instance.pointers.push((record.name.clone(), lease));
                instance.is_dirty = true;
            }
        }
        let is_new = self
            .cache
            .topics
            .get_mut(&record.name)
            .is_some_and(|topic| topic.instances.insert(name.clone()));
        self.heard(now, &record.name, name, is_new, origin);
        true
    }

    /// A goodbye without SRV: the owner has a second to object (RFC 6762 section 10.1).
    fn end_pointer(&mut self, now: Instant, topic: &Name, name: &Name) -> bool {
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return false;
        };
        let pointer = instance.pointer_mut(topic);
        pointer.map(|lease| lease.end_by(now + GRACE)).is_some()
    }

    /// Takes SRV and TXT in.
    fn take_said(
        &mut self,
        now: Instant,
        name: &Name,
        said: &Said<'_>,
        facts: Option<Arc<Facts>>,
        origin: &Origin,
    ) {
        let jitter = self.jitter;
        let lasting = |ttl| Lease::new(now, origin.ttl(ttl), jitter, origin.by);
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        instance.is_near = origin.is_near;
        let mut before = None;
        if let Some((srv, ttl)) = said.srv {
            instance.trial = None;
            match &mut instance.srv {
                Some((known, known_lease)) if known == srv => {
                    known_lease.renew(lasting(ttl), origin.is_weak());
                }
                known => {
                    before = known
                        .replace((srv.clone(), lasting(ttl)))
                        .map(|(srv, _)| srv.target);
                    instance.is_dirty = true;
                }
            }
        }
        if let Some((bytes, ttl)) = said.txt {
            instance.is_behind = false;
            match &mut instance.txt {
                Some(known) if known.bytes == *bytes && ttl == 0 => known.lease.end_by(now + GRACE),
                Some(known) if known.bytes == *bytes => {
                    known.lease.renew(lasting(ttl), origin.is_weak());
                }
                _ if ttl == 0 => {}
                known => {
                    *known = Some(Txt {
                        bytes: Arc::clone(bytes),
                        facts,
                        lease: lasting(ttl),
                    });
                    instance.is_dirty = true;
                }
            }
        }
        if instance.is_dirty {
            instance.asked = 0;
            instance.ask_at = None;
            let target = instance.srv.as_ref().map(|(srv, _)| srv.target.clone());
            self.cache.follow_host(name, before.or(target).as_ref());
        }
    }

    fn take_address(
        &mut self,
        now: Instant,
        record: &Record,
        origin: &Origin,
        touched: &mut Vec<Name>,
    ) {
        let address = match &record.data {
            Data::A(address) => IpAddr::from(*address),
            Data::Aaaa(address) => IpAddr::from(*address),
            _ => return,
        };
        if !self.cache.hosts.contains_key(&record.name) {
            return;
        }
        let lease = self.lease(now, record.ttl, origin);
        let Some(host) = self.cache.hosts.get_mut(&record.name) else {
            return;
        };
        if record.flush && !origin.is_weak() {
            host.flush(now, address.is_ipv4(), origin.by.link);
        }
        if record.ttl == 0 {
            let known =
                |known: &&mut Address| known.address == address && known.link == origin.by.link;
            if let Some(known) = host
                .addresses
                .iter_mut()
                .find(known)
                .filter(|_| !origin.is_weak())
            {
                known.lease.end_by(now + GRACE);
            }
        } else if host.hear(address, origin.by.link, lease, origin.is_weak()) {
            for name in &host.users {
                if let Some(instance) = self.cache.instances.get_mut(name) {
                    instance.is_dirty = true;
                }
                touched.push(name.clone());
            }
        }
        self.arm_host(&record.name);
    }

    /// After a change: makes the node anew, and sees when to look after the instance again.
    pub(super) fn follow(&mut self, now: Instant, name: &Name) {
        self.resolve(name);
        self.ask_for_missing(now, name);
        self.arm_instance(name);
    }

    pub(super) fn arm_instance(&mut self, name: &Name) {
        if let Some(instance) = self.cache.instances.get_mut(name)
            && let Some(at) = instance.next(&self.expiry)
        {
            self.timers
                .set(&mut instance.alarm, at, || Timer::Instance(name.clone()));
        }
    }

    pub(super) fn arm_host(&mut self, name: &Name) {
        if let Some(host) = self.cache.hosts.get_mut(name) {
            let leases = host
                .addresses
                .iter()
                .filter_map(|known| known.lease.next(&self.expiry));
            if let Some(at) = leases.min() {
                self.timers
                    .set(&mut host.alarm, at, || Timer::Host(name.clone()));
            }
        }
    }
}

/// Whether something newer is known already: packets overtake each other. Who says when he
/// registered says everything together, so what contradicts it in part is not his.
fn is_outdated(
    known: Option<&Instance>,
    version: Option<&Version>,
    facts: Option<&Facts>,
    said: &Said<'_>,
) -> bool {
    let present = known.and_then(Instance::version);
    match (version, present) {
        (Some(version), Some(present)) => !version.supersedes(&present),
        (None, Some(present)) if present.has_epoch() => {
            known.is_some_and(|known| said.contradicts(known))
        }
        (Some(_), None) => false,
        (None, _) => {
            let present = known.and_then(|known| known.txt.as_ref()?.facts.as_ref());
            present.zip(facts).is_some_and(|(present, facts)| {
                let (new, old) = (facts.stamp, present.stamp);
                (new.epoch, new.changed) < (old.epoch, old.changed)
            })
        }
    }
}
