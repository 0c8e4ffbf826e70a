//! The Go dialect: the TXT record of a node, the JSON in it, and packets to a process that speaks
//! both dialects. What is understood survives being written, and nobody is made to send much.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vine_registry_mdns::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let sent = fuzzing::go(bytes);
    assert!(sent < 2_000, "{sent} packets in a minute");
});
