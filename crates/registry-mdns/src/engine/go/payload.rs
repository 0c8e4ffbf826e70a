//! What a TXT record of the Go dialect holds: the hexadecimal digits of deflated JSON.

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};
use vine_registry::{Endpoint, Error, Metadata, Node, Result, Service, address::HostPort};

use crate::{
    codec::strings,
    mapping::{Stamp, weight},
};

/// The most that may come out of inflating (a zip bomb does not get beyond it).
const MAX_INFLATED: usize = 64 * 1024;
/// The most that fits into one packet with the other records of a node; there is no second one.
const MAX_TXT: usize = 8_000;
const MAX_STRING: usize = 255;
/// What the decoded payloads may take that are kept, in bytes: refreshing brings the same ones again
/// and again.
const MAX_KEPT: usize = 4 * 1024 * 1024;
/// What is kept of a payload beside what it says.
const ENTRY: usize = 256;

/// The JSON of a node. Go writes `null` for what is empty, and Go's readers take keys in any case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    #[serde(rename = "Service", alias = "service")]
    pub(super) service: Arc<str>,
    #[serde(rename = "Version", alias = "version")]
    pub(super) version: Option<Arc<str>>,
    #[serde(rename = "Namespace", alias = "namespace")]
    pub(super) namespace: Option<Arc<str>>,
    #[serde(rename = "Endpoints", alias = "endpoints")]
    pub(super) endpoints: Option<Arc<[Endpoint]>>,
    /// That of the node; the service's own has no place in this dialect.
    #[serde(rename = "Metadata", alias = "metadata")]
    pub(super) metadata: Option<Metadata>,
    /// What Go does not know: its readers pass over keys that they don't know.
    #[serde(rename = "Vine", skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<More>,
}

/// What one Rust process tells another beyond the dialect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct More {
    pub(super) epoch: u64,
    pub(super) changed: u64,
    /// The address as it was written, where the address record says it otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<Duration>,
    /// That of the service.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub(super) metadata: Metadata,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) apis: Arc<[serde_json::Value]>,
}

impl Payload {
    pub(super) fn new(service: &Service, node: &Node, stamp: Stamp, plain_address: &str) -> Self {
        let filled = |metadata: &Metadata| (!metadata.is_empty()).then(|| metadata.clone());
        let is_other = *node.address != *plain_address;
        Self {
            service: Arc::clone(&service.name),
            version: Some(Arc::clone(&service.version)),
            namespace: Some(Arc::clone(&service.namespace)),
            endpoints: (!service.endpoints.is_empty()).then(|| Arc::clone(&service.endpoints)),
            metadata: filled(&node.metadata),
            more: Some(More {
                epoch: stamp.epoch,
                changed: stamp.changed,
                address: is_other.then(|| Arc::clone(&node.address)),
                ttl: service.ttl,
                metadata: service.metadata.clone(),
                apis: Arc::clone(&service.apis),
            }),
        }
    }

    /// The TXT record.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::InvalidService`], with the remedy.
    pub(super) fn encode(&self) -> Result<Arc<[u8]>> {
        let json = serde_json::to_vec(self).map_err(|_| too_deep())?;
        // serde_json reads 128 levels but writes more.
        if serde_json::from_slice::<Self>(&json).is_err() {
            return Err(too_deep());
        }
        self.check("as JSON", json.len(), MAX_INFLATED)?;
        // Writing to memory does not fail.
        let txt = deflate(&json).unwrap_or_default();
        self.check("as a TXT record", txt.len(), MAX_TXT)?;
        Ok(txt.into())
    }

    fn check(&self, form: &str, size: usize, limit: usize) -> Result<()> {
        if size <= limit {
            return Ok(());
        }
        let service = &self.service;
        Err(Error::TooLarge {
            what: format!(
                "a node of service {service:?}, {form} of the Go dialect (which has one packet for each node: register less metadata, endpoints and apis, or use the dialect dns-sd),"
            )
            .into(),
            size,
            limit,
        })
    }

    /// Reads a TXT record; none if it is not of this dialect.
    pub(super) fn decode(txt: &[u8]) -> Option<Self> {
        let mut digits = Vec::with_capacity(txt.len());
        for string in strings(txt) {
            digits.extend_from_slice(string.ok()?);
        }
        let deflated = from_hex(&digits)?;
        let mut json = Vec::new();
        let limit = MAX_INFLATED as u64 + 1;
        ZlibDecoder::new(&*deflated)
            .take(limit)
            .read_to_end(&mut json)
            .ok()?;
        if json.len() > MAX_INFLATED {
            return None;
        }
        let mut payload: Self = serde_json::from_slice(&json).ok()?;
        if let Some(more) = &mut payload.more {
            more.address = more.address.take().filter(|address| {
                HostPort::parse(address).is_some_and(|address| address.port != 0)
            });
            more.ttl = more.ttl.filter(|ttl| !ttl.is_zero());
        }
        Some(payload)
    }

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let more = self.more.as_ref();
        let texts = [&self.version, &self.namespace].into_iter().flatten();
        let texts = texts.chain(more.and_then(|more| more.address.as_ref()));
        let metadata = self.metadata.iter().chain(more.map(|more| &more.metadata));
        let endpoints = self.endpoints.iter().flat_map(|all| all.iter());
        let apis = more.into_iter().flat_map(|more| more.apis.iter());
        size_of::<Self>()
            + self.service.len()
            + texts.map(|text| text.len()).sum::<usize>()
            + metadata.map(weight::metadata).sum::<usize>()
            + endpoints.map(weight::endpoint).sum::<usize>()
            + apis.map(weight::json).sum::<usize>()
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.more
            .as_ref()
            .map_or_else(Stamp::default, |more| Stamp {
                epoch: more.epoch,
                changed: more.changed,
            })
    }
}

