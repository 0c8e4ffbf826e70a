//! What does not fit into TXT keys: deflated JSON, in the record or in a blob.

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::Arc,
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize};
use vine_registry::{Endpoint, Metadata};

use super::{
    blob::Digest,
    weight::{endpoint, json, metadata},
};

/// The most that may come out of inflating (a zip bomb does not get beyond it).
pub(crate) const MAX_INFLATED: usize = 64 * 1024;
/// What all that is decoded may take, in bytes.
const MAX_WEIGHT: usize = 64 * 1024 * 1024;
/// What of that is kept for those hosts that have brought no more than a share: so no host alone
/// can leave no room for others.
const RESERVE: usize = MAX_WEIGHT / 4;
const SHARE: usize = MAX_WEIGHT / 16;
/// What is kept of something that can't be understood.
const ENTRY: usize = 64;

/// Deflated JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Arc<str>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) endpoints: Arc<[Endpoint]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) apis: Arc<[serde_json::Value]>,
    /// Service metadata.
    #[serde(rename = "s", skip_serializing_if = "Metadata::is_empty")]
    pub(super) service: Metadata,
    /// Node metadata.
    #[serde(rename = "m", skip_serializing_if = "Metadata::is_empty")]
    pub(super) node: Metadata,
}

/// Why nothing could be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpackable {
    /// More than [`MAX_INFLATED`].
    TooLarge(usize),
    /// Nested so deeply that nobody could read it.
    TooDeep,
}

/// An [`Extra`] as it travels; nothing if there is nothing in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    pub(super) deflated: Arc<[u8]>,
    /// How many bytes of JSON it holds.
    pub(super) json: usize,
}

impl Extra {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn pack(&self) -> Result<Packed, Unpackable> {
        if self.is_empty() {
            return Ok(Packed::default());
        }
        let json = serde_json::to_vec(self).map_err(|_| Unpackable::TooDeep)?;
        if json.len() > MAX_INFLATED {
            return Err(Unpackable::TooLarge(json.len()));
        }
        // serde_json reads 128 levels but writes more.
        if serde_json::from_slice::<Self>(&json).is_err() {
            return Err(Unpackable::TooDeep);
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let written = encoder.write_all(&json).and_then(|()| encoder.finish());
        Ok(Packed {
            // Writing to memory does not fail.
            deflated: written.unwrap_or_default().into(),
            json: json.len(),
        })
    }

    fn inflate(deflated: &[u8]) -> Option<Self> {
        let mut json = Vec::new();
        let limit = MAX_INFLATED as u64 + 1;
        DeflateDecoder::new(deflated)
            .take(limit)
            .read_to_end(&mut json)
            .ok()?;
        if json.len() > MAX_INFLATED {
            return None;
        }
        serde_json::from_slice(&json).ok()
    }

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let address = self.address.as_ref().map_or(0, |address| address.len());
        let endpoints = self.endpoints.iter().map(endpoint);
        let apis = self.apis.iter().map(json);
        ENTRY
            + size_of::<Self>()
            + address
            + metadata(&self.service)
            + metadata(&self.node)
            + endpoints.chain(apis).sum::<usize>()
    }
}

/// Why it is not known what something says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It can't be understood, however often it is tried.
    Nonsense,
    /// There is no room for it at present.
    NoRoom,
}

/// What was decoded, so that a thousand nodes of a version share their endpoints. It is bounded,
/// together with all that still uses it.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    known: HashMap<Digest, Known>,
    weight: usize,
    /// Who brings what is decoded now.
    host: u32,
}

#[derive(Debug)]
struct Known {
    /// None: can't be understood.
    extra: Option<Arc<Extra>>,
    weight: usize,
    /// Who brought it first.
    host: u32,
}

impl Extras {
    /// What is decoded from now on is brought by this host.
    pub(crate) fn come_from(&mut self, host: u32) {
        self.host = host;
    }

    /// What was decoded of a blob: nothing if that can't be understood.
    pub(crate) fn get(&self, digest: Digest) -> Option<Option<&Arc<Extra>>> {
        self.known.get(&digest).map(|known| known.extra.as_ref())
    }

    /// Decodes what was deflated.
    ///
    /// # Errors
    /// When it can't be understood, which is remembered, or finds no room.
    pub(crate) fn inflate(
        &mut self,
        digest: Digest,
        deflated: &[u8],
    ) -> Result<Arc<Extra>, Unread> {
        if let Some(known) = self.known.get(&digest) {
            return known.extra.clone().ok_or(Unread::Nonsense);
        }
        let extra = Extra::inflate(deflated).map(Arc::new);
        let weight = extra.as_ref().map_or(ENTRY, |extra| extra.weight());
        if self.weight + weight > MAX_WEIGHT - RESERVE {
            self.drop_unused();
        }
        if !self.has_room(weight) {
            return Err(extra.map_or(Unread::Nonsense, |_| Unread::NoRoom));
        }
        self.weight += weight;
        let known = Known {
            extra: extra.clone(),
            weight,
            host: self.host,
        };
        self.known.insert(digest, known);
        extra.ok_or(Unread::Nonsense)
    }

