//! About how many bytes of memory take what was decoded: by many times more than it took as JSON.

use vine_registry::{Endpoint, Metadata, Value};

/// What a pair of metadata takes beside its text: two shared strings with their counts.
pub(crate) const PAIR: usize = 64;

pub(crate) fn metadata(metadata: &Metadata) -> usize {
    let pairs = metadata.iter();
    pairs
        .map(|(key, value)| PAIR + key.len() + value.len())
        .sum()
}

pub(crate) fn endpoint(endpoint: &Endpoint) -> usize {
    let values = endpoint.request.iter().chain(&endpoint.response);
    size_of::<Endpoint>()
        + endpoint.name.len()
        + metadata(&endpoint.metadata)
        + values.map(value).sum::<usize>()
}

fn value(value_: &Value) -> usize {
    size_of::<Value>()
        + value_.name.len()
        + value_.kind.len()
        + value_.values.iter().map(value).sum::<usize>()
}

pub(crate) fn json(value: &serde_json::Value) -> usize {
    /// What a map of up to eleven keys takes at once.
    const MAP: usize = 640;
    let within = match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(values) => values.iter().map(json).sum(),
        serde_json::Value::Object(map) => {
            let keys = map.iter().map(|(key, value)| 64 + key.len() + json(value));
            (map.len().min(1) * MAP) + keys.sum::<usize>()
        }
        _ => 0,
    };
    size_of::<serde_json::Value>() + within
}
