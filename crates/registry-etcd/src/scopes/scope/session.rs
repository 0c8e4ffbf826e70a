//! How a watch begins.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::Streaming;
use tracing::info;

use crate::{
    TELEMETRY,
    client::{Client, Failure, Line, Remedy},
    keys::end_of,
    listing::{self, Listing, Newest},
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

/// From where a watch goes on.
pub(super) enum Start {
    Listed(Listing),
    /// From the mark; so far the keys have come meanwhile.
    Resumed(Newest),
}

/// Finds out whether to list, and opens the stream.
pub(super) async fn begin(
    client: &Client,
    prefix: &str,
    wants_list: bool,
    mark: i64,
    era: u64,
    limit: Duration,
) -> Result<(Session, Start), Failure> {
    let start = if wants_list {
        Start::Listed(listing::list(client, prefix, limit).await?)
    } else {
        let newest = listing::newest(client, prefix, limit).await?;
        if client.era() != era || newest.revision < mark {
            info!("the cluster is another one or an older one: listing again");
            TELEMETRY.resync("another cluster, or an older state");
            Start::Listed(listing::list(client, prefix, limit).await?)
        } else {
            Start::Resumed(newest)
        }
    };
    let line = client.line().await?;
    let (requests, receiver) = mpsc::unbounded_channel();
    let mut watch = line.connection.clone().watch();
    let from = match &start {
        Start::Listed(listing) => listing.revision,
        Start::Resumed(_) => mark,
    };
    let create = WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: end_of(prefix).into(),
        start_revision: from + 1,
        fragment: true,
        ..Default::default()
    };
    // The server answers the opening together with the first request.
    send(&requests, RequestUnion::CreateRequest(create));
    let opening = watch.watch(crate::stream::of(receiver));
    let opened = line.connection.begins(OPEN, opening).await;
    let failure = match opened {
        Some(Ok(answers)) => {
            let session = Session {
                line,
                requests,
                answers: answers.into_inner(),
            };
            return Ok((session, start));
        }
        Some(Err(status)) => client.failure(status),
        None => Failure::Silent(OPEN),
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
