mod form;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use vine_registry::{Error, Node, Result, Service};

pub(crate) use self::form::Form;

/// The largest value that is written, in bytes. etcd takes requests of 1.5 MiB.
pub(crate) const MAX_VALUE: usize = 1 << 20;

/// Room for most values, in bytes.
const USUAL_VALUE: usize = 640;

/// One node as it stands in etcd: the service with that node alone, and when it was registered and
/// changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    /// Has no nodes.
    pub(crate) source: Arc<Service>,
    pub(crate) node: Arc<Node>,
    /// Unix milliseconds of the registration; what Vine for Go writes has none.
    pub(crate) epoch: Option<u64>,
    /// Unix milliseconds of the last change.
    pub(crate) changed: Option<u64>,
    /// Whether it is about to be deleted because it is deregistered.
    pub(crate) deregistered: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    service: &'a Service,
    epoch: u64,
    changed: u64,
}

#[derive(Deserialize)]
struct Stamps {
    #[serde(default, deserialize_with = "lenient")]
    epoch: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    changed: Option<u64>,
    #[serde(default, deserialize_with = "certain")]
    deregistered: bool,
}

/// The value of a node.
///
/// # Errors
/// [`Error::TooLarge`] above 1 MiB.
pub(crate) fn encode(
    service: &Service,
    node: &Arc<Node>,
    epoch: u64,
    changed: u64,
) -> Result<Vec<u8>> {
    let is_alone = service.nodes.len() == 1
        && service
            .nodes
            .nth(0)
            .is_some_and(|other| Arc::ptr_eq(other, node));
    let service = if is_alone {
        Cow::Borrowed(service)
    } else {
        Cow::Owned(service.clone().with_nodes([Arc::clone(node)]))
    };
    let json = Json {
        service: &service,
        epoch,
        changed,
    };
    let mut value = Vec::with_capacity(USUAL_VALUE);
    serde_json::to_writer(&mut value, &json).map_err(|error| {
        Error::invalid_service("apis", format!("can't be written as JSON: {error}"))
    })?;
    if value.len() > MAX_VALUE {
        return Err(Error::TooLarge {
            what: format!("service {:?} with node {:?}", service.name, node.id).into(),
            size: value.len(),
            limit: MAX_VALUE,
        });
    }
    Ok(value)
}

/// The same value with the word that it is about to be deleted because it is deregistered, and not
/// because its lease ends. Who does not know that word sees a value that says the same as before.
pub(crate) fn farewell(value: &[u8]) -> Option<Bytes> {
    let fields = value.trim_ascii_end().strip_suffix(b"}")?;
    Some([fields, br#","deregistered":true}"#].concat().into())
}

impl Value {
    /// Reads what anybody wrote; none if it has no node.
    pub(crate) fn decode(json: &[u8]) -> serde_json::Result<Option<Self>> {
        let service: Service = serde_json::from_slice(json)?;
        let stamps: Stamps = serde_json::from_slice(json)?;
        let Some(node) = service.nodes.nth(0).cloned() else {
            return Ok(None);
        };
        Ok(Some(Self {
            source: Arc::new(service.with_nodes(Vec::<Arc<Node>>::new())),
            node,
            epoch: stamps.epoch,
            changed: stamps.changed,
            deregistered: stamps.deregistered,
        }))
    }
}

/// What is no such number means nothing.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}

/// What is not true is false.
fn certain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)? == serde_json::Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let service = Service::new("s", "v1")
            .with_metadata([("a", "1")])
            .with_ttl(Duration::from_secs(30));
        let node = Arc::new(Node::new("n", "10.0.0.7:80").with_metadata([("z", "1")]));
        let json = encode(&service, &node, 7, 8).unwrap();
        let value = Value::decode(&json).unwrap().unwrap();
        assert_eq!((value.epoch, value.changed), (Some(7), Some(8)));
        assert_eq!((&*value.source, &value.node), (&service, &node));
        assert!(!value.deregistered);
        let farewell = Value::decode(&farewell(&json).unwrap()).unwrap().unwrap();
        let deregistered = true;
        assert_eq!(
            farewell,
            Value {
                deregistered,
                ..value
            }
        );
    }

    #[test]
    fn accepts_null_and_the_unknown() {
        let json = json!({
            "name": "s", "version": null, "metadata": null, "apis": null, "endpoints": null, "new": 1,
            "epoch": null, "changed": -1, "deregistered": "no",
            "nodes": [{ "id": "n", "address": "10.0.0.7:80", "metadata": null, "port": null }],
        });
        let value = Value::decode(json.to_string().as_bytes()).unwrap().unwrap();
        assert_eq!((value.epoch, value.changed), (None, None));
        assert_eq!(&*value.node.address, "10.0.0.7:80");
        assert!(
            Value::decode(br#"{"name":"s","nodes":null}"#)
                .unwrap()
                .is_none()
        );
        assert!(Value::decode(b"{").is_err());
    }

    #[test]
    fn refuses_what_is_too_large() {
        let node =
            Arc::new(Node::new("n", "10.0.0.7:80").with_metadata([("k", "x".repeat(MAX_VALUE))]));
        let error = encode(&Service::new("s", "v1"), &node, 1, 1).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { size, .. } if size > MAX_VALUE),
            "{error}"
        );
    }
}
