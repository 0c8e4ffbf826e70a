//! Registering, and being found and listed.

use futures_util::future::join_all;
use vine_registry::{Error, GetOptions, ListOptions, RegistryExt, Wait};

use crate::{
    Handle,
    expect::{
        both, deregister, eventually, found, holds, ids, lists, own, register, sees, sees_with,
    },
    samples::{Dice, NAME, can_name, marked, named, service},
};

pub(crate) async fn a_registered_service_is_found(a: Handle<'_>, b: Handle<'_>) {
    a.init().await.expect("init succeeds");
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    a.init().await.expect("init succeeds again");
    both(a, b, "v1: n1").await;
}

pub(crate) async fn nodes_are_merged_by_id(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    register(a, service("v1", "n2 n3")).await;
    both(a, b, "v1: n1 n2 n3").await;
    register(b, service("v1", "n4")).await;
    both(a, b, "v1: n1 n2 n3 n4").await;
}

pub(crate) async fn a_known_id_is_replaced(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    both(a, b, "v1: n1 n2").await;
    let mut n1 = marked("n1", "new");
    n1.address = "127.0.0.1:9090".into();
    register(a, service("v1", "").with_node(n1.clone())).await;
    let expected = service("v1", "n2").with_node(n1);
    holds(a, &expected).await;
    holds(b, &expected).await;
}

pub(crate) async fn many_nodes_in_one_call(a: Handle<'_>, b: Handle<'_>) {
    let all = service("v1", "").with_nodes((0..100).map(|i| marked(&format!("n{i:02}"), i)));
    register(a, all.clone()).await;
    holds(a, &all).await;
    holds(b, &all).await;
}

pub(crate) async fn many_calls_at_once(a: Handle<'_>, b: Handle<'_>) {
    let id = |i: usize| format!("n{i:02}");
    join_all((0..50).map(|i| register([a, b][i % 2], service("v1", &id(i))))).await;
    let expected = format!("v1: {}", (0..50).map(id).collect::<Vec<_>>().join(" "));
    both(a, b, &expected).await;
}

pub(crate) async fn names_that_look_alike_are_not_the_same(a: Handle<'_>, b: Handle<'_>) {
    let names = [
        "go.vine.a",
        "go.Vine.A",
        "go-vine-a",
        "go_vine_a",
        "go vine a",
        "go.vine.ä",
    ];
    let names: Vec<_> = names.into_iter().filter(|name| can_name(a, name)).collect();
    for (i, name) in names.iter().enumerate() {
        register(a, named(name, "v1", &format!("n{i}"))).await;
    }
    for (i, name) in names.iter().enumerate() {
        sees(a, name, &format!("v1: n{i}")).await;
        sees(b, name, &format!("v1: n{i}")).await;
    }
}

pub(crate) async fn ids_that_look_alike_are_not_the_same(a: Handle<'_>, b: Handle<'_>) {
    let ids = ["a.1", "A.1", "a-1", "a_1", "ä"];
    let ids: Vec<_> = ids.into_iter().filter(|id| can_name(a, id)).collect();
    let all = service("v1", &ids.join(" "));
    register(a, all.clone()).await;
    holds(a, &all).await;
    holds(b, &all).await;
}

pub(crate) async fn the_unknown_is_not_found(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    sees(b, NAME, "v1: n1").await;
    for registry in [a, b] {
        match registry.get_service("go.vine.unknown").await {
            Err(Error::NotFound { name, namespace }) => {
                assert_eq!(
                    &*name, "go.vine.unknown",
                    "Error::NotFound names the service"
                );
                assert_eq!(
                    namespace,
                    own(registry),
                    "Error::NotFound names the namespace"
                );
            }
            other => panic!("Registry::get_service_with: none is NotFound; got {other:?}"),
        }
    }
}

pub(crate) async fn every_way_to_wait_gives_an_answer(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    let ways = [
        Wait::First,
        Wait::Settled,
        Wait::For(std::time::Duration::from_millis(200)),
    ];
    for wait in ways {
        for stale in [false, true] {
            let options = GetOptions::new().with_wait(wait).with_allow_stale(stale);
            sees_with(b, NAME, &options, "v1: n1").await;
        }
    }
}

