//! What a watch tells: a snapshot, then each change with the right action.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vine_registry::{Action, Endpoint, RegistryExt};

use crate::{
    Handle,
    expect::{deregister, holds, own, register, sees, shape, tick},
    listener::{Listener, describe},
    samples::{NAME, branded, marked, node, service},
};

pub(crate) async fn it_begins_with_what_there_is(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1 n2", "fields")).await;
    register(b, service("v2", "n3")).await;
    for registry in [a, b] {
        let found = sees(registry, NAME, "v1: n1 n2; v2: n3").await;
        holds(registry, &branded("v1", "n1 n2", "fields")).await;
        for mut watch in [Listener::new(registry).await, Listener::all(registry).await] {
            assert_eq!(
                watch.snapshot, found,
                "Watcher::take_snapshot: what get_service gives"
            );
            assert!(
                watch.watcher.take_snapshot().is_empty(),
                "taking the snapshot frees it"
            );
        }
    }
}

pub(crate) async fn of_nothing_it_begins_empty(a: Handle<'_>, b: Handle<'_>) {
    let mut watches = [
        Listener::new(b).await,
        Listener::all(b).await,
        Listener::new(a).await,
    ];
    for watch in &watches {
        assert_eq!(
            shape(&watch.snapshot),
            "",
            "a watch of what is not there begins empty"
        );
    }
    register(a, service("v1", "n1")).await;
    for watch in &mut watches {
        watch.hears(&["create v1: n1"]).await;
    }
}

pub(crate) async fn each_change_has_its_action(a: Handle<'_>, b: Handle<'_>) {
    for watching in [a, b] {
        let mut watch = Listener::new(watching).await;
        register(a, service("v1", "n1")).await;
        watch.hears(&["create v1: n1"]).await;
        register(a, service("v1", "").with_node(marked("n1", "changed"))).await;
        watch.hears(&["update v1: n1"]).await;
        register(a, service("v1", "n2")).await;
        watch.hears(&["create v1: n2"]).await;
        deregister(a, &service("v1", "n1")).await;
        watch.hears(&["delete v1: n1"]).await;
        deregister(a, &service("v1", "")).await;
        watch.hears(&["delete v1: n2"]).await;
    }
}

pub(crate) async fn an_event_holds_what_has_become(a: Handle<'_>, b: Handle<'_>) {
    let mut watch = Listener::new(b).await;
    let first = branded("v1", "n1", "first").with_endpoint(Endpoint::new("Test.Call"));
    register(a, first.clone()).await;
    let expected = first.with_namespace(own(b));
    let event = watch.event().await;
    assert_eq!(event.action, Action::Create);
    assert_eq!(
        *event.service, expected,
        "Event::service: fields and node as registered"
    );

    tick().await;
    let second = branded("v1", "", "second").with_node(marked("n1", "changed"));
    register(a, second.clone()).await;
    let event = watch.event().await;
    assert_eq!(event.action, Action::Update);
    let expected = second.with_namespace(own(b));
    assert_eq!(
        *event.service, expected,
        "Event::service: fields and node after the change"
    );

    deregister(a, &service("v1", "n1")).await;
    let event = watch.event().await;
    assert_eq!(describe(&event), "delete v1: n1");
    assert_eq!(
        event.service.namespace,
        own(b),
        "Event::service: its namespace"
    );
    assert_eq!(&*event.service.name, NAME, "Event::service: its name");
}

pub(crate) async fn an_event_holds_just_the_nodes_concerned(a: Handle<'_>, b: Handle<'_>) {
    let all = service("v1", "n1 n2 n3 n4 n5");
    let mut watch = Listener::new(b).await;
    register(a, all.clone()).await;
    let created = gather(&mut watch, Action::Create, 5).await;
    assert_eq!(
        created,
        ["n1", "n2", "n3", "n4", "n5"],
        "each node is created once"
    );

    let changed = all
        .with_node(marked("n2", "changed"))
        .with_node(marked("n4", "changed"));
    register(a, changed).await;
    let updated = gather(&mut watch, Action::Update, 2).await;
    assert_eq!(
        updated,
        ["n2", "n4"],
        "just the nodes that changed are updated"
    );

    deregister(a, &service("v1", "n1 n5")).await;
    let deleted = gather(&mut watch, Action::Delete, 2).await;
    assert_eq!(
        deleted,
        ["n1", "n5"],
        "just the nodes that went are deleted"
    );
    watch.agrees(b, NAME).await;
}

