//! The TXT record of a node.

use std::{borrow::Cow, collections::HashSet, sync::Arc, time::Duration};

use vine_registry::{
    DEFAULT_NAMESPACE, Endpoint, Error, Metadata, Node, Result, Service, address::HostPort,
    validate,
};

use super::extra::{Extra, Extras, MAX_INFLATED, Unpackable};
use crate::codec::strings;

/// Beyond this, what can be deflated is.
const COMFORTABLE: usize = 1_300;
/// Beyond this, a node's records do not fit into one packet; endpoints, OpenAPI documents and long
/// metadata count deflated.
pub(crate) const MAX_TXT: usize = 8_000;
const MAX_STRING: usize = 255;
/// The version of this mapping (RFC 6763 section 6.7).
const VERSION: &str = "1";

/// When a registration was made and when it changed last, in Unix ms by its owner's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) epoch: u64,
    pub(crate) changed: u64,
}

/// What a TXT record says about a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    /// None if the label of the instance has to do.
    pub(crate) id: Option<Arc<str>>,
    /// None if SRV and its host's addresses say it.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) stamp: Stamp,
    pub(crate) service_metadata: Metadata,
    pub(crate) node_metadata: Metadata,
    pub(crate) endpoints: Arc<[Endpoint]>,
    pub(crate) apis: Arc<[serde_json::Value]>,
}

/// Writes the TXT record of a node.
///
/// # Errors
/// [`Error::TooLarge`] and [`Error::InvalidService`].
pub(crate) fn encode(
    service: &Service,
    node: &Node,
    address: Option<&str>,
    stamp: Stamp,
) -> Result<Arc<[u8]>> {
    let mut txt = write(service, node, address, stamp, Metadata::clone)?;
    if txt.len() > COMFORTABLE && !(service.metadata.is_empty() && node.metadata.is_empty()) {
        let deflated = write(service, node, address, stamp, |_| Metadata::new())?;
        if deflated.len() < txt.len() {
            txt = deflated;
        }
    }
    if txt.len() > MAX_TXT {
        return Err(Error::TooLarge {
            what: format!(
                "node {:?} of service {:?}, as a TXT record,",
                node.id, service.name
            )
            .into(),
            size: txt.len(),
            limit: MAX_TXT,
        });
    }
    Ok(txt.into())
}

/// `plain` picks the metadata that is to stand in keys of its own, where it can.
fn write(
    service: &Service,
    node: &Node,
    address: Option<&str>,
    stamp: Stamp,
    plain: impl Fn(&Metadata) -> Metadata,
) -> Result<Vec<u8>> {
    let mut txt = Vec::with_capacity(256);
    let mut extra = Extra {
        endpoints: Arc::clone(&service.endpoints),
        apis: Arc::clone(&service.apis),
        ..Extra::default()
    };
    push(&mut txt, "txtvers", VERSION)?;
    push(&mut txt, "ns", &service.namespace)?;
    push(&mut txt, "n", &service.name)?;
    push(&mut txt, "v", &service.version)?;
    push(&mut txt, "id", &node.id)?;
    if let Some(address) = address
        && push(&mut txt, "a", address).is_err()
    {
        extra.address = Some(address.into());
    }
    if let Some(ttl) = service.ttl {
        push(&mut txt, "t", &seconds(ttl))?;
    }
    push(&mut txt, "e", &stamp.epoch.to_string())?;
    push(&mut txt, "ts", &stamp.changed.to_string())?;
    extra.service = push_metadata(&mut txt, "s.", &service.metadata, &plain(&service.metadata));
    extra.node = push_metadata(&mut txt, "m.", &node.metadata, &plain(&node.metadata));
    if !extra.is_empty() {
        push_extra(&mut txt, &extra)?;
    }
    Ok(txt)
}

fn push(txt: &mut Vec<u8>, key: &'static str, value: &str) -> Result<()> {
    push_bytes(txt, key, value.as_bytes()).ok_or_else(|| Error::TooLarge {
        what: format!("the value of TXT key {key}").into(),
        size: value.len(),
        limit: MAX_STRING - key.len() - 1,
    })
}

fn push_bytes(txt: &mut Vec<u8>, key: &str, value: &[u8]) -> Option<()> {
    let len = key.len() + 1 + value.len();
    txt.push(u8::try_from(len).ok()?);
    txt.extend(key.as_bytes());
    txt.push(b'=');
    txt.extend(value);
    Some(())
}

/// Writes the pairs that a TXT key can hold, and gives the rest of `all`.
fn push_metadata(txt: &mut Vec<u8>, prefix: &str, all: &Metadata, plain: &Metadata) -> Metadata {
    let (mut once, mut twice) = (HashSet::new(), HashSet::new());
    for (key, _) in plain.iter() {
        let folded = key.to_ascii_lowercase();
        if !once.insert(folded.clone()) {
            twice.insert(folded);
        }
    }
    let fits = |key: &str| {
        key.bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
            && !twice.contains(&key.to_ascii_lowercase())
    };
    all.iter()
        .filter(|(key, value)| {
            let written = plain.contains_key(key)
                && fits(key)
                && push_bytes(txt, &format!("{prefix}{key}"), value.as_bytes()).is_some();
            !written
        })
        .collect()
}

