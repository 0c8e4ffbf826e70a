use proptest::prelude::*;

use super::*;
use crate::{Action, Fold, Nodes, Services};

fn entry(version: &str, id: &str, port: u16, changed: u64) -> Entry<u64> {
    Entry {
        source: Arc::new(
            Service::new("s", version).with_metadata([("changed", changed.to_string())]),
        ),
        node: Arc::new(Node::new(id, format!("10.0.0.1:{port}"))),
        changed,
        tag: changed,
    }
}

fn put(view: &mut View<u64>, entry: Entry<u64>) {
    view.edit("vine", "s").put(entry);
}

async fn next(watcher: &mut Watcher) -> (Action, String, usize) {
    let event = watcher.next_event().await.unwrap();
    (
        event.action,
        event.service.version.to_string(),
        event.service.nodes.len(),
    )
}

#[tokio::test]
async fn a_node_that_moves_is_deleted_and_then_created() {
    let mut view = View::new("test");
    let mut watcher = view.watch(Topic::service("vine", "s"), 0);
    put(&mut view, entry("v1", "a", 1, 1));
    put(&mut view, entry("v2", "a", 1, 2));
    assert_eq!(next(&mut watcher).await, (Action::Create, "v1".into(), 1));
    assert_eq!(next(&mut watcher).await, (Action::Delete, "v1".into(), 1));
    assert_eq!(next(&mut watcher).await, (Action::Create, "v2".into(), 1));
    let services = view.reader().get("vine", "s");
    assert_eq!(services.len(), 1);
    assert_eq!(&*services[0].version, "v2");
}

#[tokio::test]
async fn the_fields_are_those_of_the_last_change_also_when_it_goes() {
    let mut view = View::new("test");
    put(&mut view, entry("v1", "a", 1, 1));
    let mut watcher = view.watch(Topic::default(), 0);
    put(&mut view, entry("v1", "b", 1, 3));
    put(&mut view, entry("v1", "c", 1, 2));
    let changed = |view: &View<u64>| {
        view.reader().get("vine", "s")[0]
            .metadata
            .get("changed")
            .map(str::to_owned)
    };
    assert_eq!(changed(&view).as_deref(), Some("3"));
    assert_eq!(view.edit("vine", "s").remove("b"), Some(3));
    assert_eq!(changed(&view).as_deref(), Some("2"));
    for expected in [
        (Action::Create, "v1".into(), 1),
        (Action::Create, "v1".into(), 1),
        (Action::Delete, "v1".into(), 1),
        (Action::Update, "v1".into(), 0),
    ] {
        assert_eq!(next(&mut watcher).await, expected);
    }
    let mut fold = Fold::new(&watcher.take_snapshot());
    assert_eq!(fold.services()[0].metadata.get("changed"), Some("1"));
    fold.apply(&crate::Event::new(
        Action::Update,
        view.reader().get("vine", "s")[0].with_only(Nodes::new()),
    ));
    assert_eq!(fold.services()[0].metadata.get("changed"), Some("2"));
}

#[tokio::test]
async fn an_edit_without_effect_is_no_event() {
    let mut view = View::new("test");
    put(&mut view, entry("v1", "a", 1, 1));
    let mut watcher = view.watch(Topic::default(), 0);
    put(&mut view, entry("v1", "a", 1, 1));
    let mut edit = view.edit("vine", "s");
    edit.put(entry("v1", "b", 1, 2));
    edit.remove("b");
    edit.commit();
    drop(view);
    assert!(watcher.next().await.is_none());
}

#[tokio::test]
async fn the_last_node_takes_the_service_away() {
    let mut view = View::new("test");
    put(&mut view, entry("v1", "a", 1, 1));
    let reader = view.reader();
    assert_eq!(reader.list(None).len(), 1);
    view.edit("vine", "s").remove("a");
    assert!(reader.list(None).is_empty());
    assert_eq!(reader.get("vine", "s"), Services::new());
}

