//! What does not fit into TXT keys: deflated JSON in `z0`, `z1`, ...

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::Arc,
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize};
use vine_registry::{Endpoint, Metadata};

/// The most that may come out of inflating (a zip bomb does not get beyond it).
pub(super) const MAX_INFLATED: usize = 64 * 1024;
/// How many decoded blobs are kept: services share their version's endpoints.
const KEPT: usize = 256;

/// The JSON in `z0`, `z1`, ...
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Extra {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Arc<str>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) endpoints: Arc<[Endpoint]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) apis: Arc<[serde_json::Value]>,
    /// Service metadata.
    #[serde(rename = "s", skip_serializing_if = "Metadata::is_empty")]
    pub(super) service: Metadata,
    /// Node metadata.
    #[serde(rename = "m", skip_serializing_if = "Metadata::is_empty")]
    pub(super) node: Metadata,
}

/// Why nothing could be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpackable {
    /// More than [`MAX_INFLATED`].
    TooLarge(usize),
    /// Nested so deeply that nobody could read it.
    TooDeep,
}

impl Extra {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn deflate(&self) -> Result<Vec<u8>, Unpackable> {
        let json = serde_json::to_vec(self).map_err(|_| Unpackable::TooDeep)?;
        if json.len() > MAX_INFLATED {
            return Err(Unpackable::TooLarge(json.len()));
        }
        // serde_json reads 128 levels but writes more.
        if serde_json::from_slice::<Self>(&json).is_err() {
            return Err(Unpackable::TooDeep);
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let written = encoder.write_all(&json).and_then(|()| encoder.finish());
        // Writing to memory does not fail.
        Ok(written.unwrap_or_default())
    }

    fn inflate(deflated: &[u8]) -> Option<Self> {
        let mut json = Vec::new();
        let limit = MAX_INFLATED as u64 + 1;
        DeflateDecoder::new(deflated)
            .take(limit)
            .read_to_end(&mut json)
            .ok()?;
        if json.len() > MAX_INFLATED {
            return None;
        }
        serde_json::from_slice(&json).ok()
    }
}

/// Decoded blobs, so that a thousand nodes of a version share their endpoints.
#[derive(Debug, Default)]
pub(crate) struct Extras(HashMap<Box<[u8]>, Extra>);

impl Extras {
    pub(super) fn inflate(&mut self, deflated: &[u8]) -> Option<Extra> {
        if let Some(extra) = self.0.get(deflated) {
            return Some(extra.clone());
        }
        let extra = Extra::inflate(deflated)?;
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(deflated.into(), extra.clone());
        Some(extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_what_it_has_inflated_before() {
        let extra = Extra {
            endpoints: [Endpoint::new("Test.Call")].into(),
            ..Extra::default()
        };
        let deflated = extra.deflate().unwrap();
        let mut extras = Extras::default();
        let a = extras.inflate(&deflated).unwrap();
        let b = extras.inflate(&deflated).unwrap();
        assert_eq!(a, extra);
        assert!(Arc::ptr_eq(&a.endpoints, &b.endpoints));
    }

    #[test]
    fn a_zip_bomb_costs_little() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 5_000_000]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 8_000);
        assert_eq!(Extras::default().inflate(&bomb), None);
        assert_eq!(Extras::default().inflate(b"no deflate"), None);
    }

    #[test]
    fn too_much_and_too_deep_are_told() {
        let long = "x".repeat(MAX_INFLATED);
        let extra = Extra {
            node: Metadata::from([("k", long.as_str())]),
            ..Extra::default()
        };
        assert!(matches!(extra.deflate(), Err(Unpackable::TooLarge(_))));
        let deep = (0..200).fold(serde_json::Value::Null, |inner, _| {
            [inner].into_iter().collect()
        });
        let extra = Extra {
            apis: [deep].into(),
            ..Extra::default()
        };
        assert_eq!(extra.deflate(), Err(Unpackable::TooDeep));
    }
}