    fn has_room(&self, weight: usize) -> bool {
        let after = self.weight + weight;
        let share = || {
            let known = self.known.values();
            let own = known.filter(|known| known.host == self.host);
            own.map(|known| known.weight).sum::<usize>()
        };
        after <= MAX_WEIGHT - RESERVE || after <= MAX_WEIGHT && share() + weight <= SHARE
    }

    fn drop_unused(&mut self) {
        let is_used = |known: &Known| known.extra.as_ref().map_or(0, Arc::strong_count) > 1;
        self.known.retain(|_, known| is_used(known));
        self.weight = self.known.values().map(|known| known.weight).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(extras: &mut Extras, deflated: &[u8]) -> Result<Arc<Extra>, Unread> {
        extras.inflate(Digest::of(deflated), deflated)
    }

    fn deflate(json: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(json).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn shares_what_it_has_inflated_before() {
        let extra = Extra {
            endpoints: [Endpoint::new("Test.Call")].into(),
            ..Extra::default()
        };
        let packed = extra.pack().unwrap();
        let mut extras = Extras::default();
        let a = inflate(&mut extras, &packed.deflated).unwrap();
        let b = inflate(&mut extras, &packed.deflated).unwrap();
        assert_eq!(*a, extra);
        assert!(Arc::ptr_eq(&a.endpoints, &b.endpoints));
    }

    #[test]
    fn a_zip_bomb_costs_little() {
        let bomb = deflate(&vec![b' '; 5_000_000]);
        assert!(bomb.len() < 8_000);
        let mut extras = Extras::default();
        assert_eq!(inflate(&mut extras, &bomb), Err(Unread::Nonsense));
        assert_eq!(inflate(&mut extras, b"no deflate"), Err(Unread::Nonsense));
        assert_eq!(extras.weight, 2 * ENTRY);
        assert_eq!(extras.get(Digest::of(&bomb)), Some(None), "is remembered");
    }

    #[test]
    fn what_is_in_use_is_bounded_and_what_is_not_gives_way() {
        // The JSON that takes the most memory.
        let swollen = |number: usize| {
            let objects = vec![r#"{"":0}"#; 8_000].join(",");
            deflate(format!(r#"{{"apis":[{number},{objects}]}}"#).as_bytes())
        };
        let mut extras = Extras::default();
        let mut used = Vec::new();
        for number in 0..40 {
            used.extend(inflate(&mut extras, &swollen(number)));
        }
        assert!(extras.weight <= MAX_WEIGHT - RESERVE);
        assert!((7..20).contains(&used.len()), "{}", used.len());
        assert_eq!(inflate(&mut extras, &swollen(40)), Err(Unread::NoRoom));
        assert_eq!(inflate(&mut extras, b"no deflate"), Err(Unread::Nonsense));
        assert_eq!(extras.get(Digest::of(&swollen(40))), None, "is tried again");
        used.clear();
        assert!(inflate(&mut extras, &swollen(40)).is_ok());
        assert_eq!(extras.known.len(), 1);
    }

    #[test]
    fn no_host_alone_leaves_no_room_for_others() {
        // About 80 KB.
        let some = |host: u32, number: usize| {
            let objects = vec![r#"{"":0}"#; 100].join(",");
            deflate(format!(r#"{{"apis":["{host}",{number},{objects}]}}"#).as_bytes())
        };
        let mut extras = Extras::default();
        let mut used = Vec::new();
        let mut counts = Vec::new();
        for (host, number) in [(1, 1_000), (2, 100), (3, 10)] {
            extras.come_from(host);
            let before = used.len();
            used.extend((0..number).filter_map(|i| inflate(&mut extras, &some(host, i)).ok()));
            counts.push(used.len() - before);
        }
        assert!((500..800).contains(&counts[0]), "{counts:?}");
        assert!((40..60).contains(&counts[1]), "{counts:?}");
        assert_eq!(counts[2], 10);
        assert!(extras.weight <= MAX_WEIGHT);
    }

    #[test]
    fn too_much_and_too_deep_are_told() {
        let long = "x".repeat(MAX_INFLATED);
        let extra = Extra {
            node: Metadata::from([("k", long.as_str())]),
            ..Extra::default()
        };
        assert!(matches!(extra.pack(), Err(Unpackable::TooLarge(_))));
        let deep = (0..200).fold(serde_json::Value::Null, |inner, _| {
            [inner].into_iter().collect()
        });
        let extra = Extra {
            apis: [deep].into(),
            ..Extra::default()
        };
        assert!(matches!(extra.pack(), Err(Unpackable::TooDeep)));
    }
}
