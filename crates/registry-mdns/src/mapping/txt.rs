//! Reading the TXT record of a node.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use smallvec::SmallVec;
use vine_registry::{DEFAULT_NAMESPACE, Endpoint, Metadata, address::HostPort, validate};

use super::{
    blob::{BlobRef, Digest},
    extra::{Extra, Extras, Unread},
    weight,
};
use crate::codec::strings;

pub(super) const MAX_STRING: usize = 255;
/// The version of this mapping (RFC 6763 section 6.7).
pub(super) const VERSION: &str = "1";
/// Keys that are added to shared metadata one by one.
const FEW: usize = 4;

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
    /// If given: which of its host's addresses are its own.
    pub(crate) addresses: Option<Arc<[IpAddr]>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) stamp: Stamp,
    pub(crate) service_metadata: Metadata,
    pub(crate) node_metadata: Metadata,
    pub(crate) endpoints: Arc<[Endpoint]>,
    pub(crate) apis: Arc<[serde_json::Value]>,
    /// The blob with the rest, as long as it is not here.
    pub(crate) missing: Option<BlobRef>,
    /// What was decoded for it is accounted for as long as it is used.
    pub(crate) parts: SmallVec<[Arc<Extra>; 1]>,
    /// About how many bytes take the metadata that it does not share with its parts.
    pub(crate) weight: usize,
}

fn from_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos)).filter(|ttl| !ttl.is_zero())
}

/// Reads the TXT record of a node.
///
/// # Errors
/// When it is not one, or not one that can be understood; or when what is deflated in it finds no
/// room.
pub(crate) fn decode(txt: &[u8], extras: &mut Extras) -> Result<Facts, Unread> {
    let mut raw = Raw::default();
    for string in strings(txt) {
        let string = string.map_err(|_| Unread::Nonsense)?;
        raw.take(string).ok_or(Unread::Nonsense)?;
    }
    raw.facts(extras)
}

/// Which node a TXT record is of: its namespace, its service and, if that is said, its id.
pub(crate) fn identity(txt: &[u8]) -> Option<(&str, &str, Option<&str>)> {
    let mut raw = Raw::default();
    for string in strings(txt) {
        raw.take(string.ok()?)?;
    }
    let namespace = raw.namespace.filter(|namespace| !namespace.is_empty());
    Some((namespace.unwrap_or(DEFAULT_NAMESPACE), raw.name?, raw.id))
}

