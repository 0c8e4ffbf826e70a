//! From records to nodes: which instances are complete, and which of them count.

use std::{net::IpAddr, sync::Arc};

use vine_registry::{Node, Service, address::HostPort};

use super::{
    Ending, Engine, EngineEvent, Remote,
    cache::{Cache, Claim, Instance},
    version::Identity,
};
use crate::{codec::Name, mapping::Facts};

impl Engine {
    /// Makes a node of an instance again after its records changed.
    pub(super) fn resolve(&mut self, name: &Name) {
        let Some(instance) = self
            .cache
            .instances
            .get(name)
            .filter(|known| known.is_dirty)
        else {
            return;
        };
        let (node, chosen) = match self.assemble(name, instance) {
            Some((claim, chosen)) => (Some(claim), chosen),
            // What it was before counts until all of what it is now is here.
            None if self.is_underway(instance) => (instance.node.clone(), instance.chosen),
            None => (None, instance.chosen),
        };
        let Some(instance) = self.cache.instances.get_mut(name) else {
            return;
        };
        instance.is_dirty = false;
        instance.chosen = chosen;
        let before = std::mem::replace(&mut instance.node, node);
        let after = instance.node.as_ref().map(|claim| claim.identity.clone());
        let before = before.map(|claim| claim.identity);
        for (topic, _) in &instance.pointers {
            if let Some(topic) = self.cache.topics.get(topic) {
                self.stirred.extend(&topic.lookups);
            }
        }
        if let Some(before) = before.filter(|before| Some(before) != after.as_ref()) {
            self.disclaim(&before, name, Ending::Lost);
        }
        if let Some(after) = after {
            let claims = self.cache.claims.entry(after.clone()).or_default();
            if !claims.instances.contains(name) {
                claims.instances.push(name.clone());
            }
            self.elect(&after, Ending::Lost);
        }
    }

    /// Forgets an instance.
    pub(super) fn forget_instance(&mut self, name: &Name, ending: Ending) {
        let Some(instance) = self.cache.instances.remove(name) else {
            return;
        };
        self.quota.release(&instance.charge);
        for (topic, _) in &instance.pointers {
            if let Some(topic) = self.cache.topics.get_mut(topic) {
                topic.instances.remove(name);
            }
        }
        if let Some((srv, _)) = &instance.srv {
            self.cache.leave_host(&srv.target, name);
        }
        if let Some(digest) = instance.awaits
            && let Some(now) = self.now
        {
            self.leave_blob(now, digest, name);
        }
        if let Some(claim) = instance.node {
            self.disclaim(&claim.identity, name, ending);
        }
    }

    /// Whether nothing is missing but a blob that is being fetched.
    fn is_underway(&self, instance: &Instance) -> bool {
        let awaited = instance.awaits;
        awaited.is_some_and(|digest| self.blobs.may_come(digest))
            && !instance.pointers.is_empty()
            && instance.srv.is_some()
    }

    fn disclaim(&mut self, identity: &Identity, name: &Name, ending: Ending) {
        if let Some(claims) = self.cache.claims.get_mut(identity) {
            claims.instances.retain(|other| other != name);
            self.elect(identity, ending);
        }
    }

    /// Decides anew which claim to a node counts, and tells if that changes anything; if it leaves
    /// none, that is its `ending`.
    pub(super) fn elect(&mut self, identity: &Identity, ending: Ending) {
        let Some(claims) = self.cache.claims.get(identity) else {
            return;
        };
        let is_own = self.holds(identity);
        let instances = &self.cache.instances;
        let best = claims
            .instances
            .iter()
            .filter_map(|name| instances.get(name)?.node.as_ref())
            .max_by(|a, b| a.version.cmp(&b.version))
            .filter(|_| !is_own)
            .map(|claim| claim.remote.clone());
        let is_unclaimed = claims.instances.is_empty();
        let told = claims.told.clone();
        if let Some(claims) = self.cache.claims.get_mut(identity) {
            claims.told.clone_from(&best);
        }
        if is_unclaimed {
            self.cache.claims.remove(identity);
        }
        let event = match (told, best) {
            (None, Some(node)) => EngineEvent::Found(node),
            (Some(before), Some(node)) if before != node => EngineEvent::Changed(node),
            (Some(node), None) if !is_own => EngineEvent::Gone(node, ending),
            _ => return,
        };
        self.events.push_back(event);
    }