pub(crate) async fn a_listing_is_sorted(a: Handle<'_>, b: Handle<'_>) {
    let mut names: Vec<_> = (0..20).map(|i| format!("go.vine.s{i:02}")).collect();
    names.extend(["B", "a", "a.b", "a-b", "ä"].map(str::to_owned));
    names.retain(|name| can_name(a, name));
    let mut dice = Dice::new(7);
    let mut shuffled = names.clone();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, dice.roll(i + 1));
    }
    for name in &shuffled {
        register([a, b][dice.roll(2)], named(name, "v1", "n1")).await;
    }
    names.sort_unstable();
    for registry in [a, b] {
        lists(
            registry,
            |listing| {
                listing
                    .iter()
                    .map(|summary| summary.name.to_string())
                    .collect::<Vec<_>>()
            },
            names.clone(),
        )
        .await;
    }
}

pub(crate) async fn a_listing_tells_versions_and_nodes(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v2", "n1 n2")).await;
    register(b, service("v1", "n3")).await;
    for registry in [a, b] {
        let listing = lists(
            registry,
            |listing| {
                let versions = listing.iter().flat_map(|summary| summary.versions.clone());
                versions
                    .map(|version| version.to_string())
                    .collect::<Vec<_>>()
            },
            vec!["v1".to_owned(), "v2".to_owned()],
        )
        .await;
        assert_eq!(
            listing.len(),
            1,
            "Registry::list_services_with: one summary for each name"
        );
        assert_eq!(&*listing[0].name, NAME);
        assert_eq!(
            listing[0].namespace,
            own(registry),
            "ServiceSummary::namespace"
        );
        if listing[0].nodes.is_some() {
            lists(registry, |listing| listing[0].nodes, Some(3)).await;
        }
    }
}

pub(crate) async fn a_listing_of_nothing_is_empty(a: Handle<'_>, b: Handle<'_>) {
    for registry in [a, b] {
        let listing = registry.list_services_with(&ListOptions::new()).await;
        let listing = listing.expect("listing an empty registry succeeds");
        assert_eq!(
            listing,
            [],
            "Registry::list_services_with lists what there is"
        );
    }
}

pub(crate) async fn a_listing_forgets_what_is_gone(a: Handle<'_>, b: Handle<'_>) {
    register(a, named("go.vine.stays", "v1", "n1")).await;
    register(a, service("v1", "n1")).await;
    register(a, service("v2", "n2")).await;
    let names_and_versions = |listing: &[vine_registry::ServiceSummary]| {
        let each = listing
            .iter()
            .map(|summary| (summary.name.to_string(), summary.versions.len()));
        each.collect::<Vec<_>>()
    };
    let of = |name: &str, versions| (name.to_owned(), versions);
    lists(
        b,
        names_and_versions,
        vec![of(NAME, 2), of("go.vine.stays", 1)],
    )
    .await;
    deregister(a, &service("v2", "n2")).await;
    lists(
        b,
        names_and_versions,
        vec![of(NAME, 1), of("go.vine.stays", 1)],
    )
    .await;
    deregister(a, &service("v1", "n1")).await;
    lists(b, names_and_versions, vec![of("go.vine.stays", 1)]).await;
}

pub(crate) async fn a_reported_node_stays_while_its_owner_lives(a: Handle<'_>, b: Handle<'_>) {
    let registered = service("v1", "n1");
    register(a, registered.clone()).await;
    sees(b, NAME, "v1: n1").await;
    for id in ["n1", "unknown"] {
        let node = vine_registry::NodeRef::of(&registered, id);
        let report = b.report_unreachable(&node).await;
        report.expect("Registry::report_unreachable takes any node");
    }
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    crate::expect::stays_until(b, "v1: n1", end).await;
}

/// What is known of a service does not depend on which of its handles is asked.
pub(crate) async fn both_handles_give_the_same(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1").with_metadata([("from", "a")])).await;
    register(b, service("v2", "n2").with_metadata([("from", "b")])).await;
    eventually("both handles shall give the same", || async {
        let (here, there) = (found(a, NAME).await, found(b, NAME).await);
        match here == there && here.len() == 2 && ids(&here[0].nodes) == "n1" {
            true => Ok(()),
            false => Err(format!("{here:?} and {there:?}")),
        }
    })
    .await;
}
