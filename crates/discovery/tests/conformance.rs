//! The cache passes the suite that every registry passes.

use vine_discovery::Cache;
use vine_registry::{MemoryRegistry, Options};

fn handles() -> (Cache, Cache) {
    let options = Options::new().with_namespace("conformance");
    let a = MemoryRegistry::new().handle_with(options);
    let b = a.handle();
    (Cache::new(a), Cache::new(b))
}

mod memory {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(start_paused = true)]
        handles()
    );
}

/// Several threads, and the clock as it is.
mod in_real_time {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles()
    );
}
