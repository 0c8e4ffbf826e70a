use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use vine_registry::{
    NodeRef,
    view::{Entry, View},
};

use crate::{
    decoder::{Decoded, Decoder, digest},
    keys::Keys,
    proto::{Event, KeyValue, event::EventType},
};

/// The nodes that a range of keys holds, merged.
#[derive(Debug)]
pub(crate) struct Catalog {
    decoder: Decoder,
    pub(crate) view: View<()>,
    /// By keys of its own: those of an answer would keep all of it in memory.
    known: HashMap<Box<[u8]>, Known, foldhash::fast::RandomState>,
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
            decoder: Decoder::new(keys, namespace),
            view: View::new(crate::NAME),
            known: HashMap::default(),
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
        self.decoder.rest();
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
        self.decoder.rest();
        self.commit(changes);
    }

    fn learn(&mut self, kv: &KeyValue, digest: u64, changes: &mut Vec<Change>) {
        let decoded = self.decoder.decode(kv);
        let known = Known {
            mod_revision: kv.mod_revision,
            digest,
            node: decoded.as_ref().map(|decoded| decoded.node.clone()),
            deregistered: decoded.as_ref().is_some_and(|decoded| decoded.deregistered),
        };
        let before = match self.known.get_mut(&*kv.key) {
            Some(before) => std::mem::replace(before, known).node,
            None => {
                self.known.insert(Box::from(&*kv.key), known);
                None
            }
        };
        match decoded {
            Some(Decoded { node, entry, .. }) => {
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