/// The ids of so many nodes, all with this action: they may come in one event or in several.
async fn gather(watch: &mut Listener, action: Action, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let event = watch.event().await;
        assert_eq!(event.action, action, "{event:?}");
        ids.extend(event.service.nodes.iter().map(|node| node.id.to_string()));
    }
    ids.sort_unstable();
    ids
}

pub(crate) async fn a_move_is_a_delete_and_a_create(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    sees(b, NAME, "v1: n1").await;
    let mut watch = Listener::new(b).await;
    register(a, service("v2", "n1")).await;
    watch.hears(&["delete v1: n1", "create v2: n1"]).await;
    register(a, service("v1", "n1")).await;
    watch.hears(&["delete v2: n1", "create v1: n1"]).await;
}

pub(crate) async fn a_change_of_service_fields_is_an_update_without_nodes(
    a: Handle<'_>,
    b: Handle<'_>,
) {
    register(a, branded("v1", "n1 n2", "first")).await;
    sees(b, NAME, "v1: n1 n2").await;
    let mut watch = Listener::new(b).await;
    tick().await;
    register(a, branded("v1", "n1", "second")).await;
    let event = watch.event().await;
    assert_eq!(
        describe(&event),
        "update v1:",
        "a change of only service fields names no node"
    );
    assert_eq!(
        event.service.metadata.get("mark"),
        Some("second"),
        "{event:?}"
    );
    watch.agrees(b, NAME).await;
}

pub(crate) async fn what_changes_nothing_is_no_event(a: Handle<'_>, b: Handle<'_>) {
    let registered = branded("v1", "n1", "same");
    register(a, registered.clone()).await;
    sees(b, NAME, "v1: n1").await;
    let mut watch = Listener::new(b).await;
    for _ in 0..3 {
        register(a, registered.clone()).await;
    }
    deregister(a, &service("v1", "unknown")).await;
    deregister(a, &service("v7", "")).await;
    tick().await;
    register(
        a,
        branded("v1", "", "same").with_node(marked("n1", "marker")),
    )
    .await;
    watch.hears(&["update v1: n1"]).await;
}

pub(crate) async fn an_event_tells_when_it_was_observed(a: Handle<'_>, b: Handle<'_>) {
    let mut watch = Listener::new(b).await;
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
    };
    let before = now().as_secs() as i64;
    register(a, service("v1", "n1")).await;
    let event = watch.event().await;
    let after = now().as_secs() as i64;
    assert!(
        (before - 1..=after + 1).contains(&event.timestamp),
        "Event::timestamp: Unix seconds by the observer's clock; {} is not from {before} to {after}",
        event.timestamp
    );
}

pub(crate) async fn a_replaced_node_is_an_update(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "").with_node(marked("n1", "a"))).await;
    sees(b, NAME, "v1: n1").await;
    let mut watches = [Listener::new(a).await, Listener::new(b).await];
    tick().await;
    register(b, service("v1", "").with_node(marked("n1", "b"))).await;
    for watch in &mut watches {
        let event = watch.event().await;
        assert_eq!(
            describe(&event),
            "update v1: n1",
            "a node that another holder replaced"
        );
        let its = event
            .service
            .nodes
            .get("n1")
            .and_then(|node| node.metadata.get("mark"));
        assert_eq!(its, Some("b"), "{event:?}");
    }
}

pub(crate) async fn it_is_a_stream_as_well(a: Handle<'_>, b: Handle<'_>) {
    use futures_util::StreamExt;
    let mut watch = b.watch_service(NAME).await.expect("watch succeeds");
    register(a, service("v1", "").with_node(node("n1"))).await;
    let update = crate::expect::soon("a watch as a stream", StreamExt::next(&mut watch)).await;
    let Some(vine_registry::Update::Event(event)) = update else {
        panic!("Watcher is a stream of its updates; got {update:?}");
    };
    assert_eq!(describe(&event), "create v1: n1");
}
