//! How a watch begins.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;
use tracing::info;

use crate::{
    TELEMETRY,
    client::{Client, Failure, Line, Remedy},
    keys::end_of,
    listing::{self, Listing},
    proto::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion},
};

/// How long the stream may take to open and to begin.
pub(super) const OPEN: Duration = Duration::from_millis(1500);

pub(super) type Requests = mpsc::UnboundedSender<WatchRequest>;

/// A watch that has begun.
pub(super) struct Session {
    pub(super) line: Line,
    pub(super) requests: Requests,
    pub(super) answers: Streaming<WatchResponse>,
}

/// Finds out whether to list, and opens the stream.
pub(super) async fn begin(
    client: &Client,
    prefix: &str,
    wants_list: bool,
    mark: i64,
    cluster: u64,
    limit: Duration,
) -> Result<(Session, Option<Listing>), Failure> {
    let mut listing = None;
    if wants_list {
        listing = Some(listing::list(client, prefix, limit).await?);
    } else {
        let newest = listing::newest(client, prefix, limit).await?;
        if newest.cluster != cluster || newest.revision < mark {
            info!("the cluster is another one or an older one: listing again");
            TELEMETRY.resync("another cluster, or an older state");
            listing = Some(listing::list(client, prefix, limit).await?);
        }
    }
    let line = client.line().await?;
    let (requests, receiver) = mpsc::unbounded_channel();
    let mut watch = line.connection.clone().watch();
    let from = listing.as_ref().map_or(mark, |listing| listing.revision) + 1;
    let create = WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: end_of(prefix).into(),
        start_revision: from,
        fragment: true,
        ..Default::default()
    };
    // The server answers the opening together with the first request.
    send(&requests, RequestUnion::CreateRequest(create));
    let opened = timeout(OPEN, watch.watch(crate::stream::of(receiver))).await;
    let failure = match opened {
        Ok(Ok(answers)) => {
            let session = Session {
                line,
                requests,
                answers: answers.into_inner(),
            };
            return Ok((session, listing));
        }
        Ok(Err(status)) => client.failure(status),
        Err(_) => Failure::Silent(OPEN),
    };
    match failure.remedy() {
        Remedy::Authenticate => client.expire(&line),
        _ => client.rotate(&line),
    }
    Err(failure)
}

pub(super) fn send(requests: &Requests, request: RequestUnion) {
    // An ended stream says so by its answers.
    let _ = requests.send(WatchRequest {
        request_union: Some(request),
    });
}
