//! The model's JSON, as other programs write it: what was read is written and read again as the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vine::{Capabilities, Service, validate};

fuzz_target!(|text: &str| {
    let Ok(service) = serde_json::from_str::<Service>(text) else {
        return;
    };
    let _ = validate::service(&service, None, &Capabilities::unlimited());
    let json = serde_json::to_string(&service).expect("a service is JSON");
    let again: Service = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(
        serde_json::to_string(&again).expect("a service is JSON"),
        json,
        "{text:?}"
    );
    if validate::service(&service, None, &Capabilities::unlimited()).is_ok() {
        assert_eq!(service, again, "{text:?}");
    }
});
