//! Calls that are dropped before they end.

use std::{pin::pin, time::Duration};

use tokio::time::sleep;
use vine_registry::{RegistryExt, Service};

use crate::{
    Handle,
    expect::{WHILE, both, deregister, eventually, found, holds, register, stays},
    listener::Listener,
    samples::{NAME, marked, service},
};

/// How often a call is polled before it is dropped.
const POLLS: std::ops::Range<usize> = 1..8;

/// Polls a call so many times and drops it. Between the polls the background gets on.
async fn dropped_after<F: Future>(polls: usize, call: F) {
    let mut call = pin!(call);
    for _ in 0..polls {
        if futures_util::poll!(call.as_mut()).is_ready() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

fn round(round: usize) -> Service {
    service("v1", "").with_nodes(["n1", "n2", "n3"].map(|id| marked(id, round)))
}

pub(crate) async fn a_dropped_register_is_done_or_not(a: Handle<'_>, b: Handle<'_>) {
    register(a, round(0)).await;
    both(a, b, "v1: n1 n2 n3").await;
    for polls in POLLS {
        dropped_after(polls, a.register(round(polls))).await;
        sleep(Duration::from_millis(20)).await;
        for registry in [a, b] {
            eventually(
                "a dropped register leaves the old or the new registration",
                || async {
                    let services = found(registry, NAME).await;
                    let nodes = services.iter().flat_map(|service| &service.nodes);
                    let mut marks: Vec<_> = nodes.map(|node| node.metadata.clone()).collect();
                    let all = marks.len();
                    marks.dedup();
                    match (all, marks.len()) {
                        (3, 1) => Ok(()),
                        _ => Err(format!("half of one: {services:?}")),
                    }
                },
            )
            .await;
        }
    }
    register(a, round(100)).await;
    for registry in [a, b] {
        holds(registry, &round(100)).await;
    }
}

pub(crate) async fn a_dropped_register_can_be_deregistered(a: Handle<'_>, b: Handle<'_>) {
    for polls in POLLS {
        let dropped = service("v1", &format!("n{polls}"));
        dropped_after(polls, a.register(dropped.clone())).await;
        deregister(a, &dropped).await;
    }
    both(a, b, "").await;
    stays(b, "", WHILE).await;
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
}

pub(crate) async fn a_dropped_register_can_be_repeated(a: Handle<'_>, b: Handle<'_>) {
    for polls in POLLS {
        let dropped = service("v1", "").with_node(marked("n1", polls));
        dropped_after(polls, a.register(dropped.clone())).await;
        register(a, dropped.clone()).await;
        for registry in [a, b] {
            holds(registry, &dropped).await;
        }
    }
}

pub(crate) async fn a_dropped_deregister_can_be_repeated(a: Handle<'_>, b: Handle<'_>) {
    for polls in POLLS {
        register(a, service("v1", "n1 n2")).await;
        both(a, b, "v1: n1 n2").await;
        dropped_after(polls, a.deregister(&service("v1", ""))).await;
        deregister(a, &service("v1", "")).await;
        both(a, b, "").await;
    }
    stays(b, "", WHILE).await;
}

pub(crate) async fn dropped_look_ups_do_no_harm(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    for polls in POLLS {
        for registry in [a, b] {
            dropped_after(polls, registry.get_service(NAME)).await;
            dropped_after(polls, registry.get_service("go.vine.unknown")).await;
            dropped_after(polls, registry.list_services()).await;
        }
    }
    both(a, b, "v1: n1").await;
    deregister(a, &service("v1", "n1")).await;
    both(a, b, "").await;
}

pub(crate) async fn dropped_watches_do_no_harm(a: Handle<'_>, b: Handle<'_>) {
    let mut kept = Listener::new(b).await;
    for polls in POLLS {
        dropped_after(polls, b.watch_service(NAME)).await;
        dropped_after(polls, b.watch(vine_registry::WatchOptions::new())).await;
    }
    register(a, service("v1", "n1")).await;
    kept.hears(&["create v1: n1"]).await;
    let mut late = Listener::new(b).await;
    assert_eq!(
        late.snapshot.node_count(),
        1,
        "a watch after dropped ones begins with what is there"
    );
    deregister(a, &service("v1", "n1")).await;
    for watch in [&mut kept, &mut late] {
        watch.hears(&["delete v1: n1"]).await;
    }
}
