//! Answering questions in the Go dialect.

use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
    time::Instant,
};

use super::{
    Go,
    names::{LIST, text, under},
    own::OwnNode,
    packets::entry,
};
use crate::{
    codec::{Ask, Message, Name, kind},
    engine::{Destination, Port, links::LinkId},
};

/// Where Go processes list what can be asked for in a domain.
const TYPES: &str = "_services._dns-sd._udp";

impl Go {
    /// Answers what is asked for here: at once, by unicast, one node a packet.
    pub(super) fn take_query(
        &mut self,
        now: Instant,
        message: &Message,
        source: SocketAddr,
        link: LinkId,
    ) {
        // A probe asks for nothing.
        if !message.authorities.is_empty() || self.own.len() == 0 {
            return;
        }
        // An answer with a question in it, sent to the port that all share, would be answered by
        // Go processes there.
        let echo = source.port() != self.config.port;
        // Of a question that is put often in a packet, one; names are compared byte for byte here.
        let mut seen = HashSet::new();
        let fresh = |ask: &&Ask| seen.insert((text(&ask.name), ask.kind, ask.unicast));
        let questions: Vec<_> = message.questions.iter().filter(fresh).collect();
        for question in questions {
            let id = if question.unicast { message.id } else { 0 };
            for answer in self.answers(id, question, echo, link) {
                self.send(
                    now,
                    link,
                    Port::Standing,
                    Destination::Unicast(source),
                    &answer,
                );
            }
        }
    }

    fn answers(&self, id: u16, question: &Ask, echo: bool, link: LinkId) -> Vec<Message> {
        let Some(asked) = text(&question.name) else {
            return Vec::new();
        };
        let interface = self.links.interface(link.0);
        let wants_pointers = question.wants(kind::PTR);
        let mut answers = Vec::new();
        for own in self.own.at(&asked) {
            let is_instance = own.instance == asked;
            let is_wanted = match is_instance {
                true => [kind::SRV, kind::A, kind::AAAA, kind::TXT]
                    .iter()
                    .any(|kind| question.wants(*kind)),
                false => wants_pointers,
            };
            if let Some(records) = own.records(interface).filter(|_| is_wanted) {
                answers.push(records.answer(id, question, echo, !is_instance));
            }
        }
        if wants_pointers && asked.starts_with(LIST) {
            for (name, target) in self.entries(&asked) {
                let records = entry(&name, target);
                answers.extend(records.map(|records| records.answer(id, question, echo, true)));
            }
        }
        if question.wants(kind::A) || question.wants(kind::AAAA) {
            // With what belongs to one of its nodes: nothing may be missing in an answer.
            let at = self.own.iter().find(|own| own.target == question.name);
            let records = at.and_then(|own| own.records(interface));
            answers.extend(records.map(|records| records.answer(id, question, echo, false)));
        }
        answers
    }

    /// What a list has, and a target for each entry.
    fn entries(&self, list: &str) -> Vec<(String, Name)> {
        let mut seen = BTreeSet::new();
        let mut entries = Vec::new();
        let mut add = |entry: String, own: &OwnNode| {
            if seen.insert(entry.clone()) {
                entries.push((entry, own.target.clone()));
            }
        };
        for own in self.own.iter() {
            let (name, domain) = (&own.identity.name, &own.domain);
            let services = under(LIST, domain);
            if list == services {
                add(under(name, &services), own);
            } else if list == LIST && self.manner.domain.is_none() {
                add(under(domain, LIST), own);
            } else if list == under(TYPES, domain) {
                add(services, own);
                add(own.topic.clone(), own);
            }
        }
        entries
    }
}
