use std::sync::{Arc, Weak};

use tokio::{
    sync::Notify,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use super::store::{Due, Store};

/// The one task that ends leases: sleeps until the next may have run out, or `signal` says that one
/// will earlier. Ends with the store, which signals that, too.
pub(super) async fn run(store: Weak<Store>, signal: Arc<Notify>) {
    while let Some(next) = sweep(&store).await {
        tokio::select! {
            () = at(next) => {}
            () = signal.notified() => {}
        }
    }
}

/// Ends all leases that have run out, those of a service in one go: under load there are more of
/// them, and each costs less. Gives the time to look again, if the store is still there.
async fn sweep(store: &Weak<Store>) -> Option<Option<Instant>> {
    loop {
        let store = store.upgrade()?;
        let now = Instant::now();
        let mut due = Due::new();
        let next = loop {
            let next = store.gather(now, &mut due);
            if next != Some(now) {
                break next;
            }
            consume_budget().await;
        };
        if due.is_empty() {
            return Some(next);
        }
        for ((namespace, name), leases) in due {
            store.expire(now, &namespace, &name, &leases);
            consume_budget().await;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
