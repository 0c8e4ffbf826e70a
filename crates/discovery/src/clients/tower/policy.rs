use std::{fmt, time::Duration};

use crate::{Guard, clients::Ending};

/// What a [`Balanced`](super::Balanced) has to know of a protocol: what may be tried again, and what
/// an answer says of the node.
pub trait Policy<Request, Response, Error>: fmt::Debug + Send + Sync + 'static {
    /// What a second attempt would send; none if there can't be one.
    fn copy(&self, request: &Request) -> Option<Request>;

    /// Whether a copy made before the first attempt is still complete after it.
    fn is_whole(&self, copy: &Request) -> bool {
        let _ = copy;
        true
    }

    /// What calls are held together by, where [`ConsistentHash`](crate::ConsistentHash) chooses: a hash,
    /// as that of [`Pick::with_key`](crate::Pick::with_key).
    fn key(&self, request: &Request) -> Option<u64> {
        let _ = request;
        None
    }

    /// How long the call may take, all attempts together; without a limit unless said. When that is over,
    /// the call ends with [`CallError::TimedOut`](crate::clients::CallError::TimedOut), and the node that
    /// it is at has failed.
    fn timeout(&self, request: &Request) -> Option<Duration> {
        let _ = request;
        None
    }

    /// Whether the call does no harm when a node acts on it twice.
    fn is_idempotent(&self, request: &Request) -> bool;

    /// How an attempt ended.
    fn ending(&self, result: Result<&Response, &Error>) -> Ending;

    /// Keeps the guard as long as the answer is under way, if it comes in parts. Otherwise the call
    /// is over here.
    fn hold(&self, response: &mut Response, guard: Guard) {
        let _ = (response, guard);
    }
}

/// The policy that tries no call again once it was handed to a node, and takes every error for the
/// node's. Connections that break are still replaced, and not used meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

impl<Request, Response, Error> Policy<Request, Response, Error> for Once {
    fn copy(&self, _: &Request) -> Option<Request> {
        None
    }

    fn is_idempotent(&self, _: &Request) -> bool {
        false
    }

    fn ending(&self, result: Result<&Response, &Error>) -> Ending {
        match result {
            Ok(_) => Ending::Answered,
            Err(_) => Ending::Failed,
        }
    }
}
