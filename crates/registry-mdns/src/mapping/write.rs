//! Writing the TXT record of a node: in keys, deflated, or with a blob.

use std::{collections::HashSet, sync::Arc, time::Duration};

use vine_registry::{Endpoint, Error, Metadata, Node, Result, Service};

use super::{
    blob::Blob,
    extra::{Extra, MAX_INFLATED, Packed, Unpackable},
    txt::{MAX_STRING, Stamp, VERSION},
};

/// The TXT record of a node, and the blob that it names, if it does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) txt: Vec<u8>,
    pub(crate) blob: Option<Blob>,
}

/// Writes TXT records. What the nodes of a service share is packed once, into one blob.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Of the service whose node was written last.
    shared: Option<Shared>,
}

/// What the nodes of a service share.
#[derive(Debug)]
struct Shared {
    metadata: Metadata,
    endpoints: Arc<[Endpoint]>,
    apis: Arc<[serde_json::Value]>,
    /// Without the metadata that TXT keys can hold.
    rest: Packed,
    whole: Packed,
    blob: Blob,
}

/// Which metadata stands in TXT keys of its own, where it can.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    All,
    Nodes,
    None,
}

/// Where the rest goes.
enum Place<'a> {
    /// Into the record. What there is of the service alone is deflated already.
    Inline(&'a Packed),
    /// The node's into the record, the service's is in this blob.
    Shared(&'a Blob),
    /// All into a blob.
    Blob,
}

impl Writer {
    /// Writes the TXT record of a node, in `room` bytes if that can be.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::InvalidService`].
    pub(crate) fn encode(
        &mut self,
        service: &Service,
        node: &Node,
        address: Option<&str>,
        stamp: Stamp,
        room: usize,
    ) -> Result<Encoded> {
        let draft = Draft {
            service,
            node,
            address,
            stamp,
        };
        let shared = self.shared(service)?;
        let inline = [(Plain::All, &shared.rest), (Plain::None, &shared.whole)];
        for (plain, packed) in inline {
            if packed.deflated.len() > room {
                continue;
            }
            let encoded = draft.write(plain, Place::Inline(packed))?;
            if encoded.txt.len() <= room {
                return Ok(encoded);
            }
        }
        check_size(service, node)?;
        if shared.whole.json > 0 {
            for plain in [Plain::Nodes, Plain::None] {
                let encoded = draft.write(plain, Place::Shared(&shared.blob))?;
                if encoded.txt.len() <= room {
                    return Ok(encoded);
                }
            }
        }
        draft.write(Plain::None, Place::Blob)
    }

    fn shared(&mut self, service: &Service) -> Result<&Shared> {
        let known = self.shared.take().filter(|known| known.is_of(service));
        let shared = match known {
            Some(known) => known,
            None => Shared::new(service)?,
        };
        Ok(self.shared.insert(shared))
    }
}

impl Shared {
    fn new(service: &Service) -> Result<Self> {
        let mut extra = Extra {
            endpoints: Arc::clone(&service.endpoints),
            apis: Arc::clone(&service.apis),
            service: service.metadata.clone(),
            ..Extra::default()
        };
        let whole = pack(service, None, &extra)?;
        extra.service = push_metadata(&mut Vec::new(), "s.", &service.metadata);
        let rest = match extra.service.len() == service.metadata.len() {
            true => whole.clone(),
            false => pack(service, None, &extra)?,
        };
        Ok(Self {
            metadata: service.metadata.clone(),
            endpoints: extra.endpoints,
            apis: extra.apis,
            blob: Blob::new(Arc::clone(&whole.deflated)),
            whole,
            rest,
        })
    }

    fn is_of(&self, service: &Service) -> bool {
        self.metadata == service.metadata
            && (Arc::ptr_eq(&self.endpoints, &service.endpoints)
                || self.endpoints == service.endpoints)
            && (Arc::ptr_eq(&self.apis, &service.apis) || self.apis == service.apis)
    }
}

struct Draft<'a> {
    service: &'a Service,
    node: &'a Node,
    address: Option<&'a str>,
    stamp: Stamp,
}

