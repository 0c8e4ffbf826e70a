//! What this process has registered, as the Go dialect tells it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use vine_registry::{Node, Result, Service};

use super::{
    Due, Go, Map, TTL,
    names::{check_node, name, under},
    packets::NodeRecords,
    payload::Payload,
};
use crate::{
    codec::Name,
    engine::{
        Destination, EngineEvent, Interface, NodeKey, Port, Registered, own::record_ttl,
        prober::Updates, timers::Alarm, version::Identity,
    },
    mapping::Stamp,
};

/// When something is announced, after the first time.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
const SECOND: Duration = Duration::from_secs(1);

/// One registered node.
#[derive(Debug)]
pub(super) struct OwnNode {
    pub(super) identity: Identity,
    service: Arc<Service>,
    node: Arc<Node>,
    stamp: Stamp,
    pub(super) domain: Arc<str>,
    /// `<service>.<domain>`, where it is asked for.
    pub(super) topic: String,
    /// `<id>.<service>.<domain>`, where it stands.
    pub(super) instance: String,
    pub(super) target: Name,
    address: IpAddr,
    port: u16,
    txt: Arc<[u8]>,
    ttl: u32,
    expires: Option<Instant>,
    announcements: VecDeque<Instant>,
    announced: Option<Instant>,
    updates: Updates,
    pub(super) alarm: Alarm,
}

/// A node that is about to be registered.
struct Draft {
    identity: Identity,
    node: Arc<Node>,
    stamp: Stamp,
    domain: Arc<str>,
    topic: String,
    instance: String,
    target: Name,
    address: IpAddr,
    port: u16,
    txt: Arc<[u8]>,
}

/// All that is registered.
#[derive(Debug, Default)]
pub(super) struct Own {
    nodes: BTreeMap<NodeKey, OwnNode>,
    keys: Map<Identity, NodeKey>,
    /// By the topic that they are asked for by, and by the name that they stand at.
    names: Map<String, BTreeSet<NodeKey>>,
    /// Every target ever used: what points there is an echo of one's own.
    targets: HashSet<Name>,
    next_key: u64,
}

impl Own {
    pub(super) fn get(&self, key: NodeKey) -> Option<&OwnNode> {
        self.nodes.get(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn key(&self, identity: &Identity) -> Option<NodeKey> {
        self.keys.get(identity).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnNode> {
        self.nodes.values()
    }

    /// The nodes that are asked for by a name, or stand there.
    pub(super) fn at(&self, name: &str) -> impl Iterator<Item = &OwnNode> {
        let keys = self.names.get(name).into_iter().flatten();
        keys.filter_map(|key| self.nodes.get(key))
    }

    pub(super) fn is_own_target(&self, target: &Name) -> bool {
        self.targets.contains(target)
    }

    fn insert(&mut self, key: NodeKey, own: OwnNode) {
        self.remove(key);
        self.keys.insert(own.identity.clone(), key);
        self.targets.insert(own.target.clone());
        for name in [&own.topic, &own.instance] {
            self.names.entry(name.clone()).or_default().insert(key);
        }
        self.nodes.insert(key, own);
    }

    fn remove(&mut self, key: NodeKey) -> Option<OwnNode> {
        let own = self.nodes.remove(&key)?;
        self.keys.remove(&own.identity);
        for name in [&own.topic, &own.instance] {
            if let Some(keys) = self.names.get_mut(name) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.names.remove(name);
                }
            }
        }
        Some(own)
    }
}

impl OwnNode {
    /// Its records as they are on an interface; none where it has no address.
    pub(super) fn records(&self, interface: Option<&Interface>) -> Option<NodeRecords> {
        let address = match self.address {
            address if !address.is_unspecified() => address,
            _ => best(interface?)?,
        };
        Some(NodeRecords {
            instance: name(&self.instance)?,
            target: self.target.clone(),
            port: self.port,
            address,
            txt: Arc::clone(&self.txt),
            ttl: self.ttl,
        })
    }

