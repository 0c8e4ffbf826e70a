//! Namespaces: whoever looks into one does not see the others.

use std::sync::Arc;

use vine_registry::{Error, GetOptions, ListOptions, Namespaces, Service, WatchOptions};

use crate::{
    Handle,
    expect::{WHILE, deregister, eventually, own, register, sees, sees_with, stays},
    listener::Listener,
    samples::{NAME, service},
};

/// [`NAME`] in a namespace that is not the own one.
fn elsewhere(namespace: &str, version: &str, ids: &str) -> Service {
    service(version, ids).with_namespace(namespace)
}

fn within(namespace: impl Into<Arc<str>>) -> GetOptions {
    GetOptions::new().with_namespace(namespace)
}

pub(crate) async fn without_one_it_is_that_of_the_options(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    let services = sees_with(b, NAME, &within(own(a)), "v1: n1").await;
    assert_eq!(
        services[0].namespace,
        own(a),
        "results carry their namespace: Service::namespace"
    );
    register(a, elsewhere(&own(a), "v1", "n2")).await;
    for registry in [a, b] {
        sees(registry, NAME, "v1: n1 n2").await;
        sees_with(registry, NAME, &within(""), "v1: n1 n2").await;
    }
}

pub(crate) async fn a_look_up_sees_one(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(a, elsewhere("blue", "v1", "n2")).await;
    register(b, elsewhere("green", "v2", "n3")).await;
    for registry in [a, b] {
        sees(registry, NAME, "v1: n1").await;
        let blue = sees_with(registry, NAME, &within("blue"), "v1: n2").await;
        assert_eq!(&*blue[0].namespace, "blue", "results carry their namespace");
        sees_with(registry, NAME, &within("green"), "v2: n3").await;
        let nowhere = registry.get_service_with(NAME, &within("red")).await;
        let Err(Error::NotFound { namespace, .. }) = nowhere else {
            panic!("nothing is there: NotFound; got {nowhere:?}");
        };
        assert_eq!(&*namespace, "red", "Error::NotFound names the namespace");
    }
}

pub(crate) async fn one_id_may_be_in_each(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(b, elsewhere("blue", "v2", "n1")).await;
    for registry in [a, b] {
        sees(registry, NAME, "v1: n1").await;
        sees_with(registry, NAME, &within("blue"), "v2: n1").await;
    }
    register(a, service("v1", "n1")).await;
    register(b, elsewhere("blue", "v2", "n1")).await;
}

pub(crate) async fn deregistering_ends_one(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(a, elsewhere("blue", "v1", "n1")).await;
    sees(b, NAME, "v1: n1").await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
    deregister(a, &elsewhere("blue", "v1", "")).await;
    sees_with(b, NAME, &within("blue"), "").await;
    stays(b, "v1: n1", WHILE).await;
    register(a, elsewhere("blue", "v1", "n1")).await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
    deregister(a, &service("v1", "n1")).await;
    sees(b, NAME, "").await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
}

pub(crate) async fn a_listing_sees_one_or_all(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(b, elsewhere("blue", "v1", "n2")).await;
    register(a, elsewhere("green", "v1", "n3")).await;
    let mut all = vec![own(a), "blue".into(), "green".into()];
    all.sort_unstable();
    for registry in [a, b] {
        for (which, expected) in [
            (Namespaces::All, all.clone()),
            (Namespaces::Own, vec![own(a)]),
            (Namespaces::One("".into()), vec![own(a)]),
            (Namespaces::One("blue".into()), vec!["blue".into()]),
            (Namespaces::One("red".into()), vec![]),
        ] {
            lists(registry, which, expected).await;
        }
    }
}

