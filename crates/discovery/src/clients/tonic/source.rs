use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use ::tonic::{Status, body::Body};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The body of a request as the caller gives it. What breaks it off can be asked for afterwards, as hyper
/// does not tell.
pub(crate) struct Source {
    body: Body,
    fault: Fault,
}

/// Why a body broke off, if it did.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<OnceLock<Status>>);

impl Source {
    pub(super) fn new(body: Body, fault: &Fault) -> Self {
        let fault = fault.clone();
        Self { body, fault }
    }
}

impl Fault {
    pub(super) fn get(&self) -> Option<Status> {
        self.0.get().cloned()
    }
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(status))) = &frame {
            self.fault.0.get_or_init(|| status.clone());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
