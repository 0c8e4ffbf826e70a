use std::sync::Arc;

use vine_registry::{
    NodeRef,
    view::{Edit, Entry},
};

use super::{Driver, Holder};
use crate::engine::{Ending, NodeKey, Remote};

/// What the engine says of a node.
pub(super) struct News {
    node: NodeRef,
    what: What,
}

enum What {
    /// Somebody else's, as it is now.
    Seen(Remote),
    /// Somebody else's, gone.
    Gone(Ending),
    /// An own registration, ended without being asked to.
    Ended(NodeKey),
}

impl Driver {
    /// Changes the view, each run of one service in one go: a node that somebody else takes over
    /// changes and is never gone.
    pub(super) fn take_in(&mut self, news: Vec<News>) {
        let mut news = news.into_iter().peekable();
        while let Some(first) = news.next() {
            let NodeRef {
                namespace, service, ..
            } = first.node.clone();
            let mut edit = self.view.edit(&*namespace, &*service);
            first.apply(&mut edit);
            let same =
                |next: &News| next.node.service == service && next.node.namespace == namespace;
            while let Some(next) = news.next_if(same) {
                next.apply(&mut edit);
            }
            edit.commit();
        }
    }
}

impl News {
    pub(super) fn seen(remote: Remote) -> Self {
        Self {
            node: name(&remote),
            what: What::Seen(remote),
        }
    }

    pub(super) fn gone(remote: &Remote, ending: Ending) -> Self {
        Self {
            node: name(remote),
            what: What::Gone(ending),
        }
    }

    pub(super) fn ended(node: NodeRef, key: NodeKey) -> Self {
        Self {
            node,
            what: What::Ended(key),
        }
    }

    /// What is registered here now goes before what was said of others before.
    fn apply(self, edit: &mut Edit<'_, Holder>) {
        let held = edit.get(&self.node.id).map(|entry| *entry.tag);
        match (self.what, held) {
            (What::Seen(_), Some(Holder::Own(_))) => {}
            (What::Seen(remote), _) => edit.put(Entry {
                source: remote.service,
                node: remote.node,
                changed: remote.changed,
                tag: Holder::Other,
            }),
            (What::Gone(Ending::Lost), Some(Holder::Other)) => drop(edit.remove(&self.node.id)),
            (What::Gone(Ending::Said), Some(Holder::Other)) => {
                edit.deregister(&self.node.id);
            }
            (What::Ended(key), Some(Holder::Own(held))) if key == held => {
                edit.remove(&self.node.id);
            }
            (What::Gone(_) | What::Ended(_), _) => {}
        }
    }
}

fn name(remote: &Remote) -> NodeRef {
    NodeRef::of(&remote.service, Arc::clone(&remote.node.id))
}