#[tokio::test]
async fn topics_select_and_owners_end_their_watches() {
    let mut view = View::new("test");
    let all = view.watch(Topic::default(), 1);
    let mut watchers = [
        (view.watch(Topic::new(Some("vine".into()), None), 1), true),
        (view.watch(Topic::new(None, Some("s".into())), 1), true),
        (view.watch(Topic::new(None, Some("t".into())), 1), false),
        (view.watch(Topic::new(Some("other".into()), None), 1), false),
        (all, true),
    ];
    put(&mut view, entry("v1", "a", 1, 1));
    view.end_watches(1);
    for (watcher, hears) in &mut watchers {
        assert_eq!(watcher.next_event().await.is_some(), *hears);
        assert!(watcher.next().await.is_none());
    }
    assert_eq!(view.watchers(&Topic::default()), 1);
    drop(watchers);
    assert_eq!(view.watchers(&Topic::default()), 0);
}

#[tokio::test]
async fn a_watch_that_begins_in_an_outage_says_so() {
    let mut view = View::<()>::new("test");
    view.stale(Error::Closed);
    view.stale(Error::Closed);
    let mut watcher = view.watch(Topic::default(), 0);
    assert!(matches!(watcher.next().await, Some(Update::Stale(_))));
    view.live();
    assert!(matches!(watcher.next().await, Some(Update::Live)));
}

#[tokio::test]
async fn a_delete_says_whether_the_owner_asked_for_it() {
    let mut view = View::new("test");
    for id in ["a", "b", "c"] {
        put(&mut view, entry("v1", id, 1, 1));
    }
    let mut watcher = view.watch(Topic::default(), 0);
    let mut edit = view.edit("vine", "s");
    assert_eq!(edit.deregister("a"), Some(1));
    edit.remove("b");
    edit.deregister("c");
    edit.put(entry("v2", "c", 2, 2));
    edit.commit();
    let mut heard = Vec::new();
    for _ in 0..3 {
        let event = watcher.next_event().await.unwrap();
        let ids: Vec<_> = event
            .service
            .nodes
            .iter()
            .map(|n| n.id.to_string())
            .collect();
        heard.push((event.action, ids.len(), event.deregistered));
    }
    let expected = [
        (Action::Delete, 2, false),
        (Action::Delete, 1, true),
        (Action::Create, 1, false),
    ];
    assert_eq!(heard, expected, "c has moved, and is not gone");
}

#[tokio::test]
async fn what_the_dispatcher_had_no_time_for_comes_as_a_difference() {
    const CHANGES: u16 = 3_000;
    let mut view = View::new("test");
    let change = |view: &mut View<u64>, from: u16| {
        for number in from..from + CHANGES {
            let id = if number % 2 == 0 { "a" } else { "b" };
            put(view, entry("v1", id, number, number.into()));
        }
    };
    let mut first = view.watch(Topic::default(), 0);
    change(&mut view, 1);
    // Begins while changes wait that its snapshot has in it already.
    let mut second = view.watch(Topic::default(), 0);
    change(&mut view, 1 + CHANGES);
    let truth = view.reader().get("vine", "s");
    drop(view);
    for watcher in [&mut first, &mut second] {
        let mut fold = Fold::new(&watcher.take_snapshot());
        let mut count = 0;
        while let Some(event) = watcher.next_event().await {
            assert!(fold.apply(&event), "{event:?} changes nothing");
            count += 1;
        }
        assert_eq!(fold.services(), truth);
        assert!(count < CHANGES, "{count} events");
    }
}

proptest! {
    #[test]
    fn merging_at_once_gives_what_a_view_shows(
        nodes in proptest::collection::btree_map(0..9_u8, (0..3_u8, 0..4_u64), 0..9),
    ) {
        let entries: Vec<_> = nodes
            .into_iter()
            .map(|(id, (version, changed))| entry(&format!("v{version}"), &format!("n{id}"), 1, changed))
            .collect();
        let mut view = View::new("test");
        let mut edit = view.edit("vine", "s");
        entries.iter().for_each(|entry| edit.put(entry.clone()));
        edit.commit();
        let merged = merge(&"vine".into(), &"s".into(), &entries);
        prop_assert_eq!(merged, view.reader().get("vine", "s"));
    }
}