    /// Whether this engine has registered the node itself.
    fn holds(&self, identity: &Identity) -> bool {
        if self.own.is_empty() {
            return false;
        }
        let instance = self
            .names
            .instance(&identity.namespace, &identity.name, &identity.id);
        instance.is_some_and(|instance| self.own.at(&instance).is_some())
    }

    /// The node that an instance makes up, and the address chosen among its host's; none if
    /// something is missing.
    fn assemble(&self, name: &Name, instance: &Instance) -> Option<(Claim, Option<IpAddr>)> {
        if instance.pointers.is_empty() {
            return None;
        }
        let version = instance.version()?;
        let (srv, _) = instance.srv.as_ref()?;
        let facts = instance.txt.as_ref()?.facts.as_ref()?;
        if facts.missing.is_some() {
            return None;
        }
        let (address, chosen) = match &facts.address {
            Some(address) => (Arc::clone(address), None),
            None => {
                let host = self.cache.hosts.get(&srv.target)?;
                let chosen = host.choose(instance.chosen, facts.addresses.as_deref())?;
                let zone = self.links.interface(chosen.link.0).map(|i| &*i.name);
                (text(chosen.address, zone, srv.port), Some(chosen.address))
            }
        };
        let id = match &facts.id {
            Some(id) => Arc::clone(id),
            None => String::from_utf8_lossy(name.first_label()).into(),
        };
        let node = Node::new(id, address).with_metadata(facts.node_metadata.clone());
        let claim = Claim {
            identity: Identity::new(&facts.namespace, &facts.name, &node.id),
            version,
            remote: remote(facts, Arc::new(node)),
        };
        Some((claim, chosen))
    }
}

impl Cache {
    pub(super) fn leave_host(&mut self, target: &Name, instance: &Name) {
        if let Some(host) = self.hosts.get_mut(target) {
            host.users.remove(instance);
            if host.users.is_empty() {
                self.hosts.remove(target);
            }
        }
    }

    /// Sees to it that the addresses of an instance's host are remembered if they are needed.
    pub(super) fn follow_host(&mut self, name: &Name, before: Option<&Name>) {
        let Some(instance) = self.instances.get(name) else {
            return;
        };
        let target = instance.srv.as_ref().map(|(srv, _)| srv.target.clone());
        let facts = instance.txt.as_ref().and_then(|txt| txt.facts.as_ref());
        let needed = facts.is_some_and(|facts| facts.address.is_none());
        if let Some(before) = before
            && (target.as_ref() != Some(before) || !needed)
        {
            self.leave_host(before, name);
        }
        if let Some(target) = target.filter(|_| needed) {
            self.hosts
                .entry(target)
                .or_default()
                .users
                .insert(name.clone());
        }
    }
}

fn remote(facts: &Facts, node: Arc<Node>) -> Remote {
    let mut service = Service::new(Arc::clone(&facts.name), Arc::clone(&facts.version))
        .with_namespace(Arc::clone(&facts.namespace))
        .with_metadata(facts.service_metadata.clone())
        .with_endpoints(Arc::clone(&facts.endpoints))
        .with_apis(Arc::clone(&facts.apis))
        .with_node(Arc::clone(&node));
    service.ttl = facts.ttl;
    Remote {
        service: Arc::new(service),
        node,
        epoch: facts.stamp.epoch,
        changed: facts.stamp.changed,
    }
}

/// An address as people write it; `zone` is the interface that it was heard on.
pub(super) fn text(address: IpAddr, zone: Option<&str>, port: u16) -> Arc<str> {
    match (address, zone) {
        (IpAddr::V6(v6), Some(zone)) if v6.is_unicast_link_local() => {
            format!("[{v6}%{zone}]:{port}").into()
        }
        _ => HostPort::join(&address.to_string(), port).into(),
    }
}
