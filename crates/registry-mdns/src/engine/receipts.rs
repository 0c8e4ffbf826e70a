//! Receipts: by a question that is asked again, each process whose answer arrived as a whole learns that
//! it need not repeat it.
//!
//! Known answers (RFC 6762 section 7.1) would say the same node by node; of two thousand nodes they take
//! seventy packets, which everybody has to read. A receipt takes sixteen bytes for a process: a number
//! that the host name and the instances at it make up, and a token that its answer came with. Who can
//! repeat the token gets the mail at its address, or hears the questions of who does, and so is on the
//! link: what was sent there is not held against it. Receipts stand in a TXT record of the name that is
//! asked for, in the additional section; others pass it over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::BuildHasher,
    net::IpAddr,
};

use smallvec::SmallVec;

use super::{
    Engine,
    own::{Answer, HostKey},
    packing::Unit,
};
use crate::codec::{Ask, Data, Message, Name, Record, strings};

/// As many as go into one packet with the question.
pub(super) const MAX_RECEIPTS: usize = 78;
const SIZE: usize = 16;
const IN_A_STRING: usize = 255 / SIZE;
/// An asker's addresses that one host name has tokens for.
const MAX_ADDRESSES: usize = 8;
/// Host names whose tokens a look-up keeps: more than have much to tell.
const MAX_TARGETS: usize = 1_024;
/// Host names of a process that its answer has tokens for.
pub(super) const MAX_TOKENS: usize = 8;

/// A number for the instances at a host name, and the token that came with them; 0 if none did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Receipt {
    whole: u64,
    token: u64,
}

/// What an answer is worth if it arrives: by host name, for each of the asker's addresses that got one.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<Name, SmallVec<[u64; 2]>, foldhash::fast::RandomState>);

impl Tokens {
    pub(super) fn insert(&mut self, target: &Name, token: u64) {
        if self.0.len() >= MAX_TARGETS && !self.0.contains_key(target) {
            return;
        }
        let tokens = self.0.entry(target.clone()).or_default();
        if !tokens.contains(&token) && tokens.len() < MAX_ADDRESSES {
            tokens.push(token);
        }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, target: &Name) -> &[u64] {
        self.0
            .get(target)
            .map(|tokens| &**tokens)
            .unwrap_or_default()
    }
}

/// Adds up to the same in any order.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    count: u64,
    sum: u64,
}

impl Whole {
    fn add(&mut self, instance: &Name) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(stable(0, instance.first_label()));
    }

    fn number(self, target: &Name) -> u64 {
        let number = stable(self.sum, target.first_label());
        stable(number, &self.count.to_be_bytes())
    }
}

/// FNV-1a, without regard to ASCII case: the same on every machine.
fn stable(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325 ^ seed;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01B3)
    })
}

