use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::{Action, Node, Service};

fn service(id: usize, port: usize) -> Service {
    Service::new("go.vine.test", "v1")
        .with_node(Node::new(format!("n{id}"), format!("127.0.0.1:{port}")))
}

#[tokio::test]
async fn a_slow_reader_gets_the_difference_and_nothing_twice() {
    let (mut publisher, mut watcher) = Watcher::channel(Services::new());
    let mut truth = Fold::default();
    for round in 1..=10 {
        for id in 0..500 {
            let event = Event::new(
                if round == 1 {
                    Action::Create
                } else {
                    Action::Update
                },
                service(id, round),
            );
            truth.apply(&event);
            publisher.publish(&event);
        }
    }
    for id in 0..100 {
        let event = Event::new(Action::Delete, service(id, 10));
        truth.apply(&event);
        publisher.publish(&event);
    }
    drop(publisher);
    let mut seen = Fold::new(&watcher.take_snapshot());
    let mut count = 0;
    while let Some(update) = watcher.next().await {
        let Update::Event(event) = update else {
            panic!("{update:?}")
        };
        assert!(seen.apply(&event), "{event:?} changes nothing");
        count += 1;
    }
    assert_eq!(seen.services(), truth.services());
    assert!(count < 1100, "{count} events");
}

#[tokio::test]
async fn a_resync_comes_as_events() {
    let first: Services = [
        service(1, 1),
        Service::new("gone", "v1").with_node(Node::new("g", "a:1")),
    ]
    .into_iter()
    .collect();
    let (mut publisher, mut watcher) = Watcher::channel(first.clone());
    let second: Services = [
        service(1, 2).with_node(Node::new("n2", "a:2")),
        Service::new("new", "v1").with_node(Node::new("n", "a:1")),
    ]
    .into_iter()
    .collect();
    publisher.resync(&second);
    publisher.resync(&second);
    drop(publisher);
    let mut fold = Fold::new(&first);
    let mut actions = Vec::new();
    while let Some(event) = watcher.next_event().await {
        fold.apply(&event);
        actions.push((event.service.name.to_string(), event.action));
    }
    assert_eq!(fold.services(), second);
    let expected = [
        ("gone", Action::Delete),
        ("go.vine.test", Action::Update),
        ("go.vine.test", Action::Create),
        ("new", Action::Create),
    ];
    assert_eq!(
        actions,
        expected.map(|(name, action)| (name.to_owned(), action))
    );
}

#[tokio::test]
async fn a_move_is_deleted_before_it_is_created() {
    let before: Services = [service(1, 1)].into_iter().collect();
    let (mut publisher, mut watcher) = Watcher::channel(before);
    let moved = Service::new("go.vine.test", "v0").with_node(Node::new("n1", "127.0.0.1:1"));
    publisher.resync(&[moved].into_iter().collect());
    let actions = [watcher.next_event().await, watcher.next_event().await].map(|event| {
        let event = event.unwrap();
        (event.action, event.service.version.to_string())
    });
    assert_eq!(
        actions,
        [
            (Action::Delete, "v1".to_owned()),
            (Action::Create, "v0".to_owned())
        ]
    );
}

#[tokio::test]
async fn stale_and_live_in_order_and_not_piled_up() {
    let (mut publisher, mut watcher) = Watcher::channel(Services::new());
    publisher.live();
    publisher.stale(Error::Closed);
    publisher.stale(Error::Closed);
    assert!(matches!(watcher.next().await, Some(Update::Stale(_))));
    publisher.publish(&Event::new(Action::Create, service(1, 1)));
    publisher.live();
    assert!(matches!(watcher.next().await, Some(Update::Event(_))));
    assert!(matches!(watcher.next().await, Some(Update::Live)));
    for _ in 0..10_000 {
        publisher.stale(Error::Closed);
        publisher.live();
    }
    drop(publisher);
    assert!(watcher.next().await.is_none());
}

#[tokio::test]
async fn a_stopped_watch_ends_and_its_publisher_hears_of_it() {
    let (mut publisher, mut watcher) = Watcher::channel(Services::new());
    publisher.publish(&Event::new(Action::Create, service(1, 1)));
    watcher.stopper().stop();
    assert!(watcher.next().await.is_none());
    publisher.stopped().await;
    assert!(publisher.is_stopped());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_in_the_task_that_asked_last() {
    let (mut publisher, mut watcher) = Watcher::channel(Services::new());
    let waits = |watcher: &mut Watcher| watcher.next_event().now_or_never().is_none();
    publisher.publish(&Event::new(Action::Create, service(0, 1)));
    assert!(watcher.next_event().await.is_some());
    assert!(waits(&mut watcher), "here");
    let elsewhere = tokio::spawn(async move {
        let event = watcher.next_event().await;
        (watcher, event)
    });
    tokio::task::yield_now().await;
    publisher.publish(&Event::new(Action::Create, service(1, 1)));
    let moved = tokio::time::timeout(Duration::from_secs(1), elsewhere);
    let (mut watcher, event) = moved.await.expect("woken").unwrap();
    assert!(event.is_some());
    publisher.publish(&Event::new(Action::Create, service(2, 1)));
    assert!(watcher.next_event().await.is_some(), "and here again");
    let stopper = watcher.stopper();
    let reader = tokio::spawn(async move { watcher.next().await });
    tokio::task::yield_now().await;
    stopper.stop();
    let end = tokio::time::timeout(Duration::from_secs(1), reader).await;
    assert!(end.expect("woken").unwrap().is_none());
}
