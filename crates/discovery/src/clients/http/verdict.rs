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

#[cfg(test)]
#[cfg(feature = "tonic")]
mod tests {
    use ::hyper::client::conn::http2::handshake;
    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    const NO_ERROR: u32 = 0;
    const INTERNAL_ERROR: u32 = 2;
    const REFUSED_STREAM: u32 = 7;
    const CANCEL: u32 = 8;

    async fn write(io: &mut DuplexStream, kind: u8, stream: u32, payload: &[u8]) {
        let mut frame = vec![0, 0, payload.len() as u8, kind, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        io.write_all(&frame).await.unwrap();
    }

    /// Whether a call counts as not sent that a server answers by one frame and by hanging up, after
    /// it has read the head of the request.
    async fn is_unsent(kind: u8, stream: u32, payload: &[u32]) -> bool {
        let (near, mut far) = duplex(65_536);
        let serve = async {
            write(&mut far, SETTINGS, 0, &[]).await;
            far.read_exact(&mut [0; 24]).await.unwrap();
            loop {
                let mut head = [0; 9];
                far.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; usize::from(head[2])];
                far.read_exact(&mut payload).await.unwrap();
                if head[3] == HEADERS {
                    break;
                }
            }
            let payload: Vec<_> = payload.iter().flat_map(|word| word.to_be_bytes()).collect();
            write(&mut far, kind, stream, &payload).await;
            drop(far);
        };
        let call = async {
            let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(near))
                .await
                .unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("http://x/").body(Empty::<Bytes>::new());
            let error = sender.send_request(request.unwrap()).await.unwrap_err();
            was_not_sent(&error)
        };
        tokio::join!(serve, call).1
    }

    #[tokio::test]
    async fn a_node_says_in_http2_what_it_has_not_acted_on() {
        assert!(is_unsent(RST_STREAM, 1, &[REFUSED_STREAM]).await);
        assert!(!is_unsent(RST_STREAM, 1, &[CANCEL]).await);
        assert!(is_unsent(GOAWAY, 0, &[0, NO_ERROR]).await);
        assert!(!is_unsent(GOAWAY, 0, &[0, INTERNAL_ERROR]).await);
        assert!(
            !is_unsent(GOAWAY, 0, &[1, NO_ERROR]).await,
            "it may have acted on the first stream"
        );
    }
}
