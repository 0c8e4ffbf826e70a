#[cfg(any(feature = "hyper", feature = "tonic"))]
use std::error::Error;

#[cfg(feature = "hyper")]
use crate::clients::Ending;

/// Says of one request whether a node may act on it twice: put it into the request's extensions.
///
/// Without it the channel says so in gRPC. In HTTP the method does (GET, HEAD, OPTIONS, TRACE, PUT and
/// DELETE: RFC 9110 section 9.2.2), or a header `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotent(pub bool);

/// Whether a request is idempotent by HTTP.
#[cfg(feature = "hyper")]
pub(crate) fn is_idempotent(method: &http::Method, headers: &http::HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

/// What a status says of the node: that it is the wrong one or overloaded, or that it has a fault.
#[cfg(feature = "hyper")]
pub(crate) fn of_status(status: http::StatusCode) -> Ending {
    match status.as_u16() {
        502..=504 => Ending::Failed,
        500..=599 => Ending::Faulty,
        _ => Ending::Answered,
    }
}

/// Whether no node has acted on a call that ended with this error: hyper did not begin to send it,
/// or the node said so (RFC 9113: section 6.8 for GOAWAY, section 8.7 for REFUSED_STREAM).
#[cfg(any(feature = "reqwest", feature = "tonic"))]
pub(crate) fn was_not_sent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<::hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason();
            let went_away = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (went_away || reason == Some(h2::Reason::REFUSED_STREAM));
        }
        cause = error.source();
    }
    false
}

/// Whether the caller's side broke a call off: the body of its request gave an error, or hyper can't
/// send the request as it is.
#[cfg(feature = "hyper")]
pub(crate) fn was_aborted(error: &(dyn Error + 'static)) -> bool {
    let is_user = |error: &::hyper::Error| error.is_user();
    error.downcast_ref().is_some_and(is_user) || error.source().is_some_and(was_aborted)
}
