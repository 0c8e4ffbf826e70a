//! Bringing registrations into the world and out of it: probes, announcements, updates, goodbyes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Result, Service};

use super::{
    Ending, Engine, EngineEvent, NodeKey, Registered,
    own::{Answer, Draft, Goodbye, Own, record_ttl},
    timers::{Alarm, Timer},
    version::Version,
};
use crate::{
    codec::{Name, Record},
    mapping::{Encoded, Stamp, Writer},
};

const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// How long another holder's announcement is waited for: he says it again one, two and four seconds
/// after the first time, and his probes begin within a quarter of a second.
const YIELD: Duration = Duration::from_millis(2500);
const SECOND: Duration = Duration::from_secs(1);
/// RFC 6762 section 8.4: so many updates in a row, then one in [`UPDATE_INTERVAL`].
const UPDATE_BURST: u32 = 10;
const UPDATE_INTERVAL: Duration = Duration::from_secs(6);

/// One thing to do for a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask whether somebody else holds the name (RFC 6762 section 8.1).
    Probe,
    /// Nobody does; announce it as unique.
    Establish,
    /// Tell everything (section 8.3).
    Announce,
    /// Tell what may have changed (section 8.4).
    Update,
    /// Leave the name to another holder, although nothing was heard of him but his probe.
    Yield,
}

/// What is to be done for a registration, in order of time.
#[derive(Debug, Default)]
pub(super) struct Schedule(VecDeque<(Instant, Step)>);

impl Schedule {
    /// Announce while probing: others see the node at once, and conflicts are found all the same.
    /// The intervals between announcements double.
    fn begin(now: Instant, first_probe: Duration) -> Self {
        let probe = now + first_probe;
        Self(VecDeque::from([
            (now, Step::Announce),
            (probe, Step::Probe),
            (probe + PROBE_INTERVAL, Step::Probe),
            (probe + 2 * PROBE_INTERVAL, Step::Probe),
            (now + SECOND, Step::Establish),
            (now + 2 * SECOND, Step::Announce),
            (now + 4 * SECOND, Step::Announce),
        ]))
    }

    fn next(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    fn pop(&mut self, now: Instant) -> Option<(Instant, Step)> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_front()
    }

    /// Leaves nothing to do but to yield, and that not later than it was to be before.
    fn yield_at(&mut self, at: Instant) {
        let planned = self.0.iter().find(|(_, step)| *step == Step::Yield);
        let at = planned.map_or(at, |(planned, _)| at.min(*planned));
        self.0 = VecDeque::from([(at, Step::Yield)]);
    }

    fn yields(&self) -> bool {
        self.0.iter().any(|(_, step)| *step == Step::Yield)
    }

    /// Adds a step, unless it is to be done by then anyway.
    fn add(&mut self, at: Instant, step: Step) {
        let planned = |(when, what): &(Instant, Step)| {
            *when <= at && (*what == step || *what == Step::Announce || *what == Step::Establish)
        };
        if !self.0.iter().any(planned) {
            let position = self.0.partition_point(|(when, _)| *when <= at);
            self.0.insert(position, (at, step));
        }
    }
}

/// How many updates may still be told (RFC 6762 section 8.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Updates {
    left: u32,
    since: Instant,
}

impl Updates {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: UPDATE_BURST,
            since: now,
        }
    }

    /// When the next one may be told.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        while self.left < UPDATE_BURST && now >= self.since + UPDATE_INTERVAL {
            self.left += 1;
            self.since += UPDATE_INTERVAL;
        }
        if self.left == UPDATE_BURST {
            self.since = now;
        }
        if self.left > 0 {
            now
        } else {
            self.since + UPDATE_INTERVAL
        }
    }

    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

/// A node that is ready to be registered.
struct Ready {
    draft: Draft,
    encoded: Encoded,
    stamp: Stamp,
    is_change: bool,
}

