//! Services and nodes as DNS-SD records (RFC 6763), and back.
//!
//! A node has one PTR at the type, one PTR at the subtype of its service's name, and SRV and TXT
//! at its instance. The instance's label is a hash, so it can be computed but says nothing;
//! readers go by the TXT record alone.

mod extra;
mod names;
mod txt;

pub(crate) use extra::Extras;
pub(crate) use names::Names;
pub(crate) use txt::{Facts, MAX_TXT, Stamp, decode, encode};
