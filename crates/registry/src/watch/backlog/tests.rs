use std::collections::HashSet;

use super::*;
use crate::{
    Action, Error, Event, Fold, Node, Service, Update,
    watch::{Change, News},
};

/// What a name was, and what it is now; `port` 0 stands for nothing.
fn change(name: &str, before: &Services, port: u16) -> Arc<Change> {
    let service = Service::new(name, "v1").with_node(Node::new("n", format!("127.0.0.1:{port}")));
    let after: Services = (port > 0).then(|| service.clone()).into_iter().collect();
    let (action, told) = if after.is_empty() {
        (Action::Delete, Service::clone(&before[0]))
    } else if before.is_empty() {
        (Action::Create, service)
    } else {
        (Action::Update, service)
    };
    Arc::new(Change {
        namespace: Arc::clone(&told.namespace),
        name: name.into(),
        before: before.clone(),
        after,
        events: [Event::new(action, told)].into(),
    })
}

fn is_there(name: &str) -> Services {
    change(name, &Services::new(), 1).after.clone()
}

/// A backlog without room for more, with the fold of what is in it.
fn full() -> (Backlog<News>, Fold) {
    let mut backlog = Backlog::new();
    let mut truth = Fold::default();
    for id in 0..CAPACITY {
        let change = change(&format!("early{id}"), &Services::new(), 1);
        change
            .events
            .iter()
            .for_each(|event| assert!(truth.apply(event)));
        assert!(!backlog.push_change(&change));
    }
    (backlog, truth)
}

fn in_gap(backlog: &Backlog<News>) -> usize {
    let sizes = backlog.slots.iter().map(|slot| match slot {
        Slot::Gap(gap) => gap.len(),
        Slot::Closed(rest) => rest.len(),
        _ => 0,
    });
    sizes.sum()
}

fn events(backlog: &mut Backlog<News>) -> Vec<Event> {
    let items = std::iter::from_fn(|| backlog.pop()).filter_map(Next::into_item);
    let events = items.flat_map(|news| match news {
        News::Event(event) => vec![event],
        News::Change(change) => change.events.to_vec(),
        News::Other(other) => panic!("{other:?}"),
    });
    events.collect()
}

#[test]
fn names_that_come_and_go_unread_do_not_pile_up() {
    let (mut backlog, truth) = full();
    let mut most = 0;
    for id in 0..100_000 {
        let name = format!("s{id}");
        let created = change(&name, &Services::new(), 1);
        assert!(backlog.push_change(&created));
        most = most.max(in_gap(&backlog));
        assert!(backlog.push_change(&change(&name, &created.after, 0)));
    }
    assert_eq!((most, in_gap(&backlog)), (1, 0));
    let mut told = Fold::default();
    for event in events(&mut backlog) {
        assert!(told.apply(&event), "{event:?}");
    }
    assert_eq!(told.services(), truth.services());
    assert!(backlog.is_empty());
}

#[test]
fn what_is_again_the_very_same_is_no_news() {
    let (mut backlog, _) = full();
    let there = is_there("s");
    let updated = change("s", &there, 2);
    backlog.push_change(&updated);
    let mut back = Arc::into_inner(change("s", &updated.after, 1)).unwrap();
    back.after = there;
    backlog.push_change(&Arc::new(back));
    assert_eq!(in_gap(&backlog), 0);
    assert_eq!(events(&mut backlog).len(), CAPACITY);
}

#[test]
fn a_large_gap_is_walked_through_once_and_in_order() {
    const SERVICES: usize = 100_000;
    let (mut backlog, mut truth) = full();
    let mut note = |change: &Change| change.events.iter().all(|event| truth.apply(event));
    for id in 0..SERVICES {
        let name = format!("s{id}");
        let created = change(&name, &Services::new(), 1);
        let updated = change(&name, &created.after, 2);
        assert!(note(&created) && note(&updated));
        backlog.push_change(&created);
        backlog.push_change(&updated);
    }
    let mut told = Fold::default();
    for _ in 0..CAPACITY {
        let Some(Next::Item(News::Event(event))) = backlog.pop() else {
            panic!("what came early comes first");
        };
        assert!(told.apply(&event));
    }
    let Some(first @ Next::Difference(_)) = backlog.pop() else {
        panic!("the gap is next");
    };
    let Some(News::Event(first)) = first.into_item() else {
        panic!("a service was created");
    };
    assert!(told.apply(&first));
    // An iterator can't begin again: each step goes on from the last, in a table that stays.
    assert!(
        matches!(backlog.slots.front(), Some(Slot::Closed(rest)) if rest.len() == SERVICES - 1)
    );

    // What happens now follows the gap, also to services that are still to be told of.
    for name in ["s0", "s1", "s2"] {
        let change = change(name, &truth.service("", name), 0);
        assert!(!backlog.push_change(&change), "{name} is not late");
        assert!(change.events.iter().all(|event| truth.apply(event)));
    }
    let rest = events(&mut backlog);
    assert_eq!(rest.len(), SERVICES - 1 + 3);
    let (gap, after) = rest.split_at(SERVICES - 1);
    let mut names: HashSet<_> = gap.iter().map(|event| &event.service.name).collect();
    names.insert(&first.service.name);
    assert_eq!(names.len(), SERVICES, "each once");
    assert!(gap.iter().all(|event| event.action == Action::Create));
    assert!(after.iter().all(|event| event.action == Action::Delete));
    assert!(rest.iter().all(|event| told.apply(event)));
    assert_eq!(told.services(), truth.services());
    assert!(backlog.is_empty());
}

#[test]
fn outages_before_a_reader_who_does_not_read_do_not_pile_up() {
    let status = |status: Update| News::Other(Box::new(status));
    let is_live =
        |news: &News| matches!(news, News::Other(update) if matches!(**update, Update::Live));
    let is_stale =
        |news: &News| matches!(news, News::Other(update) if matches!(**update, Update::Stale(_)));
    let (mut backlog, mut truth) = full();
    let mut last = Services::new();
    let mut publish = |backlog: &mut Backlog<News>, port| {
        let change = change("s", &last, port);
        last = change.after.clone();
        assert!(change.events.iter().all(|event| truth.apply(event)));
        assert!(backlog.push_change(&change));
    };
    for port in 1..=10_000 {
        if !backlog.cancel(is_live) {
            backlog.push_control(status(Update::Stale(Error::Closed)));
        }
        publish(&mut backlog, 2 * port);
        if !backlog.cancel(is_stale) {
            backlog.push_control(status(Update::Live));
        }
        publish(&mut backlog, 2 * port + 1);
    }
    assert!(backlog.len() <= CAPACITY + 3, "{}", backlog.len());
    let mut told = Fold::default();
    for event in events(&mut backlog) {
        assert!(told.apply(&event), "{event:?}");
    }
    assert_eq!(told.services(), truth.services());
}
