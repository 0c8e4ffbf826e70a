use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::Arc,
};

use tracing::warn;
use vine_registry::{
    NodeRef, Service,
    view::{Entry, View},
};

use crate::{
    TELEMETRY,
    keys::Keys,
    proto::{Event, KeyValue, event::EventType},
    value::{Form, Value},
};

/// The nodes that a range of keys holds, merged.
#[derive(Debug)]
pub(crate) struct Catalog {
    keys: Keys,
    /// That of values which name none.
    namespace: Arc<str>,
    pub(crate) view: View<()>,
    /// By keys of its own: those of an answer would keep all of it in memory.
    known: HashMap<Box<[u8]>, Known, foldhash::fast::RandomState>,
    /// What was decoded last: the nodes of a service say mostly the same of it.
    last: Option<Arc<Service>>,
    /// And how, while several are decoded.
    form: Option<Form>,
}

#[derive(Debug)]
struct Known {
    mod_revision: i64,
    digest: u64,
    /// None if the value is not one of a node at this key.
    node: Option<NodeRef>,
    deregistered: bool,
}

enum Change {
    Put(NodeRef, Entry<()>),
    Remove(NodeRef),
    Deregister(NodeRef),
}

impl Catalog {
    pub(crate) fn new(keys: Keys, namespace: Arc<str>) -> Self {
        Self {
            keys,
            namespace,
            view: View::new(crate::NAME),
            known: HashMap::default(),
            last: None,
            form: None,
        }
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes in what happened, in this order.
    pub(crate) fn apply(&mut self, events: Vec<Event>) {
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let is_delete = event.r#type() == EventType::Delete;
            let Some(kv) = event.kv else { continue };
            let known = self.known.get(&*kv.key);
            if known.is_some_and(|known| known.mod_revision >= kv.mod_revision) {
                continue;
            }
            if is_delete {
                self.forget(&kv.key, &mut changes);
            } else {
                self.learn(&kv, digest(&kv.value), &mut changes);
            }
        }
        self.form = None;
        self.commit(changes);
    }

    /// Takes in that these are all the keys now.
    pub(crate) fn replace(&mut self, kvs: &[KeyValue]) {
        let mut changes = Vec::new();
        let mut news = Vec::new();
        let mut left = self.known.len();
        for kv in kvs {
            let digest = digest(&kv.value);
            let known = self.known.get(&*kv.key);
            left = left.saturating_sub(usize::from(known.is_some()));
            if known
                .is_none_or(|known| (known.mod_revision, known.digest) != (kv.mod_revision, digest))
            {
                news.push((kv, digest));
            }
        }
        if left > 0 {
            let all: HashSet<&[u8], foldhash::fast::RandomState> =
                kvs.iter().map(|kv| &*kv.key).collect();
            let gone = self.known.keys().filter(|key| !all.contains(&***key));
            for key in gone.cloned().collect::<Vec<_>>() {
                self.forget(&key, &mut changes);
            }
        }
        self.known.reserve(news.len());
        changes.reserve(news.len());
        for (kv, digest) in news {
            self.learn(kv, digest, &mut changes);
        }
        self.form = None;
        self.commit(changes);
    }

    fn learn(&mut self, kv: &KeyValue, digest: u64, changes: &mut Vec<Change>) {
        let decoded = self.decode(kv);
        let known = Known {
            mod_revision: kv.mod_revision,
            digest,
            node: decoded.as_ref().map(|(node, ..)| node.clone()),
            deregistered: decoded.as_ref().is_some_and(|(.., gone)| *gone),
        };
        let before = match self.known.get_mut(&*kv.key) {
            Some(before) => std::mem::replace(before, known).node,
            None => {
                self.known.insert(Box::from(&*kv.key), known);
                None
            }
        };
        match decoded {
            Some((node, entry, _)) => {
                // In another namespace or under another name, with the same key.
                if let Some(before) = before.filter(|before| *before != node) {
                    changes.push(Change::Remove(before));
                }
                changes.push(Change::Put(node, entry));
            }
            None => changes.extend(before.map(Change::Remove)),
        }
    }

    fn forget(&mut self, key: &[u8], changes: &mut Vec<Change>) {
        let Some(known) = self.known.remove(key) else {
            return;
        };
        let change = match known.deregistered {
            true => Change::Deregister,
            false => Change::Remove,
        };
        changes.extend(known.node.map(change));
    }

    /// The node, what stands there of it, and whether it is deregistered.
    fn decode(&mut self, kv: &KeyValue) -> Option<(NodeRef, Entry<()>, bool)> {
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
        Some((node, entry, value.deregistered))
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

    /// Shows changes, those of one service at a time; of one node, one after the other.
    fn commit(&mut self, changes: Vec<Change>) {
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.next() {
            let NodeRef {
                namespace, service, ..
            } = first.node().clone();
            let mut edit = self.view.edit(Arc::clone(&namespace), Arc::clone(&service));
            let mut touched = HashSet::<_, foldhash::fast::RandomState>::default();
            let mut next = Some(first);
            while let Some(change) = next {
                touched.insert(Arc::clone(&change.node().id));
                match change {
                    Change::Put(_, entry) => edit.put(entry),
                    Change::Remove(node) => {
                        edit.remove(&node.id);
                    }
                    Change::Deregister(node) => {
                        edit.deregister(&node.id);
                    }
                }
                next = changes.next_if(|change| {
                    let node = change.node();
                    node.service == service
                        && node.namespace == namespace
                        && !touched.contains(&node.id)
                });
            }
            edit.commit();
        }
    }
}

impl Change {
    fn node(&self) -> &NodeRef {
        match self {
            Self::Put(node, _) | Self::Remove(node) | Self::Deregister(node) => node,
        }
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

fn digest(value: &[u8]) -> u64 {
    foldhash::fast::FixedState::default().hash_one(value)
}