    fn is_same(&self, service: &Arc<Service>, node: &Arc<Node>) -> bool {
        (Arc::ptr_eq(&self.service, service)
            || self.service.version == service.version && self.service.same_fields(service))
            && (Arc::ptr_eq(&self.node, node) || self.node == *node)
    }
}

/// The one address to tell of an interface: there is room for one.
fn best(interface: &Interface) -> Option<IpAddr> {
    let rank = |address: &IpAddr| match address {
        IpAddr::V4(address) => u8::from(address.is_link_local()),
        IpAddr::V6(address) => 2 + u8::from(address.is_unicast_link_local()),
    };
    let addresses = interface.addresses.iter().map(|(address, _)| *address);
    addresses.min_by_key(rank)
}

impl Go {
    /// Registers, changes or renews the nodes of `service`, all or none.
    ///
    /// # Errors
    /// When the dialect can't tell one of them.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        unix_ms: u64,
        service: &Arc<Service>,
    ) -> Result<Vec<Registered>> {
        let now = self.advance(now);
        let mut last_stamp = self.own.iter().map(|own| own.stamp.changed).max();
        let mut drafts = Vec::new();
        for node in &service.nodes {
            let identity = Identity::new(&service.namespace, &service.name, &node.id);
            let held = self.own.key(&identity).and_then(|key| self.own.get(key));
            let stamp = match held {
                Some(own) if own.is_same(service, node) => None,
                _ => {
                    let least = last_stamp.map_or(0, |last| last.saturating_add(1));
                    let mut changed = unix_ms.max(least);
                    let mut epoch = held.map_or(changed, |own| own.stamp.epoch);
                    // The later registration wins, also when this host's clock is behind.
                    if held.is_none()
                        && let Some(other) = self.nodes.get(&identity)
                    {
                        epoch = epoch.max(other.remote.epoch.saturating_add(1));
                        changed = changed.max(epoch);
                    }
                    last_stamp = Some(changed);
                    Some(Stamp { epoch, changed })
                }
            };
            drafts.push(match stamp {
                Some(stamp) => Ok(self.draft(service, node, stamp)?),
                None => Err(identity),
            });
        }
        let mut registered = Vec::new();
        for draft in drafts {
            registered.extend(match draft {
                Ok(draft) => Some(self.put(now, None, service, draft)),
                Err(identity) => self.keep(now, service, &identity),
            });
        }
        Ok(registered)
    }

    /// Tells what is registered by DNS-SD in this dialect, too, as far as it can.
    pub(crate) fn follow(
        &mut self,
        now: Instant,
        service: &Arc<Service>,
        registered: &[Registered],
    ) {
        let now = self.advance(now);
        for one in registered {
            let is_known = self.own.get(one.key).is_some();
            if is_known && !one.is_change {
                continue;
            }
            let stamp = Stamp {
                epoch: one.epoch,
                changed: one.changed,
            };
            match self.draft(service, &one.node, stamp) {
                Ok(draft) => drop(self.put(now, Some(one.key), service, draft)),
                Err(error) => {
                    if one.is_change {
                        let (name, id) = (&service.name, &one.node.id);
                        tracing::warn!(%name, %id, %error, "Go processes can't see this node");
                    }
                    self.deregister(now, one.key);
                }
            }
        }
    }

    fn draft(&self, service: &Arc<Service>, node: &Arc<Node>, stamp: Stamp) -> Result<Draft> {
        let domain = self.domain(&service.namespace);
        let (address, port) = check_node(service, node, &domain)?;
        let plain = match address {
            address if address.is_unspecified() => node.address.to_string(),
            address => std::net::SocketAddr::new(address, port).to_string(),
        };
        let payload = Payload::new(service, node, stamp, &plain);
        let topic = under(&service.name, &domain);
        let target = Sha256::digest(format!("{:x} {address}", self.seed));
        let target = u32::from_be_bytes([target[0], target[1], target[2], target[3]]);
        Ok(Draft {
            identity: Identity::new(&service.namespace, &service.name, &node.id),
            node: Arc::clone(node),
            stamp,
            instance: under(&node.id, &topic),
            target: name(&format!("vine-{target:08x}")).unwrap_or_default(),
            domain,
            topic,
            address,
            port,
            txt: payload.encode()?,
        })
    }

    fn put(
        &mut self,
        now: Instant,
        key: Option<NodeKey>,
        service: &Arc<Service>,
        draft: Draft,
    ) -> Registered {
        let key = key
            .or_else(|| self.own.key(&draft.identity))
            .unwrap_or_else(|| {
                self.own.next_key += 1;
                NodeKey(self.own.next_key)
            });
        let held = self.own.get(key);
        let mut updates = held.map_or_else(|| Updates::new(now), |own| own.updates);
        let announced = held.and_then(|own| own.announced);
        let first = updates.next(now);
        let again = AGAIN.map(|after| first + after);
        let registered = Registered {
            key,
            node: Arc::clone(&draft.node),
            epoch: draft.stamp.epoch,
            changed: draft.stamp.changed,
            is_change: true,
        };
        let identity = draft.identity.clone();
        let own = OwnNode {
            identity: draft.identity,
            service: Arc::clone(service),
            node: draft.node,
            stamp: draft.stamp,
            domain: draft.domain,
            topic: draft.topic,
            instance: draft.instance,
            target: draft.target,
            address: draft.address,
            port: draft.port,
            txt: draft.txt,
            ttl: record_ttl(service.ttl, self.config.default_ttl).min(TTL),
            expires: service
                .ttl
                .filter(|_| self.manner.leads)
                .and_then(|ttl| now.checked_add(ttl)),
            announcements: [first].into_iter().chain(again).collect(),
            announced,
            updates,
            alarm: Alarm::default(),
        };
        self.own.insert(key, own);
        // What was told of another holder is silently replaced.
        self.drop_node(&identity);
        self.arm_own(key);
        registered
    }

