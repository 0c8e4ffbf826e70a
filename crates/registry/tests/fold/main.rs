//! The property that matters most: once quiet, folding the events of any watch over its snapshot
//! gives what `get_service` gives; and that is what a plain model of the contracts says.
//!
//! Random calls of three handles over several services, versions and namespaces, with ttls that
//! run out, handles that close, and watchers of one service or of all that read at once, late, or
//! so late that their queues run over. In paused time.

mod calls;
mod model;
mod watching;
mod world;

use proptest::prelude::*;

use crate::{calls::calls, world::World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn once_quiet_every_watch_folds_to_what_is_found(calls in calls(80)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new();
            for call in calls {
                world.make(call).await;
            }
            world.check().await;
        });
    }
}
