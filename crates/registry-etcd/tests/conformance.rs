//! The suite that every engine passes, on real servers: one member, and three.

mod support;

mod one {
    use super::support::{Turn, handles};

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles(Turn::at(1).await)
    );
}

mod three {
    use super::support::{Turn, handles};

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles(Turn::at(3).await)
    );
}
