//! The spans of the memory registry's calls. Alone in its program, since that is what spans are switched
//! on for.

use vine_registry::MemoryRegistry;
use vine_registry_conformance::listening::{expected_spans, spans_of_calls};

#[tokio::test]
async fn each_call_but_a_look_up_is_a_span() {
    let spans = spans_of_calls(&MemoryRegistry::new()).await.unwrap();
    let mut expected = expected_spans("memory");
    expected.retain(|span| !span.starts_with("get_service"));
    assert_eq!(spans, expected);
}
