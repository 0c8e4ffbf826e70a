//! Watches under fire: begun amid changes, read too slowly, many changes by both handles.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use vine_registry::{Service, WatchOptions};

use crate::{
    Handle,
    expect::{both, deregister, eventually, found, register, sees, shape},
    listener::Listener,
    samples::{Dice, NAME, branded, marked, service},
};

pub(crate) async fn one_begun_amid_changes_misses_nothing(a: Handle<'_>, b: Handle<'_>) {
    let expected = (0..60).map(|i| format!("n{i:02}")).collect::<Vec<_>>();
    let expected = format!("v1: {}", expected.join(" "));
    let registering = async {
        for i in 0..60 {
            register([a, b][i % 2], service("v1", &format!("n{i:02}"))).await;
            tokio::task::yield_now().await;
        }
    };
    let watching = async {
        let mut watches = Vec::new();
        for i in 0..12 {
            watches.push(Listener::new([a, b][i % 2]).await);
            tokio::task::yield_now().await;
        }
        watches
    };
    let ((), mut watches) = tokio::join!(registering, watching);
    both(a, b, &expected).await;
    for watch in &mut watches {
        watch.until(b, &expected).await;
    }
}

pub(crate) async fn a_slow_reader_gets_the_difference(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "stays goes")).await;
    sees(b, NAME, "v1: goes stays").await;
    let mut slow = Listener::new(b).await;
    for change in 0..3_000 {
        register(a, service("v1", "").with_node(marked("n1", change))).await;
    }
    deregister(a, &service("v1", "goes")).await;
    register(a, service("v2", "late")).await;
    let last = Arc::new(service("v1", "stays").with_node(marked("n1", 2_999)));
    crate::expect::holds(b, &last).await;
    sees(b, NAME, "v1: n1 stays; v2: late").await;
    slow.until(b, "v1: n1 stays; v2: late").await;
    slow.agrees(b, NAME).await;
    register(a, service("v2", "later")).await;
    slow.hears(&["create v2: later"]).await;
}

pub(crate) async fn a_slow_reader_holds_up_nobody(a: Handle<'_>, b: Handle<'_>) {
    let slow = Listener::new(b).await;
    let mut quick = Listener::new(b).await;
    for round in 0..50 {
        register(a, service("v1", "n1")).await;
        quick.hears(&["create v1: n1"]).await;
        deregister(a, &service("v1", "n1")).await;
        quick.hears(&["delete v1: n1"]).await;
        assert!(slow.snapshot.is_empty(), "round {round}");
    }
}

pub(crate) async fn after_a_storm_all_agree(a: Handle<'_>, b: Handle<'_>) {
    let mut watches = Vec::new();
    for registry in [a, b] {
        watches.push((registry, Listener::new(registry).await));
        watches.push((registry, Listener::all(registry).await));
    }
    let mut dice = Dice::new(42);
    for step in 0..300 {
        let registry = [a, b][dice.roll(2)];
        // Each handle has ids of its own: who wins is for the cases of ownership.
        let id = format!(
            "{}{}",
            if std::ptr::eq(registry, a) { "a" } else { "b" },
            dice.roll(4)
        );
        let version = ["v1", "v2"][dice.roll(2)];
        match dice.roll(3) {
            0 => deregister(registry, &service(version, &id)).await,
            1 => register(registry, branded(version, &id, &step.to_string())).await,
            _ => register(registry, changed(version, &id, step)).await,
        }
        if dice.roll(20) == 0 {
            let watch = Listener::with(registry, WatchOptions::service(NAME)).await;
            if dice.roll(2) == 0 {
                watches.push((registry, watch));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
    // The last word of each handle: when both see both, both are quiet.
    register(a, service("v9", "a-end")).await;
    register(b, service("v9", "b-end")).await;
    eventually("both handles come to see the same", || async {
        let (here, there) = (found(a, NAME).await, found(b, NAME).await);
        match here == there && shape(&here).ends_with("v9: a-end b-end") {
            true => Ok(()),
            false => Err(format!("{here:?} and {there:?}")),
        }
    })
    .await;
    for (registry, watch) in &mut watches {
        watch.agrees(*registry, NAME).await;
    }
}

fn changed(version: &str, id: &str, mark: usize) -> Service {
    service(version, "").with_node(marked(id, mark))
}
