//! Addresses as people write them: what was taken apart goes together again, and no host breaks a
//! line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vine_registry::address::HostPort;

fuzz_target!(|text: &str| {
    let Some(address) = HostPort::parse(text) else {
        return;
    };
    assert!(!address.host.is_empty());
    assert!(
        !address
            .host
            .chars()
            .any(|c| c.is_control() || c.is_whitespace()),
        "{text:?}"
    );
    let joined = HostPort::join(address.host, address.port);
    assert_eq!(
        HostPort::parse(&joined),
        Some(address),
        "{text:?} {joined:?}"
    );
});
