//! How long a registration holds without being renewed.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use vine_registry::{Error, RegisterOptions};

use crate::{
    Handle,
    expect::{both, found, holds, register, sees, shape, stays, stays_until},
    listener::Listener,
    samples::{NAME, long_ttl, marked, service, short_ttl, ttl},
};

/// How much later than its ttl a registration may be seen to end.
const LATE: Duration = Duration::from_secs(5);

/// How often a machine that is too slow to renew in time is given another chance.
const CHANCES: usize = 10;

/// Tries until it comes to an end: there is none when something took longer than a ttl, which says
/// nothing of the engine.
async fn in_time<F>(a: Handle<'_>, b: Handle<'_>, mut attempt: impl FnMut() -> F + Send)
where
    F: Future<Output = Option<()>> + Send,
{
    for _ in 0..CHANCES {
        if attempt().await.is_some() {
            return;
        }
        both(a, b, "").await;
    }
    panic!("nothing was renewed within its ttl of {:?}", short_ttl(a));
}

/// The age of what was renewed then, unless its ttl is over.
fn age_within(ttl: Duration, renewed: Instant) -> Option<Duration> {
    Some(renewed.elapsed()).filter(|age| *age < ttl)
}

pub(crate) async fn a_node_does_not_vanish_within_its_ttl(a: Handle<'_>, b: Handle<'_>) {
    let ttl = short_ttl(a);
    let mut watches = [Listener::new(a).await, Listener::new(b).await];
    let start = Instant::now();
    register(a, service("v1", "n1").with_ttl(ttl)).await;
    // Of what ends soon, a watch tells however late it is read.
    for watch in &mut watches {
        watch.hears(&["create v1: n1"]).await;
    }
    tokio::join!(
        stays_until(a, "v1: n1", start + ttl),
        stays_until(b, "v1: n1", start + ttl)
    );
}

pub(crate) async fn a_node_ends_with_its_ttl(a: Handle<'_>, b: Handle<'_>) {
    let ttl = short_ttl(a);
    let mut watch = Listener::new(b).await;
    register(a, service("v1", "n1").with_ttl(ttl)).await;
    let registered = Instant::now();
    watch.hears(&["create v1: n1", "delete v1: n1"]).await;
    let lived = registered.elapsed();
    assert!(
        lived < ttl + LATE,
        "Service::ttl: ends after {ttl:?}; lived {lived:?}"
    );
    both(a, b, "").await;
}

pub(crate) async fn renewing_keeps_a_node(a: Handle<'_>, b: Handle<'_>) {
    in_time(a, b, || renewed_again_and_again(a, b)).await;
}

async fn renewed_again_and_again(a: Handle<'_>, b: Handle<'_>) -> Option<()> {
    let ttl = short_ttl(a);
    let mut watch = Listener::new(b).await;
    let registered = Arc::new(service("v1", "n1").with_ttl(ttl));
    let mut renewed = Instant::now();
    register(a, Arc::clone(&registered)).await;
    watch.hears(&["create v1: n1"]).await;
    for renewal in 0..8 {
        sleep(ttl / 4).await;
        let seen = shape(&found(b, NAME).await);
        let age = age_within(ttl, renewed)?;
        assert_eq!(
            seen, "v1: n1",
            "a renewed node stays; {age:?} after it was renewed, its ttl is {ttl:?}"
        );
        let before = mem::replace(&mut renewed, Instant::now());
        // The same Arc, and one that only says the same.
        match renewal % 2 {
            0 => register(a, Arc::clone(&registered)).await,
            _ => register(a, (*registered).clone()).await,
        }
        age_within(ttl, before)?;
    }
    stays_until(b, "v1: n1", renewed + ttl).await;
    watch.hears(&["delete v1: n1"]).await;
    both(a, b, "").await;
    Some(())
}

pub(crate) async fn without_a_ttl_a_node_stays(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    holds(b, &service("v1", "n1")).await;
    stays(b, "v1: n1", Duration::from_secs(3)).await;
}

pub(crate) async fn the_option_goes_before_the_service(a: Handle<'_>, b: Handle<'_>) {
    let (short, long) = (short_ttl(a), long_ttl(a));
    let with_option = async |id: &str, ttl, option| {
        let options = RegisterOptions::new().with_ttl(option);
        let registered = service("v1", id).with_ttl(ttl);
        let answer = a.register_with(registered.into(), &options).await;
        answer.expect("register succeeds");
    };
    with_option("n2", short, long).await;
    both(a, b, "v1: n2").await;
    let mut watches = [Listener::new(a).await, Listener::new(b).await];
    with_option("n1", long, short).await;
    for watch in &mut watches {
        watch.hears(&["create v1: n1", "delete v1: n1"]).await;
    }
    both(a, b, "v1: n2").await;
    stays(b, "v1: n2", short).await;
}

