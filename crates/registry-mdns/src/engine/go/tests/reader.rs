//! A reader that takes and drops what Go's does: packets go into half-made entries, found by the
//! names and targets of records; after each packet the entry that was touched last is complete, or
//! is asked for at once.

use std::collections::HashMap;

use super::super::{names::text, payload::Payload};
use crate::codec::{Data, Message, Record};

/// A node or an entry of a list, as far as it is known.
#[derive(Clone, Debug, Default)]
struct Entry {
    name: String,
    port: u16,
    v4: Option<String>,
    v6: Option<String>,
    txt: Option<Vec<u8>>,
    ttl: u32,
}

impl Entry {
    fn is_complete(&self) -> bool {
        self.port != 0 && (self.v4.is_some() || self.v6.is_some()) && self.txt.is_some()
    }

    fn address(&self) -> String {
        match (&self.v4, &self.v6) {
            (Some(v4), _) => format!("{v4}:{}", self.port),
            (None, Some(v6)) => format!("[{v6}]:{}", self.port),
            (None, None) => String::new(),
        }
    }
}

/// A node as the reader gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) service: String,
    pub(super) version: String,
    pub(super) id: String,
    pub(super) address: String,
}

/// What the reader makes of the packets of one query or one watch.
#[derive(Debug, Default)]
pub(super) struct Reader {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    /// Questions that it asked because something was missing.
    pub(super) followups: usize,
}

/// What a packet made complete.
enum Made {
    Nothing,
    /// The entry, and the lifetime that the last record had.
    Entry(Entry),
}

impl Reader {
    fn entry(&mut self, name: &str) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            ..Entry::default()
        });
        let at = self.entries.len() - 1;
        self.by_name.insert(name.to_owned(), at);
        at
    }

    fn record(&mut self, record: &Record) -> Option<usize> {
        let name = text(&record.name)?;
        let at = match &record.data {
            Data::Ptr(target) => self.entry(&text(target)?),
            Data::Srv(srv) => {
                let at = self.entry(&name);
                let target = text(&srv.target)?;
                if target != name {
                    self.by_name.insert(target, at);
                }
                self.entries[at].port = srv.port;
                at
            }
            Data::Txt(txt) => {
                let at = self.entry(&name);
                self.entries[at].txt = Some(txt.to_vec());
                at
            }
            Data::A(address) => {
                let at = self.entry(&name);
                self.entries[at].v4 = Some(address.to_string());
                at
            }
            Data::Aaaa(address) => {
                let at = self.entry(&name);
                self.entries[at].v6 = Some(address.to_string());
                at
            }
            _ => return None,
        };
        self.entries[at].ttl = record.ttl;
        Some(at)
    }

    fn take(&mut self, message: &Message) -> Made {
        let mut last = None;
        for record in message.answers.iter().chain(&message.additionals) {
            last = self.record(record).or(last);
        }
        match last.map(|at| &self.entries[at]) {
            Some(entry) if entry.is_complete() => Made::Entry(entry.clone()),
            Some(_) => {
                self.followups += 1;
                Made::Nothing
            }
            None => Made::Nothing,
        }
    }

    /// A node that answers a query for a service of a domain.
    pub(super) fn get(&mut self, message: &Message, name: &str, domain: &str) -> Option<Found> {
        let asked = format!("{name}.{domain}");
        if !is_about(message, &asked) {
            return None;
        }
        let Made::Entry(entry) = self.take(message) else {
            return None;
        };
        if entry.ttl == 0 {
            return None;
        }
        found(&entry, name, domain)
    }

    /// A service that a list has.
    pub(super) fn list(&mut self, message: &Message, domain: &str) -> Option<String> {
        let list = format!("_services.{domain}");
        if !is_about(message, &list) {
            return None;
        }
        let Made::Entry(entry) = self.take(message) else {
            return None;
        };
        let name = entry.name.strip_suffix(&format!(".{list}"));
        Some(name.unwrap_or(&entry.name).to_owned())
    }

    /// What a watch of a domain makes of a packet: whether it creates, and what.
    pub(super) fn watch(&mut self, message: &Message, domain: &str) -> Option<(bool, Found)> {
        let Made::Entry(entry) = self.take(message) else {
            return None;
        };
        let payload = Payload::decode(entry.txt.as_ref()?)?;
        let found = found(&entry, &payload.service, domain)?;
        let ending = format!(".{}.{domain}", payload.service);
        let is_sound = !payload.service.is_empty()
            && !found.version.is_empty()
            && entry.name.ends_with(&ending);
        is_sound.then_some((entry.ttl != 0, found))
    }
}

/// The first question must be the one that was asked, byte for byte.
fn is_about(message: &Message, asked: &str) -> bool {
    let first = message.questions.first();
    message.response && first.and_then(|first| text(&first.name)).as_deref() == Some(asked)
}

fn found(entry: &Entry, name: &str, domain: &str) -> Option<Found> {
    let payload = Payload::decode(entry.txt.as_ref()?)?;
    let ending = format!(".{name}.{domain}");
    let id = entry.name.strip_suffix(&ending).unwrap_or(&entry.name);
    Some(Found {
        service: payload.service.to_string(),
        version: payload.version.unwrap_or_default().to_string(),
        id: id.to_owned(),
        address: entry.address(),
    })
}
