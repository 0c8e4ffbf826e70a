use std::{error::Error, time::Duration};

use ::hyper::body::Incoming;
use ::tonic::Code;
use http::Response;

use super::{Call, deadline};
use crate::{
    Guard,
    clients::{
        Ending,
        http::{Held, Idempotent, Key, copy, was_not_sent},
        tower::Policy,
    },
};

/// What gRPC says of calls and nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grpc {
    idempotent: bool,
}

impl Grpc {
    pub(super) fn new(idempotent: bool) -> Self {
        Self { idempotent }
    }
}

type Answer = Response<Held<Incoming>>;

impl Policy<Call, Answer, hyper::Error> for Grpc {
    fn copy(&self, request: &Call) -> Option<Call> {
        copy(request)
    }

    fn is_whole(&self, request: &Call) -> bool {
        request.body().is_whole()
    }

    fn key(&self, request: &Call) -> Option<u64> {
        Key::of(request.extensions())
    }

    fn timeout(&self, request: &Call) -> Option<Duration> {
        deadline::of(request.headers())
    }

    fn is_idempotent(&self, request: &Call) -> bool {
        let said = request.extensions().get::<Idempotent>();
        said.map_or(self.idempotent, |Idempotent(is)| *is)
    }

    fn ending(&self, result: Result<&Answer, &hyper::Error>) -> Ending {
        match result {
            Ok(answer) => of_answer(answer),
            Err(error) if was_not_sent(error) => Ending::Unsent,
            Err(error) if was_aborted(error) => Ending::Aborted,
            Err(_) => Ending::Failed,
        }
    }

    fn hold(&self, response: &mut Answer, guard: Guard) {
        response.body_mut().hold(guard);
    }
}

/// An error without an answer stands in the headers already.
fn of_answer(answer: &Answer) -> Ending {
    let status = answer.headers().get("grpc-status");
    match status.map(|status| Code::from_bytes(status.as_bytes())) {
        Some(Code::Unavailable) => Ending::Failed,
        Some(Code::Internal | Code::Unknown | Code::DataLoss | Code::DeadlineExceeded) => {
            Ending::Faulty
        }
        // Not by the caller, who would have got no answer: tonic's servers say so of what took too long.
        Some(Code::Cancelled) => Ending::Faulty,
        _ if answer.status().is_server_error() => Ending::Failed,
        _ => Ending::Answered,
    }
}

/// Whether this side reset the stream, as the body of the request broke off: the stream ended in an
/// error, or a message is larger than may be sent.
fn was_aborted(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    // What h2 resets by itself is the node's fault.
    cause.is_some_and(|cause: &h2::Error| {
        cause.is_reset() && !cause.is_remote() && !cause.is_library()
    })
}
