//! Versions of a service, and what belongs to a version and not to a node.

use vine_registry::{Endpoint, Service};

use crate::{
    Handle,
    expect::{WHILE, both, deregister, holds, register, sees, stays, tick},
    listener::Listener,
    samples::{NAME, branded, marked, service},
};

pub(crate) async fn versions_are_found_apart_and_sorted(a: Handle<'_>, b: Handle<'_>) {
    for (registry, version, id) in [
        (a, "v2", "n1"),
        (b, "v10", "n2"),
        (a, "v1", "n3"),
        (b, "", "n4"),
    ] {
        register(registry, service(version, id)).await;
    }
    both(a, b, ": n4; v1: n3; v10: n2; v2: n1").await;
}

pub(crate) async fn a_node_moves_to_another_version(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    both(a, b, "v1: n1 n2").await;
    register(a, service("v2", "n1")).await;
    both(a, b, "v1: n2; v2: n1").await;
    register(a, service("v2", "n2")).await;
    both(a, b, "v2: n1 n2").await;
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1; v2: n2").await;
}

pub(crate) async fn a_node_moves_with_another_holder(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    both(a, b, "v1: n1 n2").await;
    tick().await;
    register(b, service("v2", "n1")).await;
    both(a, b, "v1: n2; v2: n1").await;
}

pub(crate) async fn service_fields_are_those_of_the_last_change(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "first")).await;
    both(a, b, "v1: n1").await;
    tick().await;
    register(b, branded("v1", "n2", "second")).await;
    for registry in [a, b] {
        holds(registry, &branded("v1", "n1 n2", "second")).await;
    }
    tick().await;
    let third = branded("v1", "n1", "third").with_endpoint(Endpoint::new("Test.Call"));
    register(a, third.clone()).await;
    for registry in [a, b] {
        holds(
            registry,
            &third
                .clone()
                .with_nodes(service("v1", "n1 n2").nodes.iter().cloned()),
        )
        .await;
    }
}

pub(crate) async fn service_fields_belong_to_one_version(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "one")).await;
    tick().await;
    register(a, branded("v2", "n2", "two")).await;
    for registry in [a, b] {
        holds(registry, &branded("v1", "n1", "one")).await;
        holds(registry, &branded("v2", "n2", "two")).await;
    }
}

pub(crate) async fn service_fields_go_with_their_node(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "first")).await;
    both(a, b, "v1: n1").await;
    tick().await;
    register(b, branded("v1", "n2", "second")).await;
    holds(a, &branded("v1", "n1 n2", "second")).await;
    let mut watch = Listener::new(a).await;
    deregister(b, &service("v1", "n2")).await;
    for registry in [a, b] {
        holds(registry, &branded("v1", "n1", "first")).await;
    }
    watch.agrees(a, NAME).await;
}

pub(crate) async fn a_renewal_does_not_change_service_fields(a: Handle<'_>, b: Handle<'_>) {
    let first = branded("v1", "n1", "first");
    register(a, first.clone()).await;
    both(a, b, "v1: n1").await;
    tick().await;
    register(b, branded("v1", "n2", "second")).await;
    let expected = branded("v1", "n1 n2", "second");
    holds(a, &expected).await;
    tick().await;
    register(a, first).await;
    stays(b, "v1: n1 n2", WHILE).await;
    for registry in [a, b] {
        holds(registry, &expected).await;
    }
}

pub(crate) async fn a_changed_node_brings_its_service_fields(a: Handle<'_>, b: Handle<'_>) {
    register(a, branded("v1", "n1", "first")).await;
    both(a, b, "v1: n1").await;
    tick().await;
    register(b, branded("v1", "n2", "second")).await;
    holds(a, &branded("v1", "n1 n2", "second")).await;
    tick().await;
    let changed: Service = branded("v1", "", "first").with_node(marked("n1", "changed"));
    register(a, changed.clone()).await;
    let expected = changed.with_node(crate::samples::node("n2"));
    for registry in [a, b] {
        holds(registry, &expected).await;
    }
    sees(b, NAME, "v1: n1 n2").await;
}