    /// Renews what has not changed.
    fn keep(
        &mut self,
        now: Instant,
        service: &Arc<Service>,
        identity: &Identity,
    ) -> Option<Registered> {
        let key = self.own.key(identity)?;
        let own = self.own.nodes.get_mut(&key)?;
        own.service = Arc::clone(service);
        let registered = Registered {
            key,
            node: Arc::clone(&own.node),
            epoch: own.stamp.epoch,
            changed: own.stamp.changed,
            is_change: false,
        };
        self.renew(now, key);
        Some(registered)
    }

    /// Begins the ttl of a registration anew. False if there is none.
    pub(crate) fn renew(&mut self, now: Instant, key: NodeKey) -> bool {
        let Some(own) = self.own.nodes.get_mut(&key) else {
            return false;
        };
        own.expires = own.service.ttl.and_then(|ttl| now.checked_add(ttl));
        self.arm_own(key);
        true
    }

    /// Ends a registration with a goodbye. False if there is none.
    pub(crate) fn deregister(&mut self, now: Instant, key: NodeKey) -> bool {
        let now = self.advance(now);
        self.withdraw(now, key)
    }

    fn withdraw(&mut self, now: Instant, key: NodeKey) -> bool {
        let Some(own) = self.own.remove(key) else {
            return false;
        };
        for link in self.links.ids() {
            if let Some(records) = own.records(self.links.interface(link.0)) {
                let goodbye = records.goodbye();
                self.send(now, link, Port::Standing, Destination::Multicast, &goodbye);
            }
        }
        true
    }

    /// Ends a registration without a goodbye: somebody else has it now.
    pub(crate) fn forget_own(&mut self, key: NodeKey) {
        self.own.remove(key);
    }

    pub(super) fn arm_own(&mut self, key: NodeKey) {
        if let Some(own) = self.own.nodes.get_mut(&key) {
            let next = own.announcements.front().copied();
            if let Some(at) = next.into_iter().chain(own.expires).min() {
                self.timers.set(&mut own.alarm, at, || Due::Own(key));
            }
        }
    }

    pub(super) fn own_due(&mut self, now: Instant, at: Instant, key: NodeKey) {
        let Some(own) = self.own.nodes.get_mut(&key) else {
            return;
        };
        if !own.alarm.rings(at) {
            return;
        }
        if own.expires.is_some_and(|expires| expires <= now) {
            self.withdraw(now, key);
            self.events.push_back(EngineEvent::Expired(key));
            return;
        }
        let mut is_due = false;
        while own.announcements.front().is_some_and(|at| *at <= now) {
            own.announcements.pop_front();
            is_due = true;
        }
        if is_due {
            if own.announcements.len() == AGAIN.len() {
                own.updates.spend();
            }
            own.announced = Some(now);
            self.announce(now, key);
        }
        self.arm_own(key);
    }

    fn announce(&mut self, now: Instant, key: NodeKey) {
        for link in self.links.ids() {
            let interface = self.links.interface(link.0);
            let records = self.own.get(key).and_then(|own| own.records(interface));
            if let Some(records) = records {
                let announcement = records.announcement();
                let to = Destination::Multicast;
                self.send(now, link, Port::Standing, to, &announcement);
            }
        }
    }

    /// Announces everything where it was not heard before.
    pub(super) fn announce_all(&mut self, now: Instant) {
        let keys: Vec<_> = self.own.nodes.keys().copied().collect();
        for key in keys {
            if let Some(own) = self.own.nodes.get_mut(&key) {
                let again = AGAIN.map(|after| now + after);
                own.announcements = [now].into_iter().chain(again).collect();
                self.arm_own(key);
            }
        }
    }

    /// Somebody else claims a node that is registered here. Gives whether it is his now.
    pub(super) fn contest(
        &mut self,
        now: Instant,
        key: NodeKey,
        theirs: Stamp,
        target: &Name,
    ) -> bool {
        let Some(own) = self.own.nodes.get_mut(&key) else {
            return true;
        };
        if (theirs.epoch, target) > (own.stamp.epoch, &own.target) {
            self.own.remove(key);
            self.events.push_back(EngineEvent::Replaced(key));
            return true;
        }
        // Say it again, at most once a second.
        let at = own.announced.map_or(now, |last| (last + SECOND).max(now));
        if own.announcements.front().is_none_or(|next| *next > at) {
            own.announcements.push_front(at);
            self.arm_own(key);
        }
        false
    }
}
