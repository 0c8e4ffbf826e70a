//! When nothing can be heard: interfaces that go and come, and a machine that sleeps.

use std::time::{Duration, Instant};

use super::{Engine, EngineEvent, Interface, Question};

/// How long after an outage nothing expires.
const RECOVERY: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn follow_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let had = (self.links.had_network(), self.links.had_loopback());
        let is_new = self.links.replace(interfaces);
        let links = self.links.ids();
        for topic in self.cache.topics.values_mut() {
            topic.keep_links(&links);
        }
        let loopback = self.links.loopback();
        self.expiry.loopback_id = loopback.or(self.expiry.loopback_id);
        let resumes = now + RECOVERY;
        let (network, local) = (&mut self.expiry.network, &mut self.expiry.loopback);
        network.follow(self.links.has_network(), had.0, resumes);
        local.follow(loopback.is_some(), had.1, resumes);
        self.blobs.resume(now);
        if self.links.is_empty() {
            self.finish_lookups();
        } else if is_new {
            self.look_after_all();
            self.seal_again();
            self.probe_all_again(now);
            self.ask_all_soon(now);
        }
        let is_stale = self.links.is_cut_off();
        if is_stale != std::mem::replace(&mut self.is_stale, is_stale) {
            self.events.push_back(match is_stale {
                true => EngineEvent::Stale,
                false => EngineEvent::Live,
            });
        }
    }

    pub(super) fn wake_up(&mut self, now: Instant, slept: Duration) {
        let resumes = now + RECOVERY;
        self.expiry.network.raise(resumes);
        self.expiry.loopback.raise(resumes);
        self.cache.age(slept);
        self.look_after_all();
        self.probe_all_again(now);
        self.ask_all_soon(now);
    }

    /// Works out anew when what is known ends.
    fn look_after_all(&mut self) {
        let instances: Vec<_> = self.cache.instances.keys().cloned().collect();
        for name in instances {
            self.arm_instance(&name);
        }
        let hosts: Vec<_> = self.cache.hosts.keys().cloned().collect();
        for name in hosts {
            self.arm_host(&name);
        }
    }

    pub(super) fn is_known_for_certain(&self, question: &Question) -> bool {
        if !self.is_stale {
            return true;
        }
        let topic = self
            .topic(question)
            .and_then(|topic| self.cache.topics.get(&topic));
        let instances = topic.into_iter().flat_map(|topic| &topic.instances);
        let known = instances.filter_map(|name| self.cache.instances.get(name));
        let mut others = known.filter(|known| {
            let node = known.node.as_ref();
            node.is_some_and(|claim| claim.identity.answers(question))
        });
        let mut is_any = self.own.answers(&self.names, question);
        let all_near = others.all(|known| {
            is_any = true;
            known.is_near
        });
        is_any && all_near
    }
}