impl Engine {
    pub(super) fn register_nodes(
        &mut self,
        now: Instant,
        unix_ms: u64,
        service: &Arc<Service>,
    ) -> Result<Vec<Registered>> {
        let mut last_stamp = self.last_stamp;
        let mut writer = std::mem::take(&mut self.writer);
        let ready = service
            .nodes
            .iter()
            .map(|node| {
                let draft = self.own.draft(&self.names, service, node)?;
                self.prepare(unix_ms, service, draft, &mut writer, &mut last_stamp)
            })
            .collect::<Result<Vec<_>>>()?;
        self.writer = writer;
        self.last_stamp = last_stamp;
        let ttl = record_ttl(service.ttl, self.config.default_ttl);
        let expires = service.ttl.and_then(|ttl| now.checked_add(ttl));
        let registered = ready
            .into_iter()
            .map(|ready| self.commit(now, service, ready, ttl, expires))
            .collect();
        self.tidy_blobs();
        Ok(registered)
    }

    fn prepare(
        &self,
        unix_ms: u64,
        service: &Arc<Service>,
        draft: Draft,
        writer: &mut Writer,
        last_stamp: &mut u64,
    ) -> Result<Ready> {
        let held = self.own.at(&draft.instance).map(|(_, own)| own);
        if let Some(own) = held
            && own.is_same(service, &draft)
        {
            return Ok(Ready {
                encoded: Encoded {
                    txt: own.txt.to_vec(),
                    blob: own.blob.and_then(|digest| self.own.blobs.get(digest)),
                },
                stamp: own.stamp,
                draft,
                is_change: false,
            });
        }
        let changed = unix_ms.max(*last_stamp + 1);
        let mut stamp = Stamp {
            epoch: changed,
            changed,
        };
        match held {
            Some(own) if self.own.version(own).is_from(&draft.target) => {
                stamp.epoch = own.stamp.epoch;
            }
            // The later registration wins, also when this host's clock is behind.
            _ => {
                let other = self.cache.epoch(&draft.instance).unwrap_or_default();
                stamp.epoch = stamp.epoch.max(other.saturating_add(1));
                stamp.changed = stamp.changed.max(stamp.epoch);
            }
        }
        *last_stamp = stamp.changed;
        let spare = self.seal_room(&draft);
        let mut encoded = Own::txt(writer, service, &draft, stamp, spare)?;
        self.seal(&draft, &mut encoded.txt);
        Ok(Ready {
            encoded,
            stamp,
            draft,
            is_change: true,
        })
    }

    fn commit(
        &mut self,
        now: Instant,
        service: &Arc<Service>,
        ready: Ready,
        ttl: u32,
        expires: Option<Instant>,
    ) -> Registered {
        let Ready {
            draft,
            encoded: Encoded { txt, blob },
            stamp,
            is_change,
        } = ready;
        let node = Arc::clone(&draft.node);
        let held = self.own.at(&draft.instance).map(|(key, _)| key);
        let held = held.and_then(|key| self.own.get_mut(key));
        let first_probe = Duration::from_millis(self.random.u64(0..=250));
        let (established, mut schedule, mut updates) = match held {
            Some(own) => (
                own.established,
                std::mem::take(&mut own.schedule),
                own.updates,
            ),
            None => (false, Schedule::begin(now, first_probe), Updates::new(now)),
        };
        if is_change {
            schedule.add(updates.next(now), Step::Update);
        }
        if let Some(blob) = &blob {
            self.own.blobs.hold(blob);
        }
        let key = self.own.insert(draft, |draft, host| Own {
            identity: draft.identity,
            service: Arc::clone(service),
            node: draft.node,
            stamp,
            instance: draft.instance,
            subtype: draft.subtype,
            host,
            port: draft.port,
            txt: txt.into(),
            blob: blob.map(|blob| blob.digest),
            ttl,
            expires,
            established,
            schedule,
            updates,
            alarm: Alarm::default(),
        });
        self.arm_own(key);
        let own = self.own.get(key);
        if let Some((identity, instance)) =
            own.map(|own| (own.identity.clone(), own.instance.clone()))
        {
            // Silences what was told of another holder, who is about to learn that it is replaced.
            self.elect(&identity, Ending::Lost);
            self.forget_instance(&instance, Ending::Lost);
        }
        Registered {
            key,
            node,
            epoch: stamp.epoch,
            changed: stamp.changed,
            is_change,
        }
    }

