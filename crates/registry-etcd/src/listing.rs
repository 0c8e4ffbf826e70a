use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::Code;

use crate::{
    client::{Client, Failure, Late},
    keys::end_of,
    proto::{
        KeyValue, RangeRequest, ResponseHeader,
        range_request::{SortOrder, SortTarget},
    },
};

/// How many keys are asked for at once.
const PAGE: i64 = 1000;

/// What keys there are at one revision.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) kvs: Vec<KeyValue>,
    pub(crate) revision: i64,
    /// That of the cluster.
    pub(crate) era: u64,
}

/// All keys that begin with `prefix`, page by page, at one revision: linearizable.
pub(crate) async fn list(
    client: &Client,
    prefix: &str,
    within: Duration,
) -> Result<Listing, Failure> {
    let deadline = Instant::now() + within;
    let mut era = client.era();
    let mut page = PAGE;
    let mut listing = None;
    loop {
        let request = next(prefix, page, listing.as_ref());
        let left = deadline.duration_since(Instant::now());
        let answer = client.call("range", left, Late::Wait, |connection| {
            let request = request.clone();
            async move { connection.kv().range(request).await }
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(failure) if failure.is_too_large() && page > 1 => {
                page = (page / 8).max(1);
                continue;
            }
            // The pages so far are of a revision that is no more: begin again.
            Err(failure) if failure.is(Code::OutOfRange, "compacted") && listing.is_some() => {
                listing = None;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let ResponseHeader { revision, .. } = answer.header.unwrap_or_default();
        // It became another one meanwhile, or that is how it was found out.
        if client.era() != era {
            era = client.era();
            listing = None;
            continue;
        }
        let listing = listing.get_or_insert(Listing {
            kvs: Vec::new(),
            revision,
            era,
        });
        if listing.kvs.is_empty() {
            listing.kvs = answer.kvs;
        } else {
            listing.kvs.extend(answer.kvs);
        }
        if !answer.more {
            return Ok(std::mem::replace(
                listing,
                Listing {
                    kvs: Vec::new(),
                    revision,
                    era,
                },
            ));
        }
    }
}

/// How far a range of keys has come.
#[derive(Debug)]
pub(crate) struct Newest {
    /// The number of keys.
    pub(crate) count: usize,
    /// The revision in which one of them was last put.
    pub(crate) mod_revision: i64,
    pub(crate) revision: i64,
}

/// What can be told of the keys that begin with `prefix` without listing them: linearizable.
pub(crate) async fn newest(
    client: &Client,
    prefix: &str,
    within: Duration,
) -> Result<Newest, Failure> {
    let request = RangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: end_of(prefix).into(),
        limit: 1,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Mod.into(),
        keys_only: true,
        ..Default::default()
    };
    let answer = client.call("range", within, Late::Wait, |connection| {
        let request = request.clone();
        async move { connection.kv().range(request).await }
    });
    let answer = answer.await?;
    let ResponseHeader { revision, .. } = answer.header.unwrap_or_default();
    Ok(Newest {
        count: usize::try_from(answer.count).unwrap_or_default(),
        mod_revision: answer
            .kvs
            .first()
            .map(|kv| kv.mod_revision)
            .unwrap_or_default(),
        revision,
    })
}

fn next(prefix: &str, limit: i64, so_far: Option<&Listing>) -> RangeRequest {
    let last = so_far.and_then(|listing| Some((listing.kvs.last()?, listing.revision)));
    let (key, revision) = match last {
        Some((last, revision)) => ([&last.key[..], b"\0"].concat().into(), revision),
        None => (Bytes::copy_from_slice(prefix.as_bytes()), 0),
    };
    RangeRequest {
        key,
        range_end: end_of(prefix).into(),
        limit,
        revision,
        ..Default::default()
    }
}