impl Draft<'_> {
    fn write(&self, plain: Plain, place: Place<'_>) -> Result<Encoded> {
        let Self { service, node, .. } = *self;
        let mut txt = Vec::with_capacity(512);
        // What the service has, and what the node has.
        let (mut common, mut own) = (Extra::default(), Extra::default());
        own.address = self.write_core(&mut txt)?;
        common.service = match plain {
            Plain::All => push_metadata(&mut txt, "s.", &service.metadata),
            _ => service.metadata.clone(),
        };
        own.node = match plain {
            Plain::None => node.metadata.clone(),
            _ => push_metadata(&mut txt, "m.", &node.metadata),
        };
        let blob = match place {
            Place::Inline(packed) if own.is_empty() => {
                push_extra(&mut txt, packed);
                None
            }
            Place::Inline(_) => {
                push_extra(&mut txt, &self.pack(common, own)?);
                None
            }
            Place::Shared(blob) => {
                push_extra(&mut txt, &pack(service, Some(node), &own)?);
                Some(blob.clone())
            }
            Place::Blob => {
                let packed = self.pack(common, own)?;
                (packed.json > 0).then(|| Blob::new(packed.deflated))
            }
        };
        if let Some(blob) = &blob {
            push(&mut txt, "x", &blob.reference().to_string())?;
        }
        Ok(Encoded { txt, blob })
    }

    fn pack(&self, common: Extra, own: Extra) -> Result<Packed> {
        let all = Extra {
            endpoints: Arc::clone(&self.service.endpoints),
            apis: Arc::clone(&self.service.apis),
            service: common.service,
            ..own
        };
        pack(self.service, Some(self.node), &all)
    }

    /// Writes the keys that each record has; gives the address if it is too long for one.
    fn write_core(&self, txt: &mut Vec<u8>) -> Result<Option<Arc<str>>> {
        let Self { service, node, .. } = *self;
        push(txt, "txtvers", VERSION)?;
        push(txt, "ns", &service.namespace)?;
        push(txt, "n", &service.name)?;
        push(txt, "v", &service.version)?;
        push(txt, "id", &node.id)?;
        let long = self
            .address
            .filter(|address| push(txt, "a", address).is_err());
        if let Some(ttl) = service.ttl {
            push(txt, "t", &seconds(ttl))?;
        }
        push(txt, "e", &self.stamp.epoch.to_string())?;
        push(txt, "ts", &self.stamp.changed.to_string())?;
        Ok(long.map(Arc::from))
    }
}

fn pack(service: &Service, node: Option<&Node>, extra: &Extra) -> Result<Packed> {
    extra.pack().map_err(|reason| match reason {
        Unpackable::TooLarge(size) => too_large(service, node, size),
        Unpackable::TooDeep => Error::invalid_service(
            "endpoints or apis",
            "are nested too deeply; at most about 60 levels of values can be read back",
        ),
    })
}

/// What goes into a record and what goes into a blob are one in this.
fn check_size(service: &Service, node: &Node) -> Result<()> {
    let size = fields(service, Some(node)).map(|(_, size)| size).sum();
    match size {
        ..=MAX_INFLATED => Ok(()),
        _ => Err(too_large(service, Some(node), size)),
    }
}

/// The fields that may be large, with their size as JSON.
fn fields(
    service: &Service,
    node: Option<&Node>,
) -> impl Iterator<Item = (&'static str, usize)> + Clone {
    let node = node.map_or(0, |node| json(&node.metadata));
    [
        ("metadata", json(&service.metadata)),
        ("endpoints", json(&service.endpoints)),
        ("apis", json(&service.apis)),
        ("node metadata", node),
    ]
    .into_iter()
}

fn json(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

fn too_large(service: &Service, node: Option<&Node>, size: usize) -> Error {
    let (field, most) = fields(service, node)
        .max_by_key(|(_, size)| *size)
        .unwrap_or_default();
    Error::TooLarge {
        what: format!(
            "service {:?}, its metadata, endpoints and apis as JSON, most of it {field} with {most} bytes,",
            service.name
        )
        .into(),
        size,
        limit: MAX_INFLATED,
    }
}

fn push(txt: &mut Vec<u8>, key: &'static str, value: &str) -> Result<()> {
    push_bytes(txt, key, value.as_bytes()).ok_or_else(|| Error::TooLarge {
        what: format!("the value of TXT key {key}").into(),
        size: value.len(),
        limit: MAX_STRING - key.len() - 1,
    })
}

/// Writes nothing if it is too long.
pub(super) fn push_bytes(txt: &mut Vec<u8>, key: &str, value: &[u8]) -> Option<()> {
    let len = key.len() + 1 + value.len();
    txt.push(u8::try_from(len).ok()?);
    txt.extend(key.as_bytes());
    txt.push(b'=');
    txt.extend(value);
    Some(())
}

/// Writes the pairs that a TXT key can hold, and gives the others.
fn push_metadata(txt: &mut Vec<u8>, prefix: &str, all: &Metadata) -> Metadata {
    if all.is_empty() {
        return Metadata::new();
    }
    let (mut once, mut twice) = (HashSet::new(), HashSet::new());
    for (key, _) in all.iter() {
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
            let written =
                fits(key) && push_bytes(txt, &format!("{prefix}{key}"), value.as_bytes()).is_some();
            !written
        })
        .collect()
}

fn push_extra(txt: &mut Vec<u8>, packed: &Packed) {
    // "z", up to two digits and "=": what is larger than a hundred of these is too large anyway.
    for (number, chunk) in packed.deflated.chunks(MAX_STRING - 4).enumerate() {
        let written = push_bytes(txt, &format!("z{number}"), chunk);
        debug_assert!(written.is_some() || number > 99);
    }
}

fn seconds(ttl: Duration) -> String {
    match ttl.subsec_nanos() {
        0 => ttl.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", ttl.as_secs()),
    }
}