pub(crate) async fn results_show_the_ttl_in_force(a: Handle<'_>, b: Handle<'_>) {
    let (long, longer) = (
        long_ttl(a),
        ttl(&a.capabilities(), Duration::from_secs(1200)),
    );
    register(a, service("v1", "n1").with_ttl(long)).await;
    for registry in [a, b] {
        holds(registry, &service("v1", "n1").with_ttl(long)).await;
    }
    let options = RegisterOptions::new().with_ttl(longer);
    let answer = a
        .register_with(service("v2", "n2").with_ttl(long).into(), &options)
        .await;
    answer.expect("register succeeds");
    for registry in [a, b] {
        holds(registry, &service("v2", "n2").with_ttl(longer)).await;
    }
}

pub(crate) async fn each_registration_has_its_own(a: Handle<'_>, b: Handle<'_>) {
    let short = short_ttl(a);
    register(a, service("v1", "n1").with_ttl(long_ttl(a))).await;
    register(a, service("v1", "n3")).await;
    both(a, b, "v1: n1 n3").await;
    let mut watches = [Listener::new(a).await, Listener::new(b).await];
    register(b, service("v1", "n2").with_ttl(short)).await;
    for watch in &mut watches {
        watch.hears(&["create v1: n2", "delete v1: n2"]).await;
    }
    both(a, b, "v1: n1 n3").await;
    stays(b, "v1: n1 n3", short).await;
}

pub(crate) async fn a_later_call_sets_it_anew(a: Handle<'_>, b: Handle<'_>) {
    let short = short_ttl(a);
    register(a, service("v1", "n1").with_ttl(short)).await;
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    stays(b, "v1: n1", short * 2).await;
    register(a, service("v1", "n1").with_ttl(short)).await;
    both(a, b, "").await;
}

pub(crate) async fn an_update_renews(a: Handle<'_>, b: Handle<'_>) {
    in_time(a, b, || updated_again_and_again(a, b)).await;
}

async fn updated_again_and_again(a: Handle<'_>, b: Handle<'_>) -> Option<()> {
    let ttl = short_ttl(a);
    let mut renewed = Instant::now();
    for change in 0..6 {
        let updated = service("v1", "").with_node(marked("n1", change));
        let before = mem::replace(&mut renewed, Instant::now());
        register(a, updated.with_ttl(ttl)).await;
        age_within(ttl, before)?;
        timeout_at(renewed + ttl, sees(b, NAME, "v1: n1"))
            .await
            .ok()?;
        stays_until(b, "v1: n1", renewed + ttl / 4).await;
    }
    stays_until(b, "v1: n1", renewed + ttl).await;
    both(a, b, "").await;
    Some(())
}

pub(crate) async fn what_ran_out_can_be_registered_again(a: Handle<'_>, b: Handle<'_>) {
    let registered = Arc::new(service("v1", "n1").with_ttl(short_ttl(a)));
    let mut watch = Listener::new(b).await;
    for _ in 0..2 {
        register(a, Arc::clone(&registered)).await;
        watch.hears(&["create v1: n1", "delete v1: n1"]).await;
    }
}

pub(crate) async fn one_that_cannot_be_kept_is_refused(a: Handle<'_>, b: Handle<'_>) {
    let can = a.capabilities();
    let too_long = can.max_ttl.saturating_add(Duration::from_secs(1));
    let too_short = can.min_ttl / 2;
    for ttl in [too_short, too_long] {
        let options = RegisterOptions::new().with_ttl(ttl);
        for (in_service, options) in [(Some(ttl), RegisterOptions::new()), (None, options)] {
            let mut refused = service("v1", "n1");
            refused.ttl = in_service;
            match a.register_with(refused.into(), &options).await {
                Err(Error::InvalidService { field, .. }) if field.contains("ttl") => {}
                other => panic!(
                    "Capabilities::min_ttl and max_ttl: {ttl:?} is refused with the field ttl; got {other:?}"
                ),
            }
        }
    }
    both(a, b, "").await;
}