/// Waits until a listing gives [`NAME`] in just these namespaces.
async fn lists(registry: Handle<'_>, which: Namespaces, expected: Vec<Arc<str>>) {
    let what = format!("list_services of {which:?} shall give {expected:?}");
    let options = ListOptions::new().with_namespace(which);
    eventually(what, || async {
        let listing = registry
            .list_services_with(&options)
            .await
            .expect("list_services answers");
        assert!(listing.iter().all(|summary| &*summary.name == NAME));
        let got: Vec<_> = listing
            .iter()
            .map(|summary| Arc::clone(&summary.namespace))
            .collect();
        match got == expected {
            true => Ok(()),
            false => Err(format!("{got:?}")),
        }
    })
    .await;
}

pub(crate) async fn a_watch_sees_one(a: Handle<'_>, b: Handle<'_>) {
    let blue = Namespaces::One("blue".into());
    register(a, elsewhere("blue", "v1", "n1")).await;
    register(a, service("v1", "n1")).await;
    sees(b, NAME, "v1: n1").await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
    for service in [Some(NAME), None] {
        let mut options = WatchOptions::new().with_namespace(blue.clone());
        options.service = service.map(Into::into);
        let mut watch = Listener::with(b, options).await;
        assert_eq!(
            watch
                .snapshot
                .iter()
                .map(|service| &*service.namespace)
                .collect::<Vec<_>>(),
            ["blue"],
            "WatchOptions::namespace: the snapshot holds nothing else"
        );
        for id in ["n2", "n3"] {
            register(a, unrelated(&own(a), id)).await;
            register(a, unrelated("green", id)).await;
            sees_with(b, NAME, &within("green"), "v2: n9").await;
            register(a, elsewhere("blue", "v1", id)).await;
            let event = watch.event().await;
            assert_eq!(
                &*event.service.namespace, "blue",
                "WatchOptions::namespace: {event:?}"
            );
            assert!(event.service.nodes.get(id).is_some(), "{event:?}");
        }
        deregister(a, &elsewhere("blue", "v1", "n2 n3")).await;
        sees_with(b, NAME, &within("blue"), "v1: n1").await;
    }
}

/// What a watch of another namespace must not hear of.
fn unrelated(namespace: &str, mark: &str) -> Service {
    let node = crate::samples::marked("n9", mark);
    service("v2", "").with_node(node).with_namespace(namespace)
}

pub(crate) async fn a_watch_of_the_own_one_sees_no_other(a: Handle<'_>, b: Handle<'_>) {
    let mut watches = [Listener::new(b).await, Listener::all(b).await];
    register(a, elsewhere("blue", "v1", "n1")).await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
    register(a, service("v1", "n2")).await;
    for watch in &mut watches {
        let event = watch.event().await;
        assert_eq!(
            event.service.namespace,
            own(b),
            "Namespaces::Own: {event:?}"
        );
        assert!(
            watch.snapshot.is_empty(),
            "Namespaces::Own: the snapshot holds nothing else"
        );
    }
}

pub(crate) async fn a_watch_of_all_sees_each(a: Handle<'_>, b: Handle<'_>) {
    register(a, elsewhere("blue", "v1", "n1")).await;
    sees_with(b, NAME, &within("blue"), "v1: n1").await;
    let all = WatchOptions::new().with_namespace(Namespaces::All);
    for options in [all.clone(), all.with_service(NAME)] {
        let mut watch = Listener::with(b, options).await;
        let snapshot: Vec<_> = watch
            .snapshot
            .iter()
            .map(|service| &*service.namespace)
            .collect();
        assert_eq!(snapshot, ["blue"], "Namespaces::All: the snapshot");
        for namespace in [&*own(a), "green"] {
            register(a, elsewhere(namespace, "v1", "n1")).await;
            let event = watch.event().await;
            assert_eq!(
                &*event.service.namespace, namespace,
                "Namespaces::All: {event:?}"
            );
            deregister(a, &elsewhere(namespace, "v1", "n1")).await;
            let event = watch.event().await;
            assert_eq!(
                &*event.service.namespace, namespace,
                "Namespaces::All: {event:?}"
            );
        }
    }
}
