use std::sync::Arc;

use smallvec::SmallVec;

use super::{reader::Key, slot::Slot};
use crate::{
    Action, Event, Node, Nodes, Services,
    watch::{Change, Step as Pending},
};

/// What an edit did, as its maker hands it on: no more than pointers to what there is anyway. What
/// to tell of it is worked out by whoever tells it.
pub(super) struct Edited {
    pub(super) slot: Arc<Slot>,
    pub(super) before: Services,
    pub(super) after: Services,
    pub(super) steps: Steps,
}

pub(super) type Steps = SmallVec<[Step; 1]>;

/// What was done to a node. There may be several steps for one.
pub(super) struct Step {
    before: Option<Placed>,
    after: Option<Placed>,
    /// Taken out because its owner said so.
    deregistered: bool,
}

/// A node, and the version that it is in.
pub(super) struct Placed {
    pub(super) version: Arc<str>,
    pub(super) node: Arc<Node>,
}

/// What happens to one version.
struct Delta {
    version: Arc<str>,
    deleted: List,
    /// Deleted, too, by their owners.
    deregistered: List,
    updated: List,
    created: List,
}

type List = SmallVec<[Arc<Node>; 1]>;

impl Step {
    pub(super) const fn put(before: Option<Placed>, after: Placed) -> Self {
        Self {
            before,
            after: Some(after),
            deregistered: false,
        }
    }

    pub(super) const fn take_out(before: Placed, deregistered: bool) -> Self {
        Self {
            before: Some(before),
            after: None,
            deregistered,
        }
    }

    fn id(&self) -> Option<&str> {
        let placed = self.before.as_ref().or(self.after.as_ref())?;
        Some(&placed.node.id)
    }
}

impl Edited {
    pub(super) fn into_change(self) -> Change {
        let Self {
            slot,
            before,
            after,
            steps,
        } = self;
        let Key { namespace, name } = slot.key.clone();
        Change {
            namespace,
            name,
            events: events(&deltas(steps), &before, &after),
            before,
            after,
        }
    }
}

impl<I: From<Self>> Pending<I> for Edited {
    fn service(&self) -> (&Arc<str>, &Arc<str>) {
        (&self.slot.key.namespace, &self.slot.key.name)
    }

    fn states(&self) -> (&Services, &Services) {
        (&self.before, &self.after)
    }

    fn into_item(self) -> I {
        self.into()
    }
}

/// What became of the nodes.
fn deltas(mut steps: Steps) -> SmallVec<[Delta; 1]> {
    if steps.len() > 1 {
        steps.sort_by(|a, b| a.id().cmp(&b.id()));
        steps.dedup_by(|later, first| {
            let same = later.id() == first.id();
            if same {
                first.after = later.after.take();
                first.deregistered = later.deregistered;
            }
            same
        });
    }
    let mut deltas = SmallVec::new();
    for step in steps {
        note(&mut deltas, step);
    }
    deltas.sort_unstable_by(|a: &Delta, b| a.version.cmp(&b.version));
    deltas
}

/// Enters the change of one node where it belongs.
fn note(deltas: &mut SmallVec<[Delta; 1]>, step: Step) {
    match (step.before, step.after) {
        (Some(old), Some(new)) if old.version == new.version => {
            let delta = delta(deltas, new.version);
            if !Arc::ptr_eq(&old.node, &new.node) && old.node != new.node {
                delta.updated.push(new.node);
            }
        }
        (old, new) => {
            if let Some(old) = old {
                let delta = delta(deltas, old.version);
                if step.deregistered {
                    delta.deregistered.push(old.node);
                } else {
                    delta.deleted.push(old.node);
                }
            }
            if let Some(new) = new {
                delta(deltas, new.version).created.push(new.node);
            }
        }
    }
}

fn delta(deltas: &mut SmallVec<[Delta; 1]>, version: Arc<str>) -> &mut Delta {
    let at = deltas
        .iter()
        .position(|delta| delta.version == version)
        .unwrap_or_else(|| {
            deltas.push(Delta {
                version,
                deleted: List::new(),
                deregistered: List::new(),
                updated: List::new(),
                created: List::new(),
            });
            deltas.len() - 1
        });
    &mut deltas[at]
}

/// What is gone first, so that a node that moves is deleted before it is created.
fn events(deltas: &[Delta], before: &Services, after: &Services) -> SmallVec<[Event; 1]> {
    let mut events = SmallVec::new();
    for delta in deltas {
        let Some(old) = before.version(&delta.version) else {
            continue;
        };
        for (list, deregistered) in [(&delta.deleted, false), (&delta.deregistered, true)] {
            if !list.is_empty() {
                let mut event = Event::new(Action::Delete, old.with_only(nodes(list)));
                event.deregistered = deregistered;
                events.push(event);
            }
        }
    }
    for delta in deltas {
        let Some(new) = after.version(&delta.version) else {
            continue;
        };
        let fields_changed = before
            .version(&delta.version)
            .is_some_and(|old| !old.same_fields(new));
        if !delta.updated.is_empty() || fields_changed && delta.created.is_empty() {
            events.push(Event::new(
                Action::Update,
                new.with_only(nodes(&delta.updated)),
            ));
        }
        if !delta.created.is_empty() {
            events.push(Event::new(
                Action::Create,
                new.with_only(nodes(&delta.created)),
            ));
        }
    }
    events
}

fn nodes(list: &List) -> Nodes {
    list.iter().cloned().collect()
}
