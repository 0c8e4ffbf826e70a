//! Whom to believe, where keys are shared.
//!
//! With keys, one's own records are signed, and of what others say only that gets past this file
//! which is signed: SRV and TXT by one of the keys, pointers along with them, addresses as far as a
//! signed record names them. No lifetime is signed; so it is worked out from what is, and nobody can
//! shorten it. What is older than what was known before, and what was known before its goodbye, was
//! heard by somebody and is said by him again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Engine,
    intake::Said,
    own::{Draft, Own, is_unspecified, record_ttl},
    version::Version,
};
use crate::{
    codec::{Data, Message, Name, Record, Srv},
    mapping::{Flaw, MAX_ADDRESSES, Subject, push_addresses, seal_len},
};

/// Addresses are believed for so long (RFC 6762 section 10).
const ADDRESS_TTL: u32 = 120;
/// Instances whose last version is remembered, and for how long.
const MAX_LATEST: usize = 65_536;
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// The latest that was said of an instance, by who has a key.
#[derive(Debug)]
pub(super) struct Latest {
    version: Version,
    /// Whether it was a goodbye.
    is_over: bool,
    heard: Instant,
}

/// What is to be thought of what a packet says of an instance.
enum Trust {
    /// It is one's own, back from the link.
    Own,
    /// It is signed; its records live for so many seconds.
    Signed(u32),
    None(Doubt),
}

#[derive(Clone, Copy)]
enum Doubt {
    Flawed(Flaw),
    Replayed,
}

type Trusts = HashMap<Name, Trust, foldhash::fast::RandomState>;

impl Engine {
    /// Leaves of an answer what can be believed.
    pub(super) fn vet(&mut self, now: Instant, message: &mut Message) {
        if self.config.keys.is_empty() {
            return;
        }
        let records = || message.answers.iter().chain(&message.additionals);
        let mut trusts = Trusts::default();
        for (name, said) in self.said(records()) {
            let trust = self.trust(now, name, &said);
            trusts.insert(name.clone(), trust);
        }
        for section in [&mut message.answers, &mut message.additionals] {
            section.retain_mut(|record| self.admit(record, &trusts));
        }
    }

    /// Leaves of a probe what can be believed: nobody else can make a name be given up.
    pub(super) fn vet_probe(&mut self, message: &mut Message) {
        if self.config.keys.is_empty() {
            return;
        }
        let mut flaws = HashMap::new();
        for record in &message.authorities {
            if let Data::Srv(srv) = &record.data
                && let Some(txt) = txt_at(&record.name, &message.authorities)
                && self.own.at(&record.name).is_some()
                && !self.own.is_own_target(&srv.target)
            {
                let flaw = self.check(&record.name, srv, txt, false).err();
                flaws.insert(record.name.clone(), flaw);
            }
        }
        message.authorities.retain(|record| {
            let is_claim = self.own.at(&record.name).is_some();
            match flaws.get(&record.name) {
                None if is_claim => self.refuse(Doubt::Flawed(Flaw::Unsigned)),
                Some(Some(flaw)) => self.refuse(Doubt::Flawed(*flaw)),
                _ => true,
            }
        });
    }

    fn trust(&mut self, now: Instant, instance: &Name, said: &Said<'_>) -> Trust {
        let is_own = said
            .srv
            .is_some_and(|(srv, _)| self.own.is_own_target(&srv.target));
        if is_own {
            return Trust::Own;
        }
        let (Some((srv, ttl)), Some((txt, _))) = (said.srv, said.txt) else {
            return Trust::None(Doubt::Flawed(Flaw::Unsigned));
        };
        let goodbye = ttl == 0;
        if let Err(flaw) = self.check(instance, srv, txt, goodbye) {
            return Trust::None(Doubt::Flawed(flaw));
        }
        let Ok(facts) = self.facts(instance, txt) else {
            return Trust::Signed(ttl);
        };
        let names_addresses = facts.address.is_some() || facts.addresses.is_some();
        if !names_addresses && facts.missing.is_none() {
            return Trust::None(Doubt::Flawed(Flaw::Unsigned));
        }
        let version = Version::new(facts.stamp, Some(srv.target.clone()));
        match self.is_news(now, instance, version, goodbye) {
            true => Trust::Signed(record_ttl(facts.ttl, self.config.default_ttl)),
            false => Trust::None(Doubt::Replayed),
        }
    }

    /// Whether SRV and TXT are signed. What is known already was found to be so.
    fn check(
        &self,
        instance: &Name,
        srv: &Srv,
        txt: &Arc<[u8]>,
        goodbye: bool,
    ) -> Result<(), Flaw> {
        let known = self.cache.instances.get(instance);
        let is_known = known.is_some_and(|known| {
            let same_srv = known.srv.as_ref().is_some_and(|(known, _)| known == srv);
            same_srv && known.txt.as_ref().is_some_and(|known| known.bytes == *txt)
        });
        if is_known && !goodbye {
            return Ok(());
        }
        let subject = Subject {
            instance,
            srv,
            goodbye,
        };
        subject.check(&self.config.keys, txt)
    }