impl Engine {
    /// The receipts for what is known at a topic, as a record; none if there are more than one packet
    /// holds, unless `some` of them will do.
    pub(super) fn receipts(&self, topic: &Name, tokens: &Tokens, some: bool) -> Option<Record> {
        let mut wholes: BTreeMap<&Name, Whole> = BTreeMap::new();
        for name in self
            .cache
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| &topic.instances)
        {
            if let Some(known) = self.cache.instances.get(name)
                && known.txt.is_some()
                && let Some((srv, _)) = &known.srv
            {
                wholes.entry(&srv.target).or_default().add(name);
            }
        }
        if some {
            // Who could say nothing but his token, since too much had been sent here, gets it back.
            for target in tokens.targets() {
                wholes.entry(target).or_default();
            }
        }
        if wholes.is_empty() || wholes.len() > MAX_RECEIPTS && !some {
            return None;
        }
        let mut wholes: Vec<_> = wholes.into_iter().collect();
        wholes.sort_by_key(|(_, whole)| std::cmp::Reverse(whole.count));
        let receipt = |(target, whole): &(&Name, Whole), token| Receipt {
            whole: whole.number(target),
            token,
        };
        let first = wholes.iter().map(|known| {
            let tokens = tokens.of(known.0);
            receipt(known, tokens.first().copied().unwrap_or_default())
        });
        // Each proves the way to one address, and the question goes out from all of them.
        let others = wholes.iter().flat_map(|known| {
            let tokens = tokens.of(known.0).iter().skip(1);
            tokens.map(move |token| receipt(known, *token))
        });
        Some(written(topic, first.chain(others).take(MAX_RECEIPTS)))
    }

    /// Takes out what has arrived at the asker as a whole already. None if the question has no
    /// receipts; else whether one of them proves that the asker gets what is sent to its address.
    pub(super) fn heed_receipts(
        &self,
        message: &Message,
        asker: IpAddr,
        answers: &mut Vec<(Answer, Ask)>,
    ) -> Option<bool> {
        let topic = message.questions.first().map(|ask| &ask.name)?;
        let receipts = read(message, topic);
        if receipts.is_empty() {
            return None;
        }
        let mut wholes: HashMap<HostKey, Whole> = HashMap::new();
        self.each_pointer(topic, |answer| {
            if let Answer::Listed(key) | Answer::Named(key) = answer
                && let Some(own) = self.own.get(key)
            {
                wholes.entry(own.host).or_default().add(&own.instance);
            }
        });
        let token = self.token(asker);
        // Whether or not everything has arrived: then it is sent once more.
        let is_proven = receipts.iter().any(|receipt| receipt.token == token);
        wholes.retain(|host, whole| {
            let number = self.own.host_name(*host).map(|name| whole.number(name));
            let mut receipts = receipts.iter();
            receipts.any(|receipt| Some(receipt.whole) == number)
        });
        answers.retain(|(answer, _)| match answer {
            Answer::Listed(key) | Answer::Named(key) => {
                let own = self.own.get(*key);
                own.is_none_or(|own| !wholes.contains_key(&own.host))
            }
            _ => true,
        });
        Some(is_proven)
    }

    /// What a long answer ends with: for each host name of this process that has nodes there, but for so
    /// many at `most`, a token. To who has everything already it is the answer.
    pub(super) fn tokens_for(&self, asker: IpAddr, message: &Message, most: usize) -> Option<Unit> {
        let topic = message.questions.first().map(|ask| &ask.name)?;
        let mut hosts = BTreeSet::new();
        self.each_pointer(topic, |answer| {
            if let Answer::Listed(key) | Answer::Named(key) = answer {
                hosts.extend(self.own.get(key).map(|own| own.host));
            }
        });
        let mut data = vec![8];
        data.extend(self.token(asker).to_be_bytes());
        let names = hosts.iter().filter_map(|host| self.own.host_name(*host));
        let records = names.take(most).map(|name| Record {
            name: name.clone(),
            flush: false,
            ttl: 1,
            data: Data::Txt(data.as_slice().into()),
        });
        let additionals: Vec<_> = records.collect();
        (!additionals.is_empty()).then(|| Unit {
            additionals,
            ..Unit::default()
        })
    }

    /// Known to this process, to who gets mail at the address, and to who hears him ask again.
    fn token(&self, asker: IpAddr) -> u64 {
        self.secret.hash_one(asker.to_canonical()).max(1)
    }
}

/// The tokens that come with an answer.
pub(super) fn tokens(message: &Message) -> impl Iterator<Item = (&Name, u64)> {
    message.additionals.iter().filter_map(|record| {
        let Data::Txt(bytes) = &record.data else {
            return None;
        };
        let (8, token) = bytes.split_first()? else {
            return None;
        };
        Some((&record.name, u64::from_be_bytes(token.try_into().ok()?)))
    })
}

fn written(topic: &Name, receipts: impl Iterator<Item = Receipt>) -> Record {
    let receipts: Vec<_> = receipts.collect();
    let mut bytes = Vec::new();
    for some in receipts.chunks(IN_A_STRING) {
        bytes.push((some.len() * SIZE) as u8);
        for receipt in some {
            bytes.extend(receipt.whole.to_be_bytes());
            bytes.extend(receipt.token.to_be_bytes());
        }
    }
    Record {
        name: topic.clone(),
        flush: false,
        ttl: 1,
        data: Data::Txt(bytes.into()),
    }
}

fn read(message: &Message, topic: &Name) -> Vec<Receipt> {
    let records = message
        .additionals
        .iter()
        .filter(|record| record.name == *topic);
    let texts = records.filter_map(|record| match &record.data {
        Data::Txt(bytes) => Some(bytes),
        _ => None,
    });
    let strings = texts.flat_map(|bytes| strings(bytes)).flatten();
    let numbers = strings.flat_map(|string| string.chunks_exact(SIZE));
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    numbers
        .take(MAX_RECEIPTS)
        .map(|bytes| {
            let (whole, token) = bytes.split_at(SIZE / 2);
            Receipt {
                whole: number(whole),
                token: number(token),
            }
        })
        .collect()
}
