//! Two handles that register the same id: the later one wins.

use std::sync::Arc;

use vine_registry::{Error, RegistryExt, Service};

use crate::{
    Handle,
    expect::{WHILE, deregister, eventually, holds, register, sees, stays, tick},
    samples::{NAME, marked, service},
};

/// `n1` with a mark that tells whose it is.
fn of(holder: &str) -> Arc<Service> {
    Arc::new(service("v1", "").with_node(marked("n1", holder)))
}

/// Both register `n1`, `b` later.
async fn contest(a: Handle<'_>, b: Handle<'_>) -> (Arc<Service>, Arc<Service>) {
    let (lost, won) = (of("a"), of("b"));
    register(a, Arc::clone(&lost)).await;
    holds(b, &lost).await;
    tick().await;
    register(b, Arc::clone(&won)).await;
    for registry in [a, b] {
        holds(registry, &won).await;
    }
    (lost, won)
}

/// Waits until `registry` knows that it has lost `service`.
async fn loses(registry: Handle<'_>, service: &Arc<Service>) {
    eventually(
        "the loser's next register gives Error::Replaced",
        || async {
            match registry.register(Arc::clone(service)).await {
                Err(Error::Replaced { name, id }) => {
                    assert_eq!(
                        (&*name, &*id),
                        (NAME, "n1"),
                        "Error::Replaced names the node"
                    );
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

pub(crate) async fn the_later_holder_wins(a: Handle<'_>, b: Handle<'_>) {
    let (_, won) = contest(a, b).await;
    stays(a, "v1: n1", WHILE).await;
    for registry in [a, b] {
        holds(registry, &won).await;
    }
    register(b, won).await;
}

pub(crate) async fn the_loser_is_told_until_it_gives_up(a: Handle<'_>, b: Handle<'_>) {
    let (lost, won) = contest(a, b).await;
    loses(a, &lost).await;
    for attempt in [lost, of("a again")] {
        let answer = a.register(attempt).await;
        assert!(
            matches!(answer, Err(Error::Replaced { .. })),
            "Error::Replaced stays until the loser deregisters; got {answer:?}"
        );
    }
    tick().await;
    for registry in [a, b] {
        holds(registry, &won).await;
    }
    register(b, won).await;
}

pub(crate) async fn the_loser_deregisters_nothing(a: Handle<'_>, b: Handle<'_>) {
    let (lost, won) = contest(a, b).await;
    loses(a, &lost).await;
    deregister(a, &lost).await;
    stays(b, "v1: n1", WHILE).await;
    for registry in [a, b] {
        holds(registry, &won).await;
    }
    register(b, won).await;
}

pub(crate) async fn the_loser_that_gave_up_may_win_again(a: Handle<'_>, b: Handle<'_>) {
    let (lost, won) = contest(a, b).await;
    loses(a, &lost).await;
    deregister(a, &lost).await;
    tick().await;
    register(a, Arc::clone(&lost)).await;
    for registry in [a, b] {
        holds(registry, &lost).await;
    }
    loses(b, &won).await;
}

pub(crate) async fn the_loser_closes_without_harm(a: Handle<'_>, b: Handle<'_>) {
    let (lost, won) = contest(a, b).await;
    loses(a, &lost).await;
    a.close().await.expect("close succeeds");
    stays(b, "v1: n1", WHILE).await;
    holds(b, &won).await;
}

pub(crate) async fn a_lost_node_takes_no_others_along(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1 n2")).await;
    sees(b, NAME, "v1: n1 n2").await;
    tick().await;
    register(b, of("b")).await;
    loses(a, &Arc::new(service("v1", "n1"))).await;
    register(a, service("v1", "n2")).await;
    stays(b, "v1: n1 n2", WHILE).await;
}

pub(crate) async fn a_winner_that_leaves_takes_its_node(a: Handle<'_>, b: Handle<'_>) {
    let (lost, won) = contest(a, b).await;
    loses(a, &lost).await;
    deregister(b, &won).await;
    for registry in [a, b] {
        sees(registry, NAME, "").await;
    }
    stays(b, "", WHILE).await;
}
