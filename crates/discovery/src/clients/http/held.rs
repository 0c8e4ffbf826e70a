use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use crate::Guard;

/// The body of an answer. Until it ends or is dropped, the call counts as under way at its node.
pub struct Held<B> {
    body: B,
    guard: Option<Guard>,
    /// What is let go together with the guard: the connection, where that is not the body's affair.
    kept: Option<Box<dyn Send + Sync>>,
}

impl<B> Held<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body,
            guard: None,
            kept: None,
        }
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn keep(&mut self, what: impl Send + Sync + 'static) {
        self.kept = Some(Box::new(what));
    }

    pub(crate) fn hold(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let is_over = match &frame {
            // Not all readers ask once more after what they know to be the last.
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if is_over {
            (self.guard, self.kept) = (None, None);
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

impl<B> fmt::Debug for Held<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.guard.as_ref().map(|guard| guard.node());
        f.debug_struct("Held")
            .field("node", &node)
            .finish_non_exhaustive()
    }
}
