use std::{fmt, str::FromStr, sync::Arc};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use vine_registry::{Error, Result};

/// What signs in place of nothing: the whole of HMAC-SHA-256.
pub(crate) type Signature = [u8; 32];

/// A secret that all who are to believe each other share, and its name.
///
/// Written as `id:secret`. The secret never shows in `Debug`.
///
/// ```
/// use vine_registry_mdns::Key;
///
/// let key: Key = "2026-11:correct horse battery staple".parse()?;
/// assert_eq!(key.id(), "2026-11");
/// assert!(!format!("{key:?}").contains("horse"));
/// # Ok::<(), vine_registry::Error>(())
/// ```
#[derive(Clone)]
pub struct Key {
    id: Arc<str>,
    mac: Hmac<Sha256>,
    /// Of nothing: by this two keys are compared.
    print: Signature,
}

impl Key {
    /// A key. Its id tells readers which one to check with, and is seen by all.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when the id is not made of 1 to 32 letters, digits, `.`, `_` and `-`,
    /// or the secret is empty.
    pub fn new(id: &str, secret: impl AsRef<[u8]>) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=32).contains(&id.len()) || !id.bytes().all(is_plain) {
            return Err(wrong(
                "has an id that is not 1 to 32 letters, digits, '.', '_' or '-'",
            ));
        }
        let secret = secret.as_ref();
        if secret.is_empty() {
            return Err(wrong("has no secret"));
        }
        let mac: Hmac<Sha256> =
            Mac::new_from_slice(secret).map_err(|_| wrong("has a secret of unusable length"))?;
        Ok(Self {
            id: id.into(),
            print: mac.clone().finalize().into_bytes().into(),
            mac,
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn sign<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Signature {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Takes the same time whatever is wrong.
    pub(crate) fn verifies<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a [u8]>,
        signature: &Signature,
    ) -> bool {
        self.over(parts).verify_slice(signature).is_ok()
    }

    /// Each part with its length, so that no two lists of parts read the same.
    fn over<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (id, secret) = text.split_once(':').ok_or_else(|| wrong("has no ':'"))?;
        Self::new(id, secret)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.print == other.print
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Says nothing of the key itself: it may be in the wrong place.
fn wrong(what: &str) -> Error {
    Error::invalid_option(
        "registry.mdns.key",
        format!(
            "{what}; write id:secret, for instance 2026-11: and then what `openssl rand -hex 32` prints"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_hmac_sha_256() {
        // RFC 4231, test case 2, by way of a single part without its length.
        let key = Key::new("k", "Jefe").unwrap();
        let mut mac = key.mac;
        mac.update(b"what do ya want for nothing?");
        let hex: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = Key::new("k", "secret").unwrap();
        let one = key.sign([&b"ab"[..], b"c"]);
        assert!(key.verifies([&b"ab"[..], b"c"], &one));
        assert!(!key.verifies([&b"a"[..], b"bc"], &one));
        assert!(!key.verifies([&b"abc"[..]], &one));
        assert!(
            !Key::new("k", "other")
                .unwrap()
                .verifies([&b"ab"[..], b"c"], &one)
        );
    }

    #[test]
    fn keys_are_read_and_do_not_show() {
        let key: Key = "a-1:se:cret".parse().unwrap();
        assert_eq!(
            (key.id(), &key),
            ("a-1", &Key::new("a-1", "se:cret").unwrap())
        );
        assert_ne!(key, "a-1:other".parse().unwrap());
        let shown = format!("{key:?}");
        assert!(shown.contains("a-1") && !shown.contains("cret"), "{shown}");
        for wrong in ["", "hunter2", ":hunter2", "a b:hunter2", "a:"] {
            let error = wrong.parse::<Key>().unwrap_err().to_string();
            assert!(
                error.contains("id:secret") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
