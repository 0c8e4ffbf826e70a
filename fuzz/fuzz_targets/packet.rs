//! A packet from the network, at the group and at the port of one-shot questions: the engine takes
//! it, goes on working for some minutes, and sends no more than it should.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vine_fuzz::Host;
use vine_registry_mdns::fuzzing;

fuzz_target!(|payload: &[u8]| {
    fuzzing::packet(payload);
    let mut host = Host::new();
    for multicast in [true, false] {
        host.receive(payload, multicast);
        host.pass(Duration::from_millis(300));
    }
    host.receive(payload, true);
    host.pass(Duration::from_secs(180));
});