fn push_extra(txt: &mut Vec<u8>, extra: &Extra) -> Result<()> {
    let deflated = extra.deflate().map_err(|reason| match reason {
        Unpackable::TooLarge(size) => Error::TooLarge {
            what: "the service's metadata, endpoints and apis, as JSON,".into(),
            size,
            limit: MAX_INFLATED,
        },
        Unpackable::TooDeep => Error::invalid_service(
            "endpoints or apis",
            "are nested too deeply; at most about 60 levels of values can be read back",
        ),
    })?;
    // "z", up to two digits and "=".
    for (number, chunk) in deflated.chunks(MAX_STRING - 4).enumerate() {
        let key = format!("z{number}");
        if push_bytes(txt, &key, chunk).is_none() {
            return Err(Error::TooLarge {
                what: "the service's metadata, endpoints and apis, deflated,".into(),
                size: deflated.len(),
                limit: MAX_TXT,
            });
        }
    }
    Ok(())
}

fn seconds(ttl: Duration) -> String {
    match ttl.subsec_nanos() {
        0 => ttl.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", ttl.as_secs()),
    }
}

fn from_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos)).filter(|ttl| !ttl.is_zero())
}

/// Reads the TXT record of a node; none if it is not one, or not one that can be understood.
pub(crate) fn decode(txt: &[u8], extras: &mut Extras) -> Option<Facts> {
    let mut raw = Raw::default();
    for string in strings(txt) {
        raw.take(string.ok()?)?;
    }
    raw.facts(extras)
}

/// The keys of a TXT record. Of a key that is there twice, the first counts (RFC 6763 6.4).
#[derive(Default)]
struct Raw<'a> {
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    id: Option<&'a str>,
    address: Option<&'a str>,
    ttl: Option<Duration>,
    epoch: Option<u64>,
    changed: Option<u64>,
    service: Vec<(&'a str, &'a str)>,
    node: Vec<(&'a str, &'a str)>,
    chunks: Vec<(u8, &'a [u8])>,
}

impl<'a> Raw<'a> {
    /// None if the whole record is to be passed over.
    fn take(&mut self, string: &'a [u8]) -> Option<()> {
        let end = string.iter().position(|byte| *byte == b'=');
        let (key, value) = match end {
            Some(end) => (&string[..end], &string[end + 1..]),
            None => (string, &[][..]),
        };
        let Ok(key) = str::from_utf8(key) else {
            return Some(());
        };
        if let Some(number) = chunk_number(key) {
            self.chunks.push((number, value));
            return Some(());
        }
        let Ok(value) = str::from_utf8(value) else {
            return Some(());
        };
        if let Some(key) = strip_prefix(key, "s.") {
            self.service.push((key, value));
        } else if let Some(key) = strip_prefix(key, "m.") {
            self.node.push((key, value));
        } else {
            match &*fold(key) {
                "txtvers" if value != VERSION => return None,
                "ns" => first(&mut self.namespace, Some(value)),
                "n" => first(&mut self.name, Some(value)),
                "v" => first(&mut self.version, Some(value)),
                "id" => first(&mut self.id, Some(value)),
                "a" => first(&mut self.address, Some(value)),
                "t" => first(&mut self.ttl, from_seconds(value)),
                "e" => first(&mut self.epoch, value.parse().ok()),
                "ts" => first(&mut self.changed, value.parse().ok()),
                _ => {}
            }
        }
        Some(())
    }

    fn facts(mut self, extras: &mut Extras) -> Option<Facts> {
        let extra = self.extra(extras)?;
        let namespace = self.namespace.filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
        let name = self.name?;
        validate::name("namespace", namespace, MAX_STRING).ok()?;
        validate::name("name", name, MAX_STRING).ok()?;
        if let Some(id) = self.id {
            validate::name("id", id, MAX_STRING).ok()?;
        }
        let version = self.version.unwrap_or_default();
        let address = self.address.map(Arc::from).or(extra.address);
        if version.chars().any(char::is_control)
            || address
                .as_deref()
                .is_some_and(|address| !is_address(address))
        {
            return None;
        }
        Some(Facts {
            namespace: namespace.into(),
            name: name.into(),
            version: version.into(),
            id: self.id.map(Arc::from),
            address,
            ttl: self.ttl,
            stamp: Stamp {
                epoch: self.epoch.unwrap_or_default(),
                changed: self.changed.unwrap_or_default(),
            },
            service_metadata: merged(&self.service, extra.service),
            node_metadata: merged(&self.node, extra.node),
            endpoints: extra.endpoints,
            apis: extra.apis,
        })
    }

    /// None if there is something that can't be understood.
    fn extra(&mut self, extras: &mut Extras) -> Option<Extra> {
        self.chunks.sort_by_key(|(number, _)| *number);
        self.chunks.dedup_by_key(|(number, _)| *number);
        match self.chunks.as_slice() {
            [] => Some(Extra::default()),
            [(0, one)] => extras.inflate(one),
            [.., (last, _)] if usize::from(*last) + 1 != self.chunks.len() => None,
            chunks => {
                let whole: Vec<&[u8]> = chunks.iter().map(|(_, chunk)| *chunk).collect();
                extras.inflate(&whole.concat())
            }
        }
    }
}

fn first<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        key.to_ascii_lowercase().into()
    } else {
        key.into()
    }
}

fn strip_prefix<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = key.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn chunk_number(key: &str) -> Option<u8> {
    let digits = strip_prefix(key, "z")?;
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| canonical)
}

fn is_address(address: &str) -> bool {
    HostPort::parse(address).is_some_and(|address| address.port != 0)
}

fn merged(pairs: &[(&str, &str)], extra: Metadata) -> Metadata {
    if pairs.is_empty() {
        return extra;
    }
    // Later ones win in `Metadata`; the first of a key is to count.
    let pairs = pairs.iter().rev().copied();
    pairs.chain(extra.iter()).collect()
}

#[cfg(test)]
mod tests;
