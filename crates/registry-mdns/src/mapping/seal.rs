//! Signed TXT records: `k=<id of the key>;<HMAC-SHA-256 in 64 hexadecimal digits>`, always the last
//! string. What it covers: whether it is a goodbye, the instance's name, SRV, and all of the record
//! before it, and so the epoch, the addresses and the blob's digest.

use std::net::IpAddr;

use super::{txt::MAX_STRING, write::push_bytes};
use crate::{
    codec::{Name, Srv, strings},
    key::{Key, Signature},
};

/// So that nothing else that a key signs can be taken for this.
const PURPOSE: &[u8] = b"vine mdns 1";

/// What is signed together with a TXT record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) instance: &'a Name,
    pub(crate) srv: &'a Srv,
    pub(crate) goodbye: bool,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is signed by no key that is known here.
    Unsigned,
    /// The signature is of something else.
    Forged,
}

impl Subject<'_> {
    fn parts<'a>(&self, txt: &'a [u8], fixed: &'a mut Vec<u8>) -> [&'a [u8]; 3] {
        fixed.push(self.goodbye.into());
        fixed.extend(self.srv.port.to_be_bytes());
        for name in [self.instance, &self.srv.target] {
            for label in name.labels() {
                fixed.push(label.len() as u8);
                fixed.extend(label.to_ascii_lowercase());
            }
            fixed.push(0);
        }
        [PURPOSE, fixed, txt]
    }

    /// Signs a TXT record; if it was signed before, anew.
    pub(crate) fn seal(&self, key: &Key, txt: &mut Vec<u8>) {
        if let Some((end, ..)) = split(txt) {
            txt.truncate(end);
        }
        let signature = key.sign(self.parts(txt, &mut Vec::new()));
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        // An id and the digits fit into a string.
        let _ = push_bytes(txt, "k", format!("{};{digits}", key.id()).as_bytes());
    }

    /// Whether one of the keys signed it.
    pub(crate) fn check(&self, keys: &[Key], txt: &[u8]) -> Result<(), Flaw> {
        let (end, id, signature) = split(txt).ok_or(Flaw::Unsigned)?;
        let mut keys = keys.iter().filter(|key| key.id() == id).peekable();
        keys.peek().ok_or(Flaw::Unsigned)?;
        let mut fixed = Vec::new();
        let parts = self.parts(&txt[..end], &mut fixed);
        let mut verifies = keys.map(|key| key.verifies(parts, &signature));
        verifies.any(|yes| yes).then_some(()).ok_or(Flaw::Forged)
    }
}

/// How many bytes a signature adds at most.
pub(crate) fn seal_len(key: &Key) -> usize {
    1 + 2 + key.id().len() + 1 + 64
}

/// The addresses that a signed record vouches for, where it has none of its own: `ip=`, with commas;
/// as many as fit.
pub(crate) fn push_addresses(txt: &mut Vec<u8>, addresses: impl Iterator<Item = IpAddr>) {
    let mut list = String::new();
    for address in addresses {
        let address = address.to_string();
        if list.len() + 1 + address.len() > MAX_ADDRESSES {
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&address);
    }
    let _ = push_bytes(txt, "ip", list.as_bytes());
}

/// How many bytes they take at most.
pub(crate) const MAX_ADDRESSES: usize = MAX_STRING - 3;

/// Where the signed part ends, which key signed it, and the signature.
fn split(txt: &[u8]) -> Option<(usize, &str, Signature)> {
    let mut end = 0;
    let mut last: &[u8] = &[];
    for string in strings(txt) {
        end += 1 + last.len();
        last = string.ok()?;
    }
    // The first one began at 0.
    let end = end.checked_sub(1)?;
    let text = str::from_utf8(last.strip_prefix(b"k=")?).ok()?;
    let (id, digits) = text.split_once(';')?;
    let mut signature = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in signature.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((end, id, signature))
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn name(first: &str) -> Name {
        Name::from_labels([first.as_bytes(), b"local"]).unwrap()
    }

    fn srv(port: u16) -> Srv {
        Srv {
            port,
            target: name("host"),
        }
    }

    #[test]
    fn what_is_signed_cannot_be_changed() {
        let (instance, here) = (name("a"), srv(80));
        let subject = Subject {
            instance: &instance,
            srv: &here,
            goodbye: false,
        };
        let [key, other] = ["k1:one", "k2:two"].map(|key| key.parse::<Key>().unwrap());
        let mut txt = b"\x03n=x\x03v=1".to_vec();
        assert_eq!(subject.check(from_ref(&key), &txt), Err(Flaw::Unsigned));
        subject.seal(&key, &mut txt);
        assert_eq!(subject.check(&[other.clone(), key.clone()], &txt), Ok(()));
        assert_eq!(subject.check(from_ref(&other), &txt), Err(Flaw::Unsigned));
        let same_id = "k1:three".parse().unwrap();
        assert_eq!(subject.check(&[same_id], &txt), Err(Flaw::Forged));
        for at in 0..txt.len() {
            let mut changed = txt.clone();
            changed[at] ^= 1;
            assert!(subject.check(from_ref(&key), &changed).is_err(), "at {at}");
        }
        let (elsewhere, another) = (srv(81), name("b"));
        for wrong in [
            Subject {
                goodbye: true,
                ..subject
            },
            Subject {
                srv: &elsewhere,
                ..subject
            },
            Subject {
                instance: &another,
                ..subject
            },
        ] {
            assert_eq!(wrong.check(from_ref(&key), &txt), Err(Flaw::Forged));
        }
        let upper = Name::from_labels([&b"A"[..], b"LOCAL"]).unwrap();
        let upper = Subject {
            instance: &upper,
            ..subject
        };
        assert_eq!(
            upper.check(from_ref(&key), &txt),
            Ok(()),
            "names have no case"
        );

        let len = txt.len();
        subject.seal(&other, &mut txt);
        assert_eq!((txt.len(), subject.check(&[other], &txt)), (len, Ok(())));
        assert!(txt.len() <= 8 + seal_len(&key));
        assert_eq!(subject.check(&[key], b""), Err(Flaw::Unsigned));
    }
}
