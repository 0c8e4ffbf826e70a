use std::{fmt, mem::swap, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use super::Text;

type Pair = (Arc<str>, Arc<str>);

/// Key-value pairs of a service, a node or an endpoint: sorted by key, immutable, cheap to clone.
///
/// ```
/// use vine_registry::Metadata;
///
/// let metadata = Metadata::from([("os", "linux"), ("arch", "arm64")]);
/// assert_eq!(metadata.get("os"), Some("linux"));
/// assert_eq!(metadata.with("os", "macos").get("os"), Some("macos"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata(Arc<[Pair]>);

impl Metadata {
    /// Metadata without a pair.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether there is a value for `key`.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same pairs, with `key` set to `value`.
    #[must_use]
    pub fn with(&self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.0
            .iter()
            .cloned()
            .chain([(key.into(), value.into())])
            .collect()
    }

    /// The same pairs without `key`.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(k, _)| **k != *key)
                .cloned()
                .collect(),
        )
    }

    /// Of two pairs with the same key, the later one stays.
    fn of(mut pairs: Vec<Pair>) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        if !pairs.is_sorted_by(|(one, _), (next, _)| one < next) {
            pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
            pairs.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    swap(later, first);
                }
                same
            });
        }
        Self(pairs.into())
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Metadata {
    /// Collects pairs; of two with the same key, the later one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self::of(pairs.map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>, const N: usize> From<[(K, V); N]> for Metadata {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), value)) = map.next_entry::<Text, Option<Text>>()? {
                    pairs.push((key, value.unwrap_or_default().0));
                }
                Ok(Metadata::of(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_pairs_with_the_same_key_the_later_one_stays() {
        let expected = Metadata::from([("a", "3"), ("b", "2"), ("c", "")]);
        assert_eq!(
            Metadata::from([("b", "1"), ("a", "1"), ("b", "2"), ("c", ""), ("a", "3")]),
            expected
        );
        let json = r#"{"b":"1","a":"1","b":"2","c":null,"a":"3"}"#;
        assert_eq!(serde_json::from_str::<Metadata>(json).unwrap(), expected);
        assert_eq!(expected.get("a"), Some("3"));
        assert!(serde_json::from_str::<Metadata>(r#"{"a":1}"#).is_err());
    }
}
