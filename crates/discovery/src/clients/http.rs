//! What the clients that speak HTTP have in common.

mod held;
mod key;
mod replay;
#[cfg(feature = "hyper")]
mod route;
#[cfg(feature = "hyper")]
mod trail;
mod verdict;

pub(crate) use self::replay::Replay;
#[cfg(feature = "hyper")]
pub use self::trail::{Trail, Tried};
#[cfg(any(feature = "reqwest", feature = "tonic"))]
pub(crate) use self::verdict::was_not_sent;
pub use self::{held::Held, key::Key, verdict::Idempotent};
#[cfg(feature = "hyper")]
pub(crate) use self::{
    route::pick,
    verdict::{is_idempotent, of_status, was_aborted},
};

/// A second request like this one; none if what was sent of its body is no longer there.
pub(crate) fn copy<B>(request: &http::Request<Replay<B>>) -> Option<http::Request<Replay<B>>> {
    let body = request.body().again()?;
    let mut copy = http::Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