/// The keys of a TXT record. Of a key that is there twice, the first counts (RFC 6763 6.4).
#[derive(Default)]
struct Raw<'a> {
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    id: Option<&'a str>,
    address: Option<&'a str>,
    addresses: Option<Arc<[IpAddr]>>,
    ttl: Option<Duration>,
    epoch: Option<u64>,
    changed: Option<u64>,
    service: Vec<(&'a str, &'a str)>,
    node: Vec<(&'a str, &'a str)>,
    chunks: Vec<(u8, &'a [u8])>,
    blob: Option<BlobRef>,
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
                "ip" => first(
                    &mut self.addresses,
                    Some(value.split(',').filter_map(|ip| ip.parse().ok()).collect()),
                ),
                "t" => first(&mut self.ttl, from_seconds(value)),
                "e" => first(&mut self.epoch, value.parse().ok()),
                "ts" => first(&mut self.changed, value.parse().ok()),
                "x" => first(&mut self.blob, Some(BlobRef::parse(value)?)),
                _ => {}
            }
        }
        Some(())
    }

    fn facts(mut self, extras: &mut Extras) -> Result<Facts, Unread> {
        let parts = self.parts(extras)?;
        let missing = self.blob.filter(|blob| extras.get(blob.digest).is_none());
        self.with(parts, missing).ok_or(Unread::Nonsense)
    }

    fn with(self, parts: SmallVec<[Arc<Extra>; 1]>, missing: Option<BlobRef>) -> Option<Facts> {
        let namespace = self.namespace.filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
        let name = self.name?;
        validate::name("namespace", namespace, MAX_STRING).ok()?;
        validate::name("name", name, MAX_STRING).ok()?;
        if let Some(id) = self.id {
            validate::name("id", id, MAX_STRING).ok()?;
        }
        let version = self.version.unwrap_or_default();
        let elsewhere = || parts.iter().find_map(|part| part.address.clone());
        let address = self.address.map(Arc::from).or_else(elsewhere);
        if version.chars().any(char::is_control)
            || address
                .as_deref()
                .is_some_and(|address| !is_address(address))
        {
            return None;
        }
        let (service, of_service) = merged(&self.service, parts.iter().map(|part| &part.service));
        let (node, of_node) = merged(&self.node, parts.iter().map(|part| &part.node));
        Some(Facts {
            namespace: namespace.into(),
            name: name.into(),
            version: version.into(),
            id: self.id.map(Arc::from),
            address,
            addresses: self.addresses,
            ttl: self.ttl,
            stamp: Stamp {
                epoch: self.epoch.unwrap_or_default(),
                changed: self.changed.unwrap_or_default(),
            },
            service_metadata: service,
            node_metadata: node,
            endpoints: first_of(&parts, |part| &part.endpoints),
            apis: first_of(&parts, |part| &part.apis),
            missing,
            parts,
            weight: of_service + of_node,
        })
    }

    /// What is deflated in the record and in its blob, if that is here.
    fn parts(&mut self, extras: &mut Extras) -> Result<SmallVec<[Arc<Extra>; 1]>, Unread> {
        let mut parts = SmallVec::new();
        self.chunks.sort_by_key(|(number, _)| *number);
        self.chunks.dedup_by_key(|(number, _)| *number);
        if let Some((last, _)) = self.chunks.last() {
            if usize::from(*last) + 1 != self.chunks.len() {
                return Err(Unread::Nonsense);
            }
            let whole: Vec<&[u8]> = self.chunks.iter().map(|(_, chunk)| *chunk).collect();
            let whole = whole.concat();
            parts.push(extras.inflate(Digest::of(&whole), &whole)?);
        }
        if let Some(known) = self.blob.and_then(|blob| extras.get(blob.digest)) {
            parts.push(Arc::clone(known.ok_or(Unread::Nonsense)?));
        }
        Ok(parts)
    }
}

fn first_of<T>(parts: &[Arc<Extra>], field: impl Fn(&Extra) -> &Arc<[T]>) -> Arc<[T]> {
    let mut fields = parts.iter().map(|part| field(part));
    fields
        .find(|field| !field.is_empty())
        .cloned()
        .unwrap_or_default()
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

/// What stands in keys, and what stands elsewhere, and about how many bytes that takes beyond what is
/// shared with it. The first of a key counts.
fn merged<'a>(
    pairs: &[(&'a str, &'a str)],
    parts: impl DoubleEndedIterator<Item = &'a Metadata> + Clone,
) -> (Metadata, usize) {
    let mut filled = parts.clone().filter(|part| !part.is_empty());
    match (filled.next(), filled.next()) {
        (Some(one), None) if pairs.is_empty() => return (one.clone(), 0),
        (None, _) if pairs.is_empty() => return (Metadata::new(), 0),
        // Its texts stay shared.
        (Some(one), None) if pairs.len() <= FEW => {
            let add = |all: Metadata, pair: &(&str, &str)| all.with(pair.0, pair.1);
            let all = pairs.iter().rev().fold(one.clone(), add);
            let texts = pairs.iter().map(|(key, value)| key.len() + value.len());
            let weight = all.len() * weight::PAIR + texts.sum::<usize>();
            return (all, weight);
        }
        _ => {}
    }
    // Later ones win in `Metadata`.
    let others = parts.rev().flat_map(Metadata::iter);
    let all: Metadata = others.chain(pairs.iter().rev().copied()).collect();
    let weight = weight::metadata(&all);
    (all, weight)
}

#[cfg(test)]
mod tests;
