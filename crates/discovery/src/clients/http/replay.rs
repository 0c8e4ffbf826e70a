use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clients::BoxError;

/// The body of a request, which can be sent again: it remembers what was sent, up to 64 KiB, and
/// reads the rest from the same source. Only the copy that was begun last gets anything.
pub(crate) struct Replay<B> {
    /// None if there is nothing to send, as with most calls.
    shared: Option<Arc<Mutex<Shared<B>>>>,
    /// How many of the frames remembered this copy has sent.
    sent: usize,
    /// Which copy it is, once begun.
    number: Option<u32>,
}

struct Shared<B> {
    body: B,
    frames: Vec<Sent>,
    size: usize,
    /// Too much was sent to remember it.
    is_lost: bool,
    is_over: bool,
    begun: u32,
    /// Whom to tell when another copy begins: the one that waits for more. The source knows only who
    /// asked it last.
    waiting: Option<Waker>,
}

#[derive(Clone)]
enum Sent {
    Data(Bytes),
    Trailers(http::HeaderMap),
}

const LIMIT: usize = 64 * 1024;

impl<B: Body> Replay<B> {
    pub(crate) fn new(body: B) -> Self {
        let shared = (!body.is_end_stream()).then(|| {
            let shared = Shared {
                body,
                frames: Vec::new(),
                size: 0,
                is_lost: false,
                is_over: false,
                begun: 0,
                waiting: None,
            };
            Arc::new(Mutex::new(shared))
        });
        Self {
            shared,
            sent: 0,
            number: None,
        }
    }
}

impl<B> Replay<B> {
    /// A copy to send from the beginning.
    pub(crate) fn again(&self) -> Option<Self> {
        self.is_whole().then(|| Self {
            shared: self.shared.clone(),
            sent: 0,
            number: None,
        })
    }

    /// Whether a copy could still be sent from the beginning.
    pub(crate) fn is_whole(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| !lock(shared).is_lost)
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type Next = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<B> Shared<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The frame after so many.
    fn next(&mut self, sent: usize, cx: &mut Context<'_>) -> Next {
        if let Some(frame) = self.frames.get(sent) {
            return Poll::Ready(Some(Ok(frame.clone().into())));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match next {
            Some(Ok(frame)) => {
                self.remember(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                (self.is_over, self.is_lost) = (true, true);
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.is_over = true;
                Poll::Ready(None)
            }
        }
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        let sent = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Sent::Data(data.clone()),
            (_, Some(trailers)) => Sent::Trailers(trailers.clone()),
            _ => return,
        };
        if let Sent::Data(data) = &sent {
            self.size += data.len();
        }
        if self.size > LIMIT {
            (self.frames, self.is_lost) = (Vec::new(), true);
        }
        if !self.is_lost {
            self.frames.push(sent);
        }
    }
}

impl<B> Body for Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next {
        let this = &mut *self;
        let Some(shared) = &this.shared else {
            return Poll::Ready(None);
        };
        let mut shared = lock(shared);
        let number = *this.number.get_or_insert_with(|| {
            shared.begun += 1;
            if let Some(waiting) = shared.waiting.take() {
                waiting.wake();
            }
            shared.begun
        });
        let is_lost = shared.is_lost && this.sent == 0 && number > 1;
        if number != shared.begun || is_lost {
            return Poll::Ready(Some(Err("the call was tried again elsewhere".into())));
        }
        let next = shared.next(this.sent, cx);
        shared.waiting = next.is_pending().then(|| cx.waker().clone());
        if let Poll::Ready(Some(Ok(_))) = next {
            this.sent += 1;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| {
            let shared = lock(shared);
            shared.frames.len() <= self.sent && (shared.is_over || shared.body.is_end_stream())
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else {
            return SizeHint::with_exact(0);
        };
        let shared = lock(shared);
        let rest = shared.body.size_hint();
        let unsent = shared.frames.iter().skip(self.sent);
        let again: u64 = unsent.map(|frame| frame.len() as u64).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}

impl Sent {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Sent> for Frame<Bytes> {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Data(data) => Self::data(data),
            Sent::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        task::Wake,
    };

    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};

    fn parts(sizes: &'static [usize]) -> Replay<impl Body<Data = Bytes, Error = BoxError> + Unpin> {
        let frames = sizes
            .iter()
            .map(|&size| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; size]))));
        Replay::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn length<B>(body: Replay<B>) -> Result<usize, BoxError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test]
    async fn what_was_sent_is_sent_again_with_the_rest() {
        let mut first = parts(&[10, 20, 30]);
        first.frame().await.unwrap().unwrap();
        let again = first.again().unwrap();
        let third = first.again().unwrap();
        assert_eq!(length(again).await.unwrap(), 60);
        assert!(
            first.frame().await.unwrap().is_err(),
            "not a part of it as if it were all"
        );
        assert_eq!(length(third).await.unwrap(), 60);
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_copy_that_waits_is_told_when_another_one_begins() {
        let waits = || Arc::new(Woken(AtomicBool::new(false)));
        let poll = |body: &mut Replay<_>, woken: &Arc<Woken>| {
            let waker = Arc::clone(woken).into();
            Pin::new(body).poll_frame(&mut Context::from_waker(&waker))
        };
        let source = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let mut first = Replay::new(StreamBody::new(source));
        let mut second = first.again().unwrap();
        let (earlier, later) = (waits(), waits());
        assert!(poll(&mut first, &earlier).is_pending());
        assert!(poll(&mut second, &later).is_pending());
        assert!(earlier.0.load(Ordering::Relaxed), "it would wait for ever");
        assert!(matches!(
            poll(&mut first, &earlier),
            Poll::Ready(Some(Err(_)))
        ));
        assert!(!later.0.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn much_is_not_remembered() {
        let mut first = parts(&[LIMIT, 1]);
        first.frame().await.unwrap().unwrap();
        let early = first.again().unwrap();
        first.frame().await.unwrap().unwrap();
        assert!(first.again().is_none());
        assert!(length(early).await.is_err(), "nothing is left out");
    }

    #[tokio::test]
    async fn nothing_is_sent_again_as_nothing() {
        let first = Replay::new(Full::new(Bytes::new()));
        assert!(first.is_end_stream());
        assert_eq!(first.size_hint().exact(), Some(0));
        let again = first.again().unwrap();
        assert_eq!(length(first).await.unwrap(), 0);
        assert_eq!(length(again).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn size_is_known_as_before() {
        let mut first = Replay::new(Full::new(Bytes::from_static(b"hello")));
        assert_eq!(first.size_hint().exact(), Some(5));
        first.frame().await.unwrap().unwrap();
        assert!(first.is_end_stream());
        assert_eq!(first.again().unwrap().size_hint().exact(), Some(5));
    }
}
