//! The memory registry passes the suite: by its own type, and behind `Arc` and `Box`.

use std::sync::Arc;

use vine_registry::{MemoryRegistry, Options, Registry};

fn handles() -> (MemoryRegistry, MemoryRegistry) {
    let options = Options::new().with_namespace("conformance");
    let a = MemoryRegistry::new().handle_with(options);
    let b = a.handle();
    (a, b)
}

mod memory {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(start_paused = true)]
        handles()
    );
}

mod through_arc {
    use super::*;

    fn arcs() -> (Arc<dyn Registry>, Arc<dyn Registry>) {
        let (a, b) = handles();
        (Arc::new(a), Arc::new(b))
    }

    vine_registry_conformance::conformance!(
        #[tokio::test(start_paused = true)]
        arcs()
    );
}

mod through_box {
    use super::*;

    fn boxes() -> (Box<dyn Registry>, Box<dyn Registry>) {
        let (a, b) = handles();
        (Box::new(a), Box::new(b))
    }

    vine_registry_conformance::conformance!(
        #[tokio::test(start_paused = true)]
        boxes()
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
