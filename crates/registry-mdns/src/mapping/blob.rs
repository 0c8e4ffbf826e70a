//! What does not fit into a TXT record: named there by its digest, and kept in chunks, TXT records
//! of their own at `<i>.<digest>.<target label>._vx._vine._tcp.local.`

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::extra::MAX_INFLATED;
use crate::codec::{Name, strings};

/// What a chunk holds: with the lengths of its strings it takes 1,200 bytes.
const CHUNK: usize = 1_195;
const MAX_STRING: usize = 255;
/// Deflating may make what is random a little larger.
pub(crate) const MAX_CHUNKS: u16 = (MAX_INFLATED / CHUNK) as u16 + 2;
/// Below which name chunks stand, after the label of the target.
const PARENT: [&[u8]; 4] = [b"_vx", b"_vine", b"_tcp", b"local"];

/// The first 128 bits of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; 16];
        for (to, from) in digest.iter_mut().zip(Sha256::digest(bytes)) {
            *to = from;
        }
        Self(digest)
    }

    /// None if these are not 32 hexadecimal digits.
    fn parse(digits: &[u8]) -> Option<Self> {
        let digits = str::from_utf8(digits).ok()?;
        let is_plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_plain.then(|| u128::from_str_radix(digits, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a blob in a TXT record: `x=<digest>;<chunks>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) digest: Digest,
    pub(crate) chunks: u16,
}

impl BlobRef {
    /// None if it makes no sense.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (digest, chunks) = value.split_once(';')?;
        let chunks = chunks.parse().ok()?;
        let digest = Digest::parse(digest.as_bytes())?;
        (1..=MAX_CHUNKS)
            .contains(&chunks)
            .then_some(Self { digest, chunks })
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.digest, self.chunks)
    }
}

/// A blob that is held here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: Arc<[u8]>,
}

impl Blob {
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    pub(crate) fn reference(&self) -> BlobRef {
        BlobRef {
            digest: self.digest,
            chunks: self.bytes.len().div_ceil(CHUNK).max(1) as u16,
        }
    }

    /// A chunk as a TXT record.
    pub(crate) fn chunk(&self, index: u16) -> Option<Arc<[u8]>> {
        let chunk = self.bytes.chunks(CHUNK).nth(index.into())?;
        let mut txt = Vec::with_capacity(chunk.len() + chunk.len().div_ceil(MAX_STRING));
        for string in chunk.chunks(MAX_STRING) {
            txt.push(string.len() as u8);
            txt.extend(string);
        }
        Some(txt.into())
    }
}

/// What a chunk's TXT record holds; none if that is too much for one.
pub(crate) fn chunk_bytes(txt: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(txt.len());
    for string in strings(txt) {
        bytes.extend(string.ok()?);
    }
    (bytes.len() <= CHUNK).then_some(bytes)
}

/// Where a chunk stands that the holder with this host name answers for.
pub(crate) fn chunk_name(index: u16, digest: Digest, target: &Name) -> Option<Name> {
    let (index, digest) = (index.to_string(), digest.to_string());
    let labels = [index.as_bytes(), digest.as_bytes(), target.first_label()];
    Name::from_labels(labels.into_iter().chain(PARENT))
}

/// Which chunk of which blob stands at a name, and the label of who holds it; none if it is no
/// chunk's.
pub(crate) fn parse_chunk_name(name: &Name) -> Option<(u16, Digest, &[u8])> {
    let mut labels = name.labels();
    let (index, digest, holder) = (labels.next()?, labels.next()?, labels.next()?);
    for wanted in PARENT {
        labels
            .next()
            .filter(|label| label.eq_ignore_ascii_case(wanted))?;
    }
    if labels.next().is_some() {
        return None;
    }
    let index = str::from_utf8(index).ok()?.parse().ok()?;
    Some((index, Digest::parse(digest)?, holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Name {
        Name::from_labels([&b"vine-0123abcd"[..], b"local"]).unwrap()
    }

    #[test]
    fn a_blob_is_the_sum_of_its_chunks() {
        for len in [1, CHUNK - 1, CHUNK, CHUNK + 1, 65_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let blob = Blob::new(bytes.clone());
            let BlobRef { digest, chunks } = blob.reference();
            let mut whole = Vec::new();
            for index in 0..chunks {
                let txt = blob.chunk(index).unwrap();
                assert!(txt.len() <= 1_200);
                whole.extend(chunk_bytes(&txt).unwrap());
            }
            assert_eq!((whole, blob.chunk(chunks)), (bytes, None));
            assert_eq!(Digest::of(&blob.bytes), digest);
        }
        assert!(chunk_bytes(&[b"\xff".repeat(256), b"\xff".repeat(1_024)].concat()).is_none());
    }

    #[test]
    fn a_reference_is_read_as_it_is_written() {
        let reference = Blob::new([7; 3_000]).reference();
        let text = reference.to_string();
        assert_eq!(BlobRef::parse(&text), Some(reference));
        let digest = reference.digest.to_string();
        assert_eq!((digest.len(), reference.chunks), (32, 3));
        for wrong in [
            String::new(),
            digest.clone(),
            format!("{digest};0"),
            format!("{digest};{}", MAX_CHUNKS + 1),
            format!("{};1", &digest[1..]),
            format!("+{};1", &digest[1..]),
        ] {
            assert_eq!(BlobRef::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_chunk_is_known_by_its_name() {
        let digest = Digest::of(b"x");
        let name = chunk_name(54, digest, &target()).unwrap();
        assert_eq!(
            format!("{name:?}"),
            format!("54.{digest}.vine-0123abcd._vx._vine._tcp.local.")
        );
        let read = parse_chunk_name(&name).unwrap();
        assert_eq!(read, (54, digest, &b"vine-0123abcd"[..]));
        assert_eq!(parse_chunk_name(&target()), None);
        let labels: Vec<_> = name.labels().chain([&b"x"[..]]).collect();
        assert_eq!(parse_chunk_name(&Name::from_labels(labels).unwrap()), None);
    }
}