    /// Whether nothing later was said before; if so, this is the latest from now on.
    fn is_news(&mut self, now: Instant, instance: &Name, version: Version, goodbye: bool) -> bool {
        if self.latest.len() >= MAX_LATEST {
            self.latest
                .retain(|_, latest| latest.heard + REMEMBERED > now);
        }
        let known = self.latest.get(instance);
        let known = known.filter(|latest| latest.heard + REMEMBERED > now);
        let is_news = known.is_none_or(|known| {
            version > known.version || version == known.version && (goodbye || !known.is_over)
        });
        if is_news && (self.latest.len() < MAX_LATEST || self.latest.contains_key(instance)) {
            let latest = Latest {
                version,
                is_over: goodbye,
                heard: now,
            };
            self.latest.insert(instance.clone(), latest);
        }
        is_news
    }

    /// Whether a record is to be believed; what it says of its lifetime is not.
    fn admit(&mut self, record: &mut Record, trusts: &Trusts) -> bool {
        let subject = match &record.data {
            Data::Srv(_) | Data::Txt(_) => record.name.clone(),
            Data::Ptr(target) if target.is_child_of(&self.names.service_type) => target.clone(),
            Data::A(_) | Data::Aaaa(_) => return self.admit_address(record),
            _ => return true,
        };
        let is_pointer = matches!(record.data, Data::Ptr(_));
        match trusts.get(&subject) {
            Some(Trust::Own) => true,
            Some(Trust::Signed(ttl)) => {
                if record.ttl != 0 {
                    record.ttl = *ttl;
                }
                true
            }
            Some(Trust::None(doubt)) => self.refuse(*doubt),
            // What a pointer points at is asked for, and has to be signed.
            None if is_pointer => {
                let is_harmless = self.own.at(&subject).is_some()
                    || record.ttl != 0 && !self.cache.instances.contains_key(&subject);
                is_harmless || self.refuse(Doubt::Flawed(Flaw::Unsigned))
            }
            None => true,
        }
    }

    /// An address can't be taken away, nor made to last for less.
    fn admit_address(&mut self, record: &mut Record) -> bool {
        if record.ttl == 0 && self.cache.hosts.contains_key(&record.name) {
            return self.refuse(Doubt::Flawed(Flaw::Unsigned));
        }
        record.flush = false;
        record.ttl = ADDRESS_TTL;
        true
    }

    fn refuse(&mut self, doubt: Doubt) -> bool {
        let counter = match doubt {
            Doubt::Flawed(Flaw::Unsigned) => &mut self.counters.unsigned,
            Doubt::Flawed(Flaw::Forged) => &mut self.counters.forged,
            Doubt::Replayed => &mut self.counters.replayed,
        };
        *counter += 1;
        false
    }

    /// How many bytes of a TXT record signing takes.
    pub(super) fn seal_room(&self, draft: &Draft) -> usize {
        let Some(key) = self.config.keys.first() else {
            return 0;
        };
        let addresses = if is_unspecified(&draft.host) {
            MAX_ADDRESSES + 4
        } else {
            0
        };
        seal_len(key) + addresses
    }

    /// Signs the TXT record of a node that is registered here.
    pub(super) fn seal(&self, draft: &Draft, txt: &mut Vec<u8>) {
        let Some(key) = self.config.keys.first() else {
            return;
        };
        if is_unspecified(&draft.host) {
            push_addresses(txt, self.links.addresses().into_iter());
        }
        let srv = Srv {
            port: draft.port,
            target: draft.target.clone(),
        };
        let subject = Subject {
            instance: &draft.instance,
            srv: &srv,
            goodbye: false,
        };
        subject.seal(key, txt);
    }

    /// Signs a goodbye.
    pub(super) fn seal_goodbye(&self, records: &mut [Record]) {
        let Some(key) = self.config.keys.first() else {
            return;
        };
        let srv = records.iter().find_map(|record| match &record.data {
            Data::Srv(srv) => Some(srv.clone()),
            _ => None,
        });
        let Some(srv) = srv else { return };
        for record in records {
            if let Data::Txt(txt) = &mut record.data {
                let mut sealed = txt.to_vec();
                let subject = Subject {
                    instance: &record.name,
                    srv: &srv,
                    goodbye: true,
                };
                subject.seal(key, &mut sealed);
                *txt = sealed.into();
            }
        }
    }

    /// The addresses of this host may have changed: those who vouch for them do so anew.
    pub(super) fn seal_again(&mut self) {
        if self.config.keys.is_empty() {
            return;
        }
        let mut writer = std::mem::take(&mut self.writer);
        for key in self.own.keys() {
            let Some(own) = self.own.get(key) else {
                continue;
            };
            let mut stamp = own.stamp;
            let Ok(draft) = self.own.draft(&self.names, &own.service, &own.node) else {
                continue;
            };
            if !is_unspecified(&draft.host) {
                continue;
            }
            stamp.changed = stamp.changed.max(self.last_stamp) + 1;
            let spare = self.seal_room(&draft);
            let Ok(mut encoded) = Own::txt(&mut writer, &own.service, &draft, stamp, spare) else {
                continue;
            };
            self.seal(&draft, &mut encoded.txt);
            self.last_stamp = stamp.changed;
            if let Some(own) = self.own.get_mut(key) {
                own.stamp = stamp;
                own.txt = encoded.txt.into();
            }
        }
        self.writer = writer;
    }
}

fn txt_at<'a>(name: &Name, records: &'a [Record]) -> Option<&'a Arc<[u8]>> {
    records.iter().find_map(|record| match &record.data {
        Data::Txt(txt) if record.name == *name => Some(txt),
        _ => None,
    })
}
