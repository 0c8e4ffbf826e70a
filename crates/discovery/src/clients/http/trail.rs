use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vine_registry::Node;

use crate::clients::Ending;

/// Tells which nodes [`hyper::Client`](crate::clients::hyper::Client) tried a call on: put a clone into
/// the request's extensions, and ask when the call is over, be it by an answer, by an error, or
/// because it was waited for no longer.
///
/// ```no_run
/// # async fn call(cache: vine_discovery::Cache) -> Result<(), Box<dyn std::error::Error>> {
/// # use bytes::Bytes;
/// # use http_body_util::Empty;
/// use vine_discovery::clients::{http::Trail, hyper::Client};
///
/// let client: Client<Empty<Bytes>> = Client::new(cache);
/// let trail = Trail::new();
/// let request = hyper::Request::get("http://go.vine.helloworld/").extension(trail.clone());
/// let answer = client.request(request.body(Empty::new())?).await?;
/// if let Some(last) = trail.tried().last() {
///     println!("{} from {}", answer.status(), last.node.id);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Vec<Tried>>>);

/// A node that a call was tried on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tried {
    /// The node.
    pub node: Arc<Node>,
    /// How that ended; none as long as it has not.
    pub ending: Option<Ending>,
}

impl Trail {
    /// One without nodes, for one call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The nodes, in the order in which the call was tried on them: the last one gave the answer, if
    /// there is one.
    #[must_use]
    pub fn tried(&self) -> Vec<Tried> {
        self.lock().clone()
    }

    pub(crate) fn begin(&self, node: &Arc<Node>) {
        let node = Arc::clone(node);
        self.lock().push(Tried { node, ending: None });
    }

    pub(crate) fn end(&self, ending: Ending) {
        if let Some(last) = self.lock().last_mut() {
            last.ending = Some(ending);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
