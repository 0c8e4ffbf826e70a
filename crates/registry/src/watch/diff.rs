use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Action, Event, Nodes, Service, Services};

/// The events that lead from one state of a service to another: what is gone first, so that a node
/// that moves to another version is deleted in the old one before it is created in the new one.
pub(super) fn diff(before: &Services, after: &Services) -> SmallVec<[Event; 1]> {
    let mut events = SmallVec::new();
    if before.ptr_eq(after) {
        return events;
    }
    for old in before {
        let new = after.version(&old.version);
        let gone = nodes(old, |node| {
            new.is_none_or(|new| new.nodes.get(&node.id).is_none())
        });
        if !gone.is_empty() {
            events.push(Event::new(Action::Delete, old.with_only(gone)));
        }
    }
    for new in after {
        let old = before.version(&new.version);
        if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
            continue;
        }
        let known = |id: &str| old.and_then(|old| old.nodes.get(id));
        let created = nodes(new, |node| known(&node.id).is_none());
        let updated = nodes(new, |node| known(&node.id).is_some_and(|old| old != node));
        let fields_changed = old.is_some_and(|old| !old.same_fields(new));
        if !updated.is_empty() || fields_changed && created.is_empty() {
            events.push(Event::new(Action::Update, new.with_only(updated)));
        }
        if !created.is_empty() {
            events.push(Event::new(Action::Create, new.with_only(created)));
        }
    }
    events
}

fn nodes(service: &Service, wanted: impl Fn(&Arc<crate::Node>) -> bool) -> Nodes {
    service
        .nodes
        .iter()
        .filter(|node| wanted(node))
        .cloned()
        .collect()
}
