//! Values that are alike but for their node.

use std::sync::Arc;

use vine_registry::{Node, Service};

use super::Value;

const NODES: &str = r#""nodes":["#;
const EPOCH: &str = r#","epoch":"#;
const CHANGED: &str = r#","changed":"#;
const DEREGISTERED: &str = r#","deregistered":true"#;

/// The text that the values of a service have in common: all that stands before the node and after
/// it, but for the times at the end. Of a value of this form only the node has to be read.
#[derive(Debug)]
pub(crate) struct Form {
    before: Box<str>,
    after: Box<str>,
    /// What that text says.
    source: Arc<Service>,
}

impl Form {
    /// The form of a value that says this of its service; none if it has another one.
    pub(crate) fn of(json: &[u8], source: &Arc<Service>) -> Option<Self> {
        let json = std::str::from_utf8(json).ok()?;
        let (before, rest) = json.split_at_checked(json.find(NODES)? + NODES.len())?;
        let (_, end) = node(rest.as_bytes())?;
        let rest = rest.get(end..)?.strip_prefix(']')?;
        let after = match rest.rfind(EPOCH) {
            Some(at) => rest.get(..at)?,
            None => rest.strip_suffix('}')?,
        };
        // What looked like the place of the only node may be anything else: in an OpenAPI document,
        // or in a field that nobody knows. It is one if a node that is put there is found.
        let id = format!("{:x}", fastrand::u128(..));
        let probe = format!(r#"{before}{{"id":"{id}"}}]{after}{EPOCH}1{CHANGED}2{DEREGISTERED}}}"#);
        let found = Value::decode(probe.as_bytes()).ok()??;
        let expected = Value {
            source: Arc::clone(source),
            node: Arc::new(Node::new(id, "")),
            epoch: Some(1),
            changed: Some(2),
            deregistered: true,
        };
        (found == expected).then(|| Self {
            before: before.into(),
            after: after.into(),
            source: Arc::clone(source),
        })
    }

    /// Reads a value of this form; none if it has another one, or is none.
    pub(crate) fn read(&self, json: &[u8]) -> Option<Value> {
        let rest = json.strip_prefix(self.before.as_bytes())?;
        let (node, end) = node(rest)?;
        let rest = rest.get(end..)?.strip_prefix(b"]")?;
        let rest = rest.strip_prefix(self.after.as_bytes())?;
        let rest = std::str::from_utf8(rest).ok()?.strip_suffix('}')?;
        let (rest, deregistered) = match rest.strip_suffix(DEREGISTERED) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (epoch, changed) = match rest.strip_prefix(EPOCH) {
            Some(times) => {
                let (epoch, changed) = times.split_once(CHANGED)?;
                (Some(number(epoch)?), Some(number(changed)?))
            }
            None => rest.is_empty().then_some((None, None))?,
        };
        Some(Value {
            source: Arc::clone(&self.source),
            node: Arc::new(node),
            epoch,
            changed,
            deregistered,
        })
    }
}

/// The node that this begins with, and where it ends.
fn node(json: &[u8]) -> Option<(Node, usize)> {
    let mut nodes = serde_json::Deserializer::from_slice(json).into_iter();
    let node = nodes.next()?.ok()?;
    Some((node, nodes.byte_offset()))
}

/// A number as JSON has it.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && !is_padded)
}

#[cfg(test)]
mod tests;
