//! Services and nodes as DNS-SD records (RFC 6763), and back.
//!
//! A node has one PTR at the type, one PTR at the subtype of its service's name, and SRV and TXT
//! at its instance. The instance's label is a hash, so it can be computed but says nothing;
//! readers go by the TXT record alone.

mod blob;
mod extra;
mod names;
mod seal;
mod txt;
pub(crate) mod weight;
mod write;

pub(crate) use blob::{Blob, BlobRef, Digest, chunk_bytes, chunk_name, parse_chunk_name};
pub(crate) use extra::{Extras, MAX_INFLATED, Unread};
pub(crate) use names::Names;
pub(crate) use seal::{Flaw, MAX_ADDRESSES, Subject, push_addresses, seal_len};
pub(crate) use txt::{Facts, Stamp, decode, identity};
pub(crate) use write::{Encoded, Writer};
