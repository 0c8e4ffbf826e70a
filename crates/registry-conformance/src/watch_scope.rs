//! What a watch does not tell, and how it ends.

use futures_util::future::join_all;
use vine_registry::RegistryExt;

use crate::{
    Handle,
    expect::{deregister, register, sees, soon},
    listener::Listener,
    samples::{NAME, named, service},
};

pub(crate) async fn of_one_service_it_tells_of_no_other(a: Handle<'_>, b: Handle<'_>) {
    register(a, named("go.vine.other", "v1", "n1")).await;
    sees(b, "go.vine.other", "v1: n1").await;
    let mut watch = Listener::new(b).await;
    assert!(
        watch.snapshot.is_empty(),
        "WatchOptions::service: the snapshot holds nothing else"
    );
    let lookalikes = [
        "go.vine.other",
        "go.vine.conformance.x",
        "go.vine.conformanc",
        "Go.Vine.Conformance",
    ];
    for other in lookalikes {
        register(a, named(other, "v1", "n2")).await;
        sees(
            b,
            other,
            if other == "go.vine.other" {
                "v1: n1 n2"
            } else {
                "v1: n2"
            },
        )
        .await;
    }
    deregister(a, &named("go.vine.other", "v1", "n1")).await;
    register(a, service("v1", "n1")).await;
    let event = watch.event().await;
    assert_eq!(
        &*event.service.name, NAME,
        "WatchOptions::service: events of no other; {event:?}"
    );
}

pub(crate) async fn of_all_it_tells_of_each(a: Handle<'_>, b: Handle<'_>) {
    register(a, named("go.vine.one", "v1", "n1")).await;
    sees(b, "go.vine.one", "v1: n1").await;
    let mut watch = Listener::all(b).await;
    let snapshot: Vec<_> = watch
        .snapshot
        .iter()
        .map(|service| &*service.name)
        .collect();
    assert_eq!(snapshot, ["go.vine.one"], "a watch of all begins with all");
    for name in ["go.vine.two", "go.vine.three"] {
        register(a, named(name, "v1", "n1")).await;
        let event = watch.event().await;
        assert_eq!(
            &*event.service.name, name,
            "a watch of all hears of new services; {event:?}"
        );
    }
    deregister(a, &named("go.vine.one", "v1", "n1")).await;
    let event = watch.event().await;
    assert_eq!(
        &*event.service.name, "go.vine.one",
        "and of those that end; {event:?}"
    );
}

pub(crate) async fn each_watch_hears_everything(a: Handle<'_>, b: Handle<'_>) {
    let mut watches: Vec<Listener> = Vec::new();
    for i in 0..10 {
        watches.push(Listener::new([a, b][i % 2]).await);
    }
    register(a, service("v1", "n1")).await;
    join_all(
        watches
            .iter_mut()
            .map(|watch| watch.hears(&["create v1: n1"])),
    )
    .await;
    deregister(a, &service("v1", "n1")).await;
    join_all(
        watches
            .iter_mut()
            .map(|watch| watch.hears(&["delete v1: n1"])),
    )
    .await;
}

pub(crate) async fn stopping_ends_it(a: Handle<'_>, b: Handle<'_>) {
    let mut stopped = Listener::new(b).await;
    let mut waiting = Listener::new(b).await;
    let mut other = Listener::new(b).await;
    let stopper = stopped.watcher.stopper();
    register(a, service("v1", "n1")).await;
    other.hears(&["create v1: n1"]).await;
    stopper.stop();
    stopper.clone().stop();
    assert!(
        stopped.watcher.next().await.is_none(),
        "Stopper::stop: its owner hears nothing more, not even what was waiting"
    );
    waiting.hears(&["create v1: n1"]).await;
    let stopper = waiting.watcher.stopper();
    tokio::join!(waiting.ends(), async { stopper.stop() });
    deregister(a, &service("v1", "n1")).await;
    other.hears(&["delete v1: n1"]).await;
}

pub(crate) async fn dropping_one_leaves_the_others(a: Handle<'_>, b: Handle<'_>) {
    let mut kept = Listener::new(b).await;
    for round in 0..20 {
        drop(b.watch_service(NAME).await.expect("watch succeeds"));
        let id = format!("n{round}");
        register(a, service("v1", &id)).await;
        let created = format!("create v1: {id}");
        kept.hears(&[&created]).await;
    }
    let mut late = Listener::new(b).await;
    assert_eq!(
        late.snapshot.node_count(),
        20,
        "a watch begun after others were dropped"
    );
    deregister(a, &service("v1", "n0")).await;
    for watch in [&mut kept, &mut late] {
        watch.hears(&["delete v1: n0"]).await;
    }
}

pub(crate) async fn a_dropped_next_loses_nothing(a: Handle<'_>, b: Handle<'_>) {
    let mut watch = Listener::new(b).await;
    for round in 0..10 {
        for _ in 0..3 {
            let next = watch.watcher.next_event();
            assert!(
                futures_util::poll!(std::pin::pin!(next)).is_pending(),
                "nothing has changed"
            );
        }
        let id = format!("n{round}");
        register(a, service("v1", &id)).await;
        let created = format!("create v1: {id}");
        watch.hears(&[&created]).await;
    }
}

pub(crate) async fn it_wakes_who_waits(a: Handle<'_>, b: Handle<'_>) {
    let mut watch = Listener::new(b).await;
    let (event, ()) = tokio::join!(
        soon("the awaited event", watch.watcher.next_event()),
        async {
            tokio::task::yield_now().await;
            register(a, service("v1", "n1")).await;
        }
    );
    assert!(
        event.is_some(),
        "Watcher::next gives the event that it waited for"
    );
}