    pub(super) fn renew_node(&mut self, now: Instant, key: NodeKey) -> bool {
        let Some(own) = self.own.get_mut(key) else {
            return false;
        };
        own.expires = own.service.ttl.and_then(|ttl| now.checked_add(ttl));
        self.arm_own(key);
        true
    }

    fn arm_own(&mut self, key: NodeKey) {
        if let Some(own) = self.own.get_mut(key)
            && let Some(at) = own.schedule.next().into_iter().chain(own.expires).min()
        {
            self.timers.set(&mut own.alarm, at, || Timer::Own(key));
        }
    }

    /// Does what is due for a registration.
    pub(super) fn own_due(&mut self, now: Instant, at: Instant, key: NodeKey) {
        let Some(own) = self.own.get_mut(key) else {
            return;
        };
        if !own.alarm.rings(at) {
            return;
        }
        if own.expires.is_some_and(|expires| expires <= now) {
            self.deregister_node(now, key);
            self.events.push_back(EngineEvent::Expired(key));
            return;
        }
        let mut established = false;
        while let Some((_, step)) = own.schedule.pop(now) {
            match step {
                Step::Probe => {
                    self.batch.probes.insert(key);
                }
                Step::Establish => {
                    established = true;
                    self.batch.announcements.insert(key, true);
                }
                Step::Announce => {
                    self.batch.announcements.insert(key, true);
                }
                Step::Update => {
                    own.updates.spend();
                    self.batch.announcements.entry(key).or_insert(false);
                }
                Step::Yield => return self.lose(now, key),
            }
        }
        if established {
            self.own.establish(key);
        }
        self.arm_own(key);
    }

    /// Announces a registration again soon, at most once a second: it was contested, or somebody
    /// said it was gone (RFC 6762 sections 6.6 and 10.1).
    pub(super) fn announce_again(&mut self, now: Instant, key: NodeKey) {
        let answer = Answer::Instance(key);
        let last = self
            .links
            .iter()
            .filter_map(|link| link.sent.get(&answer))
            .max();
        let at = last.map_or(now, |last| (*last + SECOND).max(now));
        if let Some(own) = self.own.get_mut(key) {
            own.schedule.add(at, Step::Announce);
            self.arm_own(key);
        }
    }

    /// Brings every registration to the links that are new (RFC 6762 section 8).
    pub(super) fn probe_all_again(&mut self, now: Instant) {
        for key in self.own.keys() {
            let first_probe = Duration::from_millis(self.random.u64(0..=250));
            if let Some(own) = self.own.get_mut(key) {
                own.established = false;
                own.schedule = Schedule::begin(now, first_probe);
            }
            self.arm_own(key);
        }
    }

    pub(super) fn deregister_node(&mut self, now: Instant, key: NodeKey) -> bool {
        let answers = [
            Answer::Listed(key),
            Answer::Named(key),
            Answer::Instance(key),
        ];
        let records = self.goodbye_records(&answers);
        let version = self.own.get(key).map(|own| self.own.version(own));
        let Some(own) = self.forget_own(key) else {
            return false;
        };
        if let Some(version) = version {
            self.cache.bury(now, &own.instance, version);
        }
        self.batch.goodbyes.push(records.clone());
        self.say_later(now, own.instance, records);
        self.elect(&own.identity, Ending::Lost);
        true
    }

    /// Says a goodbye in a second, unless the name is registered again by then.
    fn say_later(&mut self, now: Instant, instance: Name, records: Vec<Record>) {
        let goodbye = Goodbye {
            at: now + SECOND,
            instance,
            records,
        };
        self.timers
            .set(&mut self.goodbye_alarm, goodbye.at, || Timer::Goodbyes);
        self.goodbyes.push(goodbye);
    }

    fn goodbye_records(&self, answers: &[Answer]) -> Vec<Record> {
        let mut records = Vec::new();
        for answer in answers {
            self.own.records(&self.names, *answer, None, &mut records);
        }
        for record in &mut records {
            record.ttl = 0;
            record.flush = false;
        }
        self.seal_goodbye(&mut records);
        records
    }

