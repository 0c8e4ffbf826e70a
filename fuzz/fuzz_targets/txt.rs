//! The TXT record of a node, in an announcement that is sound otherwise: it is understood or not,
//! and what is found could have been registered.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vine_fuzz::{Host, announcement};
use vine_registry_mdns::fuzzing;

fuzz_target!(|txt: &[u8]| {
    fuzzing::txt(txt);
    let mut host = Host::new();
    host.receive(&announcement(txt), true);
    host.pass(Duration::from_secs(2));
    assert!(
        host.found.len() <= 1,
        "one announcement is one node: {:?}",
        host.found
    );
});
