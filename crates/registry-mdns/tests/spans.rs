//! The spans of the mDNS registry's calls, over loopback. Alone in its program, since that is what spans
//! are switched on for.

use vine_registry::Options;
use vine_registry_conformance::listening::{expected_spans, spans_of_calls};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

#[tokio::test]
async fn each_call_is_a_span() {
    let mdns = MdnsOptions::new()
        .with_port(18_952)
        .with_interfaces(["127.0.0.1"]);
    let registry = MdnsRegistry::new(Options::new(), mdns).expect("the options are fine");
    let spans = spans_of_calls(&registry).await.unwrap();
    assert_eq!(spans, expected_spans("mdns"));
}
