use futures_util::{Stream, stream};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is received, as a stream.
pub(crate) fn of<T: Send + 'static>(
    mut receiver: UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}