/// For fuzzing: reads a TXT record, and one that holds these bytes as JSON. What is understood and
/// fits is written and read again as the same.
pub(crate) fn try_payload(bytes: &[u8]) {
    let _ = Payload::decode(bytes);
    // But for numbers with a fraction, which only documents have.
    let has_apis = |payload: &Payload| {
        payload
            .more
            .as_ref()
            .is_some_and(|more| !more.apis.is_empty())
    };
    if let Some(payload) = deflate(bytes).and_then(|txt| Payload::decode(&txt))
        && !has_apis(&payload)
        && let Ok(txt) = payload.encode()
    {
        assert_eq!(Payload::decode(&txt), Some(payload));
    }
}

/// The TXT record that holds this JSON.
fn deflate(json: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(json).ok()?;
    let digits = to_hex(&encoder.finish().ok()?);
    let mut txt = Vec::with_capacity(digits.len() + digits.len() / MAX_STRING + 1);
    for string in digits.chunks(MAX_STRING) {
        txt.push(string.len() as u8);
        txt.extend_from_slice(string);
    }
    Some(txt)
}

fn too_deep() -> Error {
    Error::invalid_service(
        "endpoints or apis",
        "are nested too deeply; at most about 60 levels of values can be read back",
    )
}

fn to_hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    bytes.iter().flat_map(digits).collect()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(value(*high)? << 4 | value(*low)?).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty())
}

/// A payload that was decoded.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) payload: Payload,
    /// About how many bytes of memory it takes.
    pub(super) weight: usize,
}

/// Decoded payloads, so that what is heard again costs a comparison.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    known: HashMap<Arc<[u8]>, Option<Arc<Decoded>>, foldhash::fast::RandomState>,
    pub(super) weight: usize,
}

impl Payloads {
    /// Reads a TXT record; none if it is not of this dialect.
    pub(super) fn decode(&mut self, txt: &Arc<[u8]>) -> Option<Arc<Decoded>> {
        if let Some(known) = self.known.get(txt) {
            return known.clone();
        }
        let decoded = Payload::decode(txt).map(|payload| {
            let weight = payload.weight();
            Arc::new(Decoded { payload, weight })
        });
        let taken = decoded.as_ref().map_or(0, |decoded| decoded.weight);
        let weight = ENTRY + txt.len() + taken;
        if self.weight + weight > MAX_KEPT {
            self.known.clear();
            self.weight = 0;
        }
        if weight <= MAX_KEPT {
            self.weight += weight;
            self.known.insert(Arc::clone(txt), decoded.clone());
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_in_either_case() {
        assert_eq!(to_hex(&[0, 0x9a, 0xff]), b"009aff");
        assert_eq!(from_hex(b"009AfF"), Some(vec![0, 0x9a, 0xff]));
        for bad in [&b"0"[..], b"0g", b"+1", b" 1"] {
            assert_eq!(from_hex(bad), None);
        }
    }

    #[test]
    fn a_zip_bomb_costs_little() {
        let bomb = deflate(&vec![b' '; 3_000_000]).unwrap();
        assert!(bomb.len() < MAX_TXT);
        assert_eq!(Payload::decode(&bomb), None);
        let full = format!("{{\"Service\":\"{}\"}}", "s".repeat(MAX_INFLATED - 14));
        assert_eq!(full.len(), MAX_INFLATED);
        assert!(Payload::decode(&deflate(full.as_bytes()).unwrap()).is_some());
        let over = full + " ";
        assert_eq!(Payload::decode(&deflate(over.as_bytes()).unwrap()), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_remedy() {
        let mut noise = fastrand::Rng::with_seed(7);
        let noise: String = (0..9_000).map(|_| noise.alphanumeric()).collect();
        let large = Payload {
            metadata: Some(Metadata::from([("k", &*noise)])),
            ..Payload::default()
        };
        let error = large.encode().unwrap_err().to_string();
        assert!(error.contains("dialect dns-sd"), "{error}");
        let deep = (0..200).fold(serde_json::Value::Null, |inner, _| {
            [inner].into_iter().collect()
        });
        let deep = Payload {
            more: Some(More {
                apis: [deep].into(),
                ..More::default()
            }),
            ..Payload::default()
        };
        assert!(matches!(deep.encode(), Err(Error::InvalidService { .. })));
    }

    #[test]
    fn what_is_heard_again_is_the_same() {
        let sample = Payload {
            service: "s".into(),
            ..Payload::default()
        };
        let txt = sample.encode().unwrap();
        let mut payloads = Payloads::default();
        let (one, two) = (payloads.decode(&txt), payloads.decode(&txt));
        assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
        assert!(payloads.decode(&Arc::from(&b"\x02zz"[..])).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_it_takes() {
        let mut payloads = Payloads::default();
        let swollen = vec![r#"{"":0}"#; 800].join(",");
        let mut taken = 0;
        for number in 0..100 {
            let json = format!(r#"{{"Service":"s","Vine":{{"apis":[{number},{swollen}]}}}}"#);
            let txt = deflate(json.as_bytes()).unwrap().into();
            taken += payloads.decode(&txt).unwrap().weight;
            assert!(payloads.weight <= MAX_KEPT);
            assert!(payloads.known.contains_key(&txt));
        }
        assert!(taken > 10 * MAX_KEPT, "{taken}");
        // What would take all of it alone is not kept at all.
        let vast = vec![r#"{"":0}"#; 8_000].join(",");
        let json = format!(r#"{{"Service":"s","Vine":{{"apis":[{vast}]}}}}"#);
        let txt = deflate(json.as_bytes()).unwrap().into();
        assert!(payloads.decode(&txt).unwrap().weight > MAX_KEPT);
        assert!(payloads.known.is_empty());
    }
}
