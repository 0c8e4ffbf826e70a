use xxhash_rust::xxh3::xxh3_64;

/// What a request is held together with others by, where
/// [`ConsistentHash`](crate::ConsistentHash) chooses: put it into the request's extensions.
///
/// Without one such a request goes to any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub(crate) u64);

impl Key {
    /// The same bytes are the same key, in every process; see
    /// [`Pick::with_key`](crate::Pick::with_key).
    #[must_use]
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self(xxh3_64(key.as_ref()))
    }

    /// That of a request.
    pub(crate) fn of(extensions: &http::Extensions) -> Option<u64> {
        extensions.get().map(|Self(hash)| *hash)
    }
}
