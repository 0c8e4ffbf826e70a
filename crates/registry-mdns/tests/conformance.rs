//! The suite that every engine passes, over loopback, in every dialect: each case has a port of its
//! own.

use std::sync::atomic::{AtomicU16, Ordering};

use vine_registry::Options;
use vine_registry_mdns::{Dialect, MdnsOptions, MdnsRegistry};

/// Below the range that systems give out by themselves.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

fn handles(dialect: Dialect) -> (MdnsRegistry, MdnsRegistry) {
    let mdns = MdnsOptions::new()
        .with_port(NEXT_PORT.fetch_add(1, Ordering::Relaxed))
        .with_interfaces(["127.0.0.1"])
        .with_dialect(dialect);
    let options = Options::new().with_namespace("conformance");
    let handle = || MdnsRegistry::new(options.clone(), mdns.clone()).expect("the options are fine");
    (handle(), handle())
}

mod dns_sd {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles(Dialect::DnsSd)
    );
}

mod both {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles(Dialect::Both)
    );
}

mod vine {
    use super::*;

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles(Dialect::Vine)
    );
}
