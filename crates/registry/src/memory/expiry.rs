use std::sync::{Arc, Weak};

use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::store::Store;

/// The one task that ends leases: sleeps until the next may have run out, or `signal` says that one
/// will earlier. Ends with the store, which signals that, too.
pub(super) async fn run(store: Weak<Store>, signal: Arc<Notify>) {
    while let Some(store) = store.upgrade() {
        let now = Instant::now();
        let next = store.sweep(now);
        drop(store);
        match next {
            Some(next) if next <= now => yield_now().await,
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = signal.notified() => {}
            },
            None => signal.notified().await,
        }
    }
}
