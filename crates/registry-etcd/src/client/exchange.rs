//! One request and its answer, on a stream of HTTP/2 (RFC 9113, section 5).

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::time::Instant;
use tonic::body::Body;

/// An answer of more bytes keeps others waiting where the way is narrow: behind what is on its way
/// already, which is as much as the window of a stream.
const LARGE: usize = 64 << 10;

/// The streams of a connection.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    in_use: AtomicUsize,
    /// On any of them.
    heard: Heard,
    /// Of a large answer on any of them.
    large: Heard,
}

struct InUse(Streams);

/// When something of an answer last came.
#[derive(Debug)]
pub(super) struct Heard {
    asked: Instant,
    millis: AtomicU64,
}

/// What is answered, with its trailers. Dropping it resets the stream, unless there is more to ask.
pub(crate) struct Answer {
    stream: RecvStream,
    heard: Option<Arc<Heard>>,
    /// How many bytes.
    came: usize,
    in_use: InUse,
}

/// What is asked. It takes no more room than it has already: how much the other side takes at a
/// time is left to h2.
struct Asking {
    body: Body,
    stream: SendStream<Bytes>,
    /// Whether it is the last one is known when there is another, or none.
    held: Option<Bytes>,
}

/// Sends a request; gives the answer once it begins. A request that is a stream goes on beside it.
pub(super) fn exchange(
    sender: &mut SendRequest<Bytes>,
    request: Request<Body>,
    streams: Streams,
    heard: Option<Arc<Heard>>,
) -> impl Future<Output = Result<Response<Answer>, h2::Error>> + Send + use<> {
    let in_use = InUse::new(streams);
    let (head, body) = request.into_parts();
    let sent = sender.send_request(Request::from_parts(head, ()), false);
    async move {
        let (answer, stream) = sent?;
        let mut asking = Asking {
            body,
            stream,
            held: None,
        };
        if poll_immediate(&mut asking).await.is_none() {
            tokio::spawn(asking);
        }
        let answer = answer.await?;
        in_use.0.0.heard.now();
        Ok(answer.map(|stream| Answer {
            stream,
            heard,
            came: 0,
            in_use,
        }))
    }
}

impl Streams {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            in_use: AtomicUsize::new(0),
            heard: Heard::new(Instant::now()),
            large: Heard::new(Instant::now()),
        }))
    }

    pub(super) fn are_idle(&self) -> bool {
        self.0.in_use.load(Ordering::Relaxed) == 0
    }

    /// When the other side last answered something on any of them.
    pub(super) fn last_heard(&self) -> Instant {
        self.0.heard.last()
    }

    /// When something of a large answer last came on any of them.
    pub(super) fn last_large(&self) -> Instant {
        self.0.large.last()
    }
}

impl Heard {
    pub(super) fn new(asked: Instant) -> Self {
        Self {
            asked,
            millis: AtomicU64::new(0),
        }
    }

    /// When it was asked for, at first.
    pub(super) fn last(&self) -> Instant {
        self.asked + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn now(&self) {
        let millis = self.asked.elapsed().as_millis();
        let millis = u64::try_from(millis).unwrap_or_default();
        self.millis.store(millis, Ordering::Relaxed);
    }
}

impl InUse {
    fn new(streams: Streams) -> Self {
        streams.0.in_use.fetch_add(1, Ordering::Relaxed);
        Self(streams)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Asking {
    /// A stream that does not take it any more says so to whoever waits for the answer.
    fn send(&mut self, data: Bytes, is_last: bool) {
        let _ = self.stream.send_data(data, is_last);
    }
}

impl Future for Asking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && let Some(before) = self.held.replace(data)
                    {
                        self.send(before, false);
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    let last = self.held.take().unwrap_or_default();
                    self.send(last, true);
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    if let Some(data) = self.held.take() {
                        self.send(data, false);
                    }
                    return self.stream.poll_reset(cx).map(drop);
                }
            }
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // Fails only if the stream has ended, which the next frame says.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.came = self.came.saturating_add(data.len());
                let streams = &*self.in_use.0.0;
                streams.heard.now();
                if let Some(heard) = &self.heard {
                    heard.now();
                    if self.came > LARGE {
                        streams.large.now();
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // A server that has said all resets a stream which its client has not ended (section 8.1).
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(cx));
                Poll::Ready(
                    trailers
                        .transpose()
                        .map(|trailers| trailers.map(Frame::trailers)),
                )
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
