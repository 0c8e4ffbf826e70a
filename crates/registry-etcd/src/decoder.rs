use std::{hash::BuildHasher, sync::Arc};

use tracing::warn;
use vine_registry::{NodeRef, Service, view::Entry};

use crate::{
    TELEMETRY,
    keys::Keys,
    proto::KeyValue,
    value::{Form, Value},
};

/// Takes the values of keys apart, several of which mostly say the same of their service.
#[derive(Debug)]
pub(crate) struct Decoder {
    keys: Keys,
    /// That of values which name none.
    namespace: Arc<str>,
    /// What the last one said of its service.
    last: Option<Arc<Service>>,
    /// And how, while several are decoded.
    form: Option<Form>,
}

/// What a key and its value say.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) node: NodeRef,
    pub(crate) entry: Entry<()>,
    pub(crate) deregistered: bool,
}

impl Decoder {
    pub(crate) const fn new(keys: Keys, namespace: Arc<str>) -> Self {
        Self {
            keys,
            namespace,
            last: None,
            form: None,
        }
    }

    /// Lets go what is of use only while several are decoded.
    pub(crate) fn rest(&mut self) {
        self.form = None;
    }

    /// Takes one apart, unless it is not the value of a node at its key.
    pub(crate) fn decode(&mut self, kv: &KeyValue) -> Option<Decoded> {
        let value = match self.form.as_ref().and_then(|form| form.read(&kv.value)) {
            Some(value) => Ok(value),
            None => self.decode_all(kv),
        };
        let placed = value.and_then(|value| {
            let node = place(self.keys, &self.namespace, kv, &value)?;
            Ok((node, value))
        });
        let (node, value) = match placed {
            Ok(placed) => placed,
            Err(reason) => {
                TELEMETRY.dropped(reason, 1);
                warn!(key = %String::from_utf8_lossy(&kv.key), reason, "ignoring a value that is no node");
                return None;
            }
        };
        let entry = Entry {
            source: value.source,
            node: value.node,
            changed: value.changed.unwrap_or_else(|| revision(kv)),
            tag: (),
        };
        Some(Decoded {
            node,
            entry,
            deregistered: value.deregistered,
        })
    }

    /// Decodes a value of another form than the one before.
    fn decode_all(&mut self, kv: &KeyValue) -> Result<Value, &'static str> {
        let mut value = read(kv)?;
        self.form = None;
        match &self.last {
            Some(last) if *last == value.source => {
                value.source = Arc::clone(last);
                self.form = Form::of(&kv.value, last);
            }
            _ => self.last = Some(Arc::clone(&value.source)),
        }
        Ok(value)
    }
}

/// Which node it is, and what stands there of it; `namespace` is that of values which name none.
pub(crate) fn decode(
    keys: Keys,
    namespace: &Arc<str>,
    kv: &KeyValue,
) -> Result<(NodeRef, Value), &'static str> {
    let value = read(kv)?;
    let node = place(keys, namespace, kv, &value)?;
    Ok((node, value))
}

fn read(kv: &KeyValue) -> Result<Value, &'static str> {
    let value = Value::decode(&kv.value).map_err(|_| "it is not the JSON of a service")?;
    value.ok_or("it has no node")
}

/// Which node it is that a value tells of.
fn place(
    keys: Keys,
    namespace: &Arc<str>,
    kv: &KeyValue,
    value: &Value,
) -> Result<NodeRef, &'static str> {
    let key = std::str::from_utf8(&kv.key).map_err(|_| "its key is not UTF-8")?;
    let own = &value.source.namespace;
    let namespace = match keys.namespace_of(key) {
        _ if !own.is_empty() => Arc::clone(own),
        Some(segment) if *segment != **namespace => segment.into(),
        _ => Arc::clone(namespace),
    };
    let node = NodeRef::of(&value.source, Arc::clone(&value.node.id)).with_namespace(namespace);
    if !keys.is_of(key, &node.namespace, &node.service, &node.id) {
        return Err("it is at another key than its node has");
    }
    Ok(node)
}

/// Orders what has no time of its own.
pub(crate) fn revision(kv: &KeyValue) -> u64 {
    u64::try_from(kv.mod_revision).unwrap_or_default()
}

/// Tells values apart.
pub(crate) fn digest(value: &[u8]) -> u64 {
    foldhash::fast::FixedState::default().hash_one(value)
}
