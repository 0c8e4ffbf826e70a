//! The names of records.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::codec::Name;

/// The longest part of a label that a readable text may take before a hash follows.
const READABLE: usize = 46;
/// Bytes of a hash in a label, each two digits.
const HASH: usize = 8;

/// The names that every participant knows.
#[derive(Debug)]
pub(crate) struct Names {
    /// `_vine._tcp.local.`: a PTR for each node.
    pub(crate) service_type: Name,
    /// `_sub._vine._tcp.local.`: below it are the subtypes.
    pub(crate) subtypes: Name,
    /// `_services._dns-sd._udp.local.`: a PTR for each type (RFC 6763 section 9).
    pub(crate) types: Name,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            service_type: name(&["_vine", "_tcp", "local"]).unwrap_or_default(),
            subtypes: name(&["_sub", "_vine", "_tcp", "local"]).unwrap_or_default(),
            types: name(&["_services", "_dns-sd", "_udp", "local"]).unwrap_or_default(),
        }
    }

    /// `_<service>._sub._vine._tcp.local.`: a PTR for each node of a service. Services whose names
    /// are spelled alike share it.
    pub(crate) fn subtype(&self, service: &str) -> Option<Name> {
        let label = format!("_{}", sanitised(service, 62));
        name(&[&label, "_sub", "_vine", "_tcp", "local"])
    }

    /// `<id>-<hash>._vine._tcp.local.`: where SRV and TXT of a node stand.
    pub(crate) fn instance(&self, namespace: &str, service: &str, id: &str) -> Option<Name> {
        // No field can hold a control character.
        let hash = digest(&[namespace, service, id].join("\0"), HASH);
        let mut label = sanitised_whole(id);
        label.truncate(READABLE);
        name(&[&format!("{label}-{hash}"), "_vine", "_tcp", "local"])
    }

    /// `vine-<hash>.local.`: the host name of one advertised address of one engine. Its 64 bits are
    /// as good as unique, so nobody probes for it.
    pub(crate) fn target(&self, seed: u64, host: &str) -> Option<Name> {
        let hash = digest(&format!("{seed:x}\0{host}"), HASH);
        name(&[&format!("vine-{hash}"), "local"])
    }
}

fn name(labels: &[&str]) -> Option<Name> {
    Name::from_labels(labels.iter().map(|label| label.as_bytes()))
}

/// Lower case, everything outside [a-z0-9-] turned to `-`.
fn sanitised_whole(text: &str) -> String {
    let safe = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    text.chars().map(safe).collect()
}

/// The same in at most `limit` bytes: what is longer ends in a hash.
fn sanitised(text: &str, limit: usize) -> String {
    let mut label = sanitised_whole(text);
    if label.len() > limit {
        label.truncate(limit - 1 - 2 * HASH);
        label.push('-');
        label.push_str(&digest(text, HASH));
    }
    label
}

/// The first bytes of SHA-256, as hexadecimal digits.
fn digest(text: &str, bytes: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(bytes)
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: Option<Name>) -> String {
        format!("{:?}", name.unwrap())
    }

    #[test]
    fn names_are_what_peers_expect() {
        let names = Names::new();
        assert_eq!(
            text(names.subtype("Go.Vine.Test")),
            "_go-vine-test._sub._vine._tcp.local."
        );
        assert_eq!(
            text(names.instance("vine", "go.vine.test", "Test 1")),
            "test-1-7256b156a20e2b70._vine._tcp.local."
        );
        let target = names.target(1, "10.0.0.7").unwrap();
        assert!(target.first_label().starts_with(b"vine-"));
        assert_eq!(target.first_label().len(), "vine-".len() + 16, "64 bits");
        assert_ne!(names.target(1, "10.0.0.7"), names.target(2, "10.0.0.7"));
    }

    #[test]
    fn labels_fit_whatever_the_text() {
        let names = Names::new();
        for text in [
            "",
            ".",
            "ä",
            &"x".repeat(62),
            &"x".repeat(63),
            &"日".repeat(85),
        ] {
            let subtype = names.subtype(text).unwrap();
            assert!(subtype.first_label().len() <= 63);
            let instance = names.instance("n", "s", text).unwrap();
            assert!(instance.first_label().len() <= 63);
        }
        assert_eq!(
            names.subtype(&"x".repeat(62)).unwrap().first_label().len(),
            63
        );
        assert_ne!(
            names.subtype(&"x".repeat(70)),
            names.subtype(&"x".repeat(71))
        );
        assert_ne!(names.instance("a", "b", "c"), names.instance("ab", "", "c"));
    }
}
