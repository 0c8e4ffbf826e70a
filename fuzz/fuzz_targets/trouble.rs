//! A packet from the network while the network goes and comes, the machine sleeps, others ask and
//! callers can't reach what was found: the engine goes on, and sends no more than it should.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vine_registry_mdns::fuzzing;

fuzz_target!(|payload: &[u8]| {
    let sent = fuzzing::trouble(payload);
    assert!(sent < 5_000, "{sent} packets in five minutes");
});