    fn forget_own(&mut self, key: NodeKey) -> Option<Own> {
        self.tidy_blobs();
        self.batch.probes.remove(&key);
        self.batch.announcements.remove(&key);
        for link in self.links.iter_mut() {
            for answer in [
                Answer::Listed(key),
                Answer::Named(key),
                Answer::Instance(key),
                Answer::OnlyInstance(key),
            ] {
                link.pending.remove(&answer);
                link.sent.remove(&answer);
            }
        }
        self.own.remove(key)
    }

    /// Says goodbyes again, but for what is registered again.
    pub(super) fn goodbyes_due(&mut self, now: Instant, at: Instant) {
        if !self.goodbye_alarm.rings(at) {
            return;
        }
        let due: Vec<_> = self
            .goodbyes
            .extract_if(.., |goodbye| goodbye.at <= now)
            .collect();
        for goodbye in due {
            if self.own.at(&goodbye.instance).is_none() {
                self.batch.goodbyes.push(goodbye.records);
            }
        }
        if let Some(next) = self.goodbyes.iter().map(|goodbye| goodbye.at).min() {
            self.timers
                .set(&mut self.goodbye_alarm, next, || Timer::Goodbyes);
        }
    }

    /// Somebody else claims the name of a registration (RFC 6762 sections 8.2 and 9): the one who
    /// registered it later has it.
    ///
    /// Gives whether it is still held here.
    pub(super) fn contest(&mut self, now: Instant, instance: &Name, theirs: &Version) -> bool {
        let Some((key, own)) = self.own.at(instance) else {
            return false;
        };
        let ours = self.own.version(own);
        if !theirs.beats(&ours) {
            self.announce_again(now, key);
            return true;
        }
        self.lose(now, key);
        false
    }

    /// Somebody else is about to claim the name of a registration. If he has precedence, it is left
    /// to him with his announcement, or without one after some time: so the node changes hands and
    /// is not gone in between.
    ///
    /// Gives whether he has.
    pub(super) fn yields(&mut self, now: Instant, key: NodeKey, theirs: &Version) -> bool {
        let Some(own) = self.own.get(key) else {
            return true;
        };
        if !theirs.beats(&self.own.version(own)) {
            self.announce_again(now, key);
            return false;
        }
        if let Some(own) = self.own.get_mut(key) {
            own.schedule.yield_at(now + YIELD);
            self.arm_own(key);
        }
        true
    }

    /// Another holder of the id of a registration says goodbye: it stays, also where it was to be left
    /// to him, and all others who heard him are told so.
    pub(super) fn outlive(&mut self, now: Instant, key: NodeKey) {
        let first_probe = Duration::from_millis(self.random.u64(0..=250));
        let Some(own) = self.own.get_mut(key) else {
            return;
        };
        if own.schedule.yields() {
            own.schedule = Schedule::begin(now, first_probe);
            self.arm_own(key);
        } else {
            self.announce_again(now, key);
        }
    }

    /// The goodbye is for those who heard the other holder's goodbye before they heard of this one.
    /// It comes when all others have heard of the other one, to whom it means nothing, and leaves out
    /// the pointers, which are the other one's as well.
    fn lose(&mut self, now: Instant, key: NodeKey) {
        let records = self.goodbye_records(&[Answer::Instance(key)]);
        if let Some(own) = self.forget_own(key) {
            tracing::debug!(node = ?own.identity, "somebody else registered this id later");
            self.events.push_back(EngineEvent::Replaced(key));
            self.elect(&own.identity, Ending::Lost);
            self.say_later(now, own.instance, records);
        }
    }
}

impl Own {
    fn is_same(&self, service: &Arc<Service>, draft: &Draft) -> bool {
        (Arc::ptr_eq(&self.service, service)
            || self.service.version == service.version && self.service.same_fields(service))
            && (Arc::ptr_eq(&self.node, &draft.node) || self.node == draft.node)
    }
}
