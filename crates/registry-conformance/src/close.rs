//! Closing a handle: what was its own ends, and only that.

use vine_registry::{DeregisterOptions, Error, NodeRef, Registry, RegistryExt, Result};

use crate::{
    Handle,
    expect::{WHILE, both, deregister, register, sees, soon, stays},
    listener::Listener,
    samples::{NAME, named, service},
};

async fn close(registry: Handle<'_>) {
    soon("close", Registry::close(registry))
        .await
        .expect("Registry::close succeeds");
}

pub(crate) async fn every_later_call_gives_closed(a: Handle<'_>, b: Handle<'_>) {
    register(b, service("v1", "n2")).await;
    both(a, b, "v1: n2").await;
    close(a).await;
    let force = DeregisterOptions::new().with_force(true);
    let answers: [(&str, Result<()>); 9] = [
        ("init", a.init().await),
        ("register", a.register(service("v1", "n1")).await),
        ("deregister", a.deregister(&service("v1", "n1")).await),
        (
            "deregister with force",
            a.deregister_with(&service("v1", "n2"), &force).await,
        ),
        ("get_service", a.get_service(NAME).await.map(drop)),
        (
            "get_service of what is not there",
            a.get_service("go.vine.none").await.map(drop),
        ),
        ("list_services", a.list_services().await.map(drop)),
        ("watch", a.watch_service(NAME).await.map(drop)),
        (
            "report_unreachable",
            a.report_unreachable(&NodeRef::new(NAME, "n2")).await,
        ),
    ];
    for (call, answer) in answers {
        assert!(
            matches!(answer, Err(Error::Closed)),
            "Registry::close: every later call gives Closed; {call} gives {answer:?}"
        );
    }
    stays(b, "v1: n2", WHILE).await;
}

pub(crate) async fn closing_again_is_fine(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    close(a).await;
    close(a).await;
    sees(b, NAME, "").await;
    close(a).await;
}

pub(crate) async fn what_it_registered_ends(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    register(a, service("v2", "n3")).await;
    register(a, named("go.vine.other", "v1", "n1")).await;
    register(b, service("v1", "n4")).await;
    both(a, b, "v1: n1 n2 n4; v2: n3").await;
    sees(b, "go.vine.other", "v1: n1").await;
    close(a).await;
    sees(b, NAME, "v1: n4").await;
    sees(b, "go.vine.other", "").await;
    stays(b, "v1: n4", WHILE).await;
}

pub(crate) async fn its_watches_end(a: Handle<'_>, b: Handle<'_>) {
    let mut watches = [Listener::new(a).await, Listener::all(a).await];
    register(b, service("v1", "n1")).await;
    sees(a, NAME, "v1: n1").await;
    let [first, second] = &mut watches;
    tokio::join!(first.ends(), second.ends(), close(a));
}

pub(crate) async fn the_watches_of_others_go_on(a: Handle<'_>, b: Handle<'_>) {
    let mut watch = Listener::new(b).await;
    register(a, service("v1", "n1")).await;
    watch.hears(&["create v1: n1"]).await;
    close(a).await;
    watch.hears(&["delete v1: n1"]).await;
    register(b, service("v1", "n2")).await;
    watch.hears(&["create v1: n2"]).await;
}

pub(crate) async fn others_take_over_its_ids(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    close(a).await;
    sees(b, NAME, "").await;
    register(b, service("v1", "n1")).await;
    sees(b, NAME, "v1: n1").await;
    stays(b, "v1: n1", WHILE).await;
    deregister(b, &service("v1", "n1")).await;
    sees(b, NAME, "").await;
}
