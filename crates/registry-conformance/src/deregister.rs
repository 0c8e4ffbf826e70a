//! Ending registrations: one's own, unknown ones, and somebody else's.

use vine_registry::{DeregisterOptions, Error, RegistryExt};

use crate::{
    Handle,
    expect::{WHILE, both, deregister, register, sees, stays},
    listener::Listener,
    samples::{NAME, branded, service},
};

pub(crate) async fn named_nodes_end(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2 n3")).await;
    both(a, b, "v1: n1 n2 n3").await;
    deregister(a, &service("v1", "n1 n3")).await;
    both(a, b, "v1: n2").await;
    deregister(a, &service("v1", "n2")).await;
    both(a, b, "").await;
}

pub(crate) async fn without_names_all_of_the_version_end(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    register(a, service("v2", "n3")).await;
    both(a, b, "v1: n1 n2; v2: n3").await;
    deregister(a, &service("v1", "")).await;
    both(a, b, "v2: n3").await;
    stays(b, "v2: n3", WHILE).await;
}

pub(crate) async fn without_names_others_stay(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(b, service("v1", "n2")).await;
    both(a, b, "v1: n1 n2").await;
    deregister(a, &service("v1", "")).await;
    both(a, b, "v1: n2").await;
    stays(a, "v1: n2", WHILE).await;
}

pub(crate) async fn unknown_ones_are_none_to_end(a: Handle<'_>, b: Handle<'_>) {
    for unknown in [service("v1", "n1"), service("v1", "")] {
        deregister(a, &unknown).await;
    }
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    for unknown in [
        service("v1", "n2"),
        service("v2", ""),
        crate::samples::named("go.vine.unknown", "v1", "n1"),
    ] {
        deregister(a, &unknown).await;
    }
    stays(b, "v1: n1", WHILE).await;
}

pub(crate) async fn another_version_is_unknown(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    deregister(a, &service("v2", "n1")).await;
    stays(b, "v1: n1", WHILE).await;
}

pub(crate) async fn what_it_says_besides_names_does_not_matter(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "registered")).await;
    both(a, b, "v1: n1").await;
    deregister(a, &branded("v1", "n1", "otherwise")).await;
    both(a, b, "").await;
}

pub(crate) async fn somebody_elses_node_is_refused(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    refused(b, "n1").await;
    stays(b, "v1: n1", WHILE).await;
}

pub(crate) async fn what_is_refused_ends_nothing(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n2")).await;
    register(b, service("v1", "n1 n3")).await;
    both(a, b, "v1: n1 n2 n3").await;
    refused(b, "n1 n2 n3").await;
    stays(a, "v1: n1 n2 n3", WHILE).await;
}

async fn refused(registry: Handle<'_>, ids: &str) {
    let answer = registry.deregister(&service("v1", ids)).await;
    let Err(Error::NotOwner { name, id }) = answer else {
        panic!("deregister of somebody else's node gives NotOwner; got {answer:?}");
    };
    assert_eq!(&*name, NAME, "Error::NotOwner names the service");
    assert!(
        ids.contains(&*id),
        "Error::NotOwner names the node; got {id:?}"
    );
}

pub(crate) async fn force_removes_or_says_what_to_do(a: Handle<'_>, b: Handle<'_>) {
    let registered = std::sync::Arc::new(service("v1", "n1"));
    register(a, std::sync::Arc::clone(&registered)).await;
    both(a, b, "v1: n1").await;
    let mut watch = Listener::new(b).await;
    let force = DeregisterOptions::new().with_force(true);
    let answer = b.deregister_with(&registered, &force).await;
    if b.capabilities().force_deregister {
        answer.expect("force removes somebody else's node");
        watch.hears(&["delete v1: n1"]).await;
        // A living owner puts it back with its next renewal.
        register(a, registered).await;
        watch.hears(&["create v1: n1"]).await;
        both(a, b, "v1: n1").await;
    } else {
        let Err(Error::Unsupported { remedy, .. }) = answer else {
            panic!("Capabilities::force_deregister is false: Unsupported; got {answer:?}");
        };
        assert!(
            !remedy.is_empty(),
            "Error::Unsupported says what to do instead"
        );
        stays(b, "v1: n1", WHILE).await;
    }
}

pub(crate) async fn force_on_ones_own_works_everywhere(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    let force = DeregisterOptions::new().with_force(true);
    let answer = a.deregister_with(&service("v1", "n1"), &force).await;
    answer.expect("force does not get in the way of ending one's own registration");
    both(a, b, "").await;
}

pub(crate) async fn what_ended_can_be_registered_again(a: Handle<'_>, b: Handle<'_>) {
    let registered = std::sync::Arc::new(service("v1", "n1"));
    for _ in 0..3 {
        register(a, std::sync::Arc::clone(&registered)).await;
        sees(b, NAME, "v1: n1").await;
        deregister(a, &registered).await;
        sees(b, NAME, "").await;
    }
    tokio::join!(register(b, registered), async {
        sees(a, NAME, "v1: n1").await
    });
}
