//! Nodes that other programs publish by the type alone, without the subtype of their service.
//!
//! To ask for the type makes everybody answer who has any node of any service. So a look-up by name asks
//! for the type as well, but [adds](Engine::one_shot) a record that says where subtypes stand: who has
//! subtypes need not answer but by those. Like a known answer it says what is not to be told; but Avahi
//! passes over one-shot questions with known answers. A program that knows nothing of that answers as
//! ever. Only once such a one has a node of the name is the type asked for as a whole, and for good.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{Engine, intake::Origin};
use crate::{
    codec::{Ask, Data, Message, Name, Record, kind},
    mapping::{Names, identity},
};

/// Of what is listed to those with subtypes. It says nothing that could end.
const TTL: u32 = 4_500;

type Set<'a> = HashSet<&'a Name, foldhash::fast::RandomState>;

impl Names {
    /// What stands for all pointers of those who have subtypes.
    pub(super) fn those_with_subtypes(&self) -> Record {
        Record {
            name: self.service_type.clone(),
            flush: false,
            ttl: TTL,
            data: Data::Ptr(self.subtypes.clone()),
        }
    }

    /// Whether a question, by what goes along with it, wants nothing from those who have subtypes.
    pub(super) fn spares_subtypes(&self, along: &[Record]) -> bool {
        along.iter().any(|record| {
            record.name == self.service_type
                && matches!(&record.data, Data::Ptr(target) if *target == self.subtypes)
        })
    }
}

impl Engine {
    /// The one-shot question for a topic, and what goes along with it.
    pub(super) fn one_shot(&self, topic: &Name) -> (Vec<Ask>, Vec<Record>) {
        let mut asks = vec![Ask::new(topic.clone(), kind::PTR)];
        if *topic == self.names.service_type {
            return (asks, Vec::new());
        }
        asks.push(Ask::new(self.names.service_type.clone(), kind::PTR));
        (asks, vec![self.names.those_with_subtypes()])
    }

    /// Sees whether an answer or an announcement tells of nodes by the type alone whose names are asked
    /// for, and if so, asks for the type from now on.
    pub(super) fn notice_foreign(&mut self, now: Instant, message: &Message, origin: &Origin) {
        let is_asked_by_name = self.cache.topics.len()
            > usize::from(self.cache.topics.contains_key(&self.names.service_type));
        if !is_asked_by_name {
            return;
        }
        let plain = self.pointed_at_by_type_alone(message);
        if plain.is_empty() {
            return;
        }
        let records = message.answers.iter().chain(&message.additionals);
        let texts: HashMap<&Name, &Arc<[u8]>, foldhash::fast::RandomState> = records
            .filter_map(|record| match &record.data {
                Data::Txt(txt) => Some((&record.name, txt)),
                _ => None,
            })
            .collect();
        let mut topics = Vec::new();
        for instance in plain {
            match texts.get(instance) {
                Some(txt) => topics.extend(self.foreign_topic(instance, txt)),
                // It did not fit, and may be what was asked for.
                None if origin.asked.is_some() => {
                    let asked = message.questions.first();
                    topics.extend(asked.map(|ask| ask.name.clone()));
                }
                None => {}
            }
        }
        for topic in topics {
            self.widen(now, &topic);
        }
    }

    /// The instances that are neither own ones nor known by a subtype, nor told by one here.
    fn pointed_at_by_type_alone<'a>(&self, message: &'a Message) -> Vec<&'a Name> {
        let records = || message.answers.iter().chain(&message.additionals);
        let pointers = || {
            records().filter_map(|record| match &record.data {
                Data::Ptr(instance) if record.ttl > 0 => Some((&record.name, instance)),
                _ => None,
            })
        };
        let at_type = pointers().filter(|(name, _)| **name == self.names.service_type);
        let mut plain: Vec<_> = at_type.map(|(_, instance)| instance).collect();
        if plain.is_empty() {
            return plain;
        }
        let at_subtype = pointers().filter(|(name, _)| name.is_child_of(&self.names.subtypes));
        let at_subtype: Set<'_> = at_subtype.map(|(_, instance)| instance).collect();
        let is_known = |instance: &Name| {
            let known = self.cache.instances.get(instance);
            known.is_some_and(|known| !known.pointers.is_empty())
        };
        plain.retain(|instance| {
            instance.is_child_of(&self.names.service_type)
                && !at_subtype.contains(instance)
                && !is_known(instance)
                && self.own.at(instance).is_none()
        });
        plain
    }

    /// The topic of the service whose node this is, if it is asked for and the publisher is one that
    /// has no subtypes: he calls his instances otherwise.
    fn foreign_topic(&self, instance: &Name, txt: &[u8]) -> Option<Name> {
        let (namespace, name, id) = identity(txt)?;
        let topic = self.names.subtype(name)?;
        let known = self.cache.topics.get(&topic)?;
        let is_ours = id.is_some_and(|id| {
            let ours = self.names.instance(namespace, name, id);
            ours.is_some_and(|ours| ours == *instance)
        });
        (!known.is_wide && !is_ours).then_some(topic)
    }

    /// Asks for the type as well as long as this topic is asked for.
    fn widen(&mut self, now: Instant, name: &Name) {
        let Some(topic) = self.cache.topics.get_mut(name) else {
            return;
        };
        if topic.is_wide || *name == self.names.service_type {
            return;
        }
        topic.is_wide = true;
        let lookups = topic.lookups.clone();
        let all = self.names.service_type.clone();
        let whole = self.cache.topics.entry(all.clone()).or_default();
        whole.browses += 1;
        whole.lookups.extend(lookups);
        if whole.browses == 1 {
            self.ask_soon(now, &all);
        }
    }

    /// Asks for the type no longer on behalf of a topic that is gone.
    pub(super) fn narrow(&mut self) {
        let all = self.names.service_type.clone();
        if let Some(whole) = self.cache.topics.get_mut(&all) {
            whole.browses = whole.browses.saturating_sub(1);
        }
        self.release_topic(&all);
    }

    /// Whether nodes at the type are looked at for this topic, too.
    pub(super) fn is_wide(&self, topic: &Name) -> bool {
        self.cache
            .topics
            .get(topic)
            .is_some_and(|topic| topic.is_wide)
    }
}
