use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tracing::debug;
use vine_registry::Result as RegistryResult;

use super::state::{Farewell, Occupant, Put, Task};
use crate::{
    client::{Client, Failure, Late},
    decoder,
    keys::Keys,
    proto::{
        Compare, DeleteRangeRequest, KeyValue, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, TxnResponse,
        compare::{CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    value::{self, MAX_VALUE},
};

/// How many operations etcd takes in one transaction, unless set otherwise, less some.
const MAX_OPERATIONS: usize = 100;

/// The largest value that is put again when the answer is late.
const MAX_REPEATED: usize = 64 << 10;

/// How many values are said farewell to in one transaction, and in how many at a time.
const FAREWELLS: usize = 100;
const FAREWELLS_AT_ONCE: usize = 8;

/// What became of a [`Task`].
pub(super) enum Done {
    Put(Put),
    Deleted {
        occupant: Option<Occupant>,
        revision: i64,
    },
}

/// What came of a request, and whether it may have been made more often than it was answered.
pub(super) struct Answer<T> {
    pub(super) result: Result<T, Failure>,
    pub(super) in_doubt: bool,
}

/// Does what a task says.
pub(super) async fn perform(
    client: &Client,
    keys: Keys,
    namespace: &Arc<str>,
    mut task: Task,
    within: Duration,
) -> Answer<Done> {
    let is_put = matches!(task, Task::Put { .. });
    let late = match &task {
        Task::Put { value, .. } if value.len() > MAX_REPEATED => Late::Wait,
        _ => Late::Repeat,
    };
    if let Task::Delete { farewell, .. } = &mut task
        && let Some(farewell) = farewell.take()
        && let Err(failure @ (Failure::Silent(_) | Failure::Unreachable(_))) =
            Box::pin(say(client, vec![farewell], within)).await
    {
        return Answer {
            result: Err(failure),
            in_doubt: false,
        };
    }
    let mut attempts = 0;
    let answer = client
        .call("txn", within, late, |connection| {
            attempts += 1;
            let request = request(&task);
            async move { connection.kv().txn(request).await }
        })
        .await;
    let unanswered = matches!(answer, Err(Failure::Silent(_) | Failure::Unreachable(_)));
    let result = match (answer, task) {
        (Err(failure), _) => Err(failure),
        (Ok(answer), Task::Delete { .. }) => Ok(deleted(keys, namespace, answer)),
        (Ok(answer), Task::Put { .. }) if answer.succeeded => {
            let revision = answer.header.unwrap_or_default().revision;
            Ok(Done::Put(Put::Done(revision)))
        }
        // Asked only now: what hardly ever happens is not to cost the cluster something each time.
        (Ok(_), Task::Put { key, .. }) => {
            let looked = Box::pin(look(client, &[key], false, within)).await;
            looked.map(|(found, _)| {
                let found = found.into_iter().flatten().next();
                let occupant = found.map(|kv| occupant(keys, namespace, kv));
                Done::Put(occupant.map_or(Put::Vacant, Put::Occupied))
            })
        }
    };
    Answer {
        in_doubt: is_put && attempts > 0 && (attempts > 1 || unanswered),
        result,
    }
}

fn deleted(keys: Keys, namespace: &Arc<str>, answer: TxnResponse) -> Done {
    let revision = answer.header.unwrap_or_default().revision;
    let range = answer
        .responses
        .into_iter()
        .find_map(|response| match response.response {
            Some(Response::ResponseRange(range)) => Some(range),
            _ => None,
        });
    let kv = range.and_then(|range| range.kvs.into_iter().next());
    let occupant = kv.map(|kv| occupant(keys, namespace, kv));
    Done::Deleted { occupant, revision }
}

fn occupant(keys: Keys, namespace: &Arc<str>, kv: KeyValue) -> Occupant {
    let decoded = decoder::decode(keys, namespace, &kv).ok();
    let epoch = decoded.as_ref().and_then(|(_, value)| value.epoch);
    Occupant {
        epoch: epoch.unwrap_or_else(|| decoder::revision(&kv)),
        version: decoded
            .as_ref()
            .map(|(_, value)| Arc::clone(&value.source.version))
            .unwrap_or_default(),
        node: decoded.map(|(node, _)| node),
        lease: kv.lease,
        mod_revision: kv.mod_revision,
        value: kv.value,
    }
}

fn request(task: &Task) -> TxnRequest {
    match task {
        Task::Put {
            key,
            value,
            lease,
            expected,
        } => TxnRequest {
            compare: vec![is_of(key.clone(), *expected)],
            success: vec![operation(Request::RequestPut(PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease: *lease,
            }))],
            failure: Vec::new(),
        },
        Task::Delete { key, lease, .. } => delete(key.clone(), *lease),
    }
}

/// Whether a key was last put in this revision; 0 if it shall not be there.
fn is_of(key: Bytes, revision: i64) -> Compare {
    Compare {
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

fn delete(key: Bytes, lease: i64) -> TxnRequest {
    TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Lease.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::Lease(lease)),
            ..Default::default()
        }],
        success: vec![operation(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.clone(),
            ..Default::default()
        }))],
        failure: vec![range(key, false)],
    }
}

fn range(key: Bytes, keys_only: bool) -> RequestOp {
    operation(Request::RequestRange(RangeRequest {
        key,
        keys_only,
        ..Default::default()
    }))
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// Says at keys that they are about to be deleted because they are deregistered; gives the revision,
/// none if one of them is not as expected. Nothing depends on it but what watchers tell: whether it
/// is said or not, the keys are deleted. It can't come late, since it expects what is gone then.
async fn say(
    client: &Client,
    farewells: Vec<Farewell>,
    within: Duration,
) -> Result<Option<i64>, Failure> {
    let mut request = TxnRequest::default();
    for farewell in farewells {
        let Farewell {
            key,
            value,
            lease,
            expected,
        } = farewell;
        request.compare.push(is_of(key.clone(), expected));
        let put = PutRequest { key, value, lease };
        request.success.push(operation(Request::RequestPut(put)));
    }
    let answer = client.call("txn", within, Late::Wait, |connection| {
        let request = request.clone();
        async move { connection.kv().txn(request).await }
    });
    let answer = answer.await?;
    let revision = answer.header.unwrap_or_default().revision;
    Ok(answer.succeeded.then_some(revision))
}

/// The same of many keys, as far as that can be done until then.
pub(super) async fn say_all(client: &Client, farewells: Vec<Farewell>, until: Instant) {
    let mut parts: Vec<Vec<Farewell>> = Vec::new();
    let mut size = 0;
    for farewell in farewells {
        size += farewell.value.len();
        match parts
            .last_mut()
            .filter(|part| part.len() < FAREWELLS && size <= MAX_VALUE)
        {
            Some(part) => part.push(farewell),
            None => {
                size = farewell.value.len();
                parts.push(vec![farewell]);
            }
        }
    }
    stream::iter(parts)
        .for_each_concurrent(FAREWELLS_AT_ONCE, |part| async {
            let left = until.duration_since(Instant::now());
            if !left.is_zero()
                && let Err(failure) = say(client, part, left).await
            {
                debug!(?failure, "could not say farewell");
            }
        })
        .await;
}

/// Removes what was found at a key, if it still stands there.
pub(super) async fn remove(
    client: &Client,
    key: Bytes,
    occupant: Occupant,
    within: Duration,
) -> Result<(), Failure> {
    let mut said = None;
    if let Some(value) = value::farewell(&occupant.value) {
        let farewell = Farewell {
            key: key.clone(),
            value,
            lease: occupant.lease,
            expected: occupant.mod_revision,
        };
        said = say(client, vec![farewell], within).await.ok().flatten();
    }
    let mut request = delete(key.clone(), occupant.lease);
    // What was said there is put right by a holder that lives: its lease tells whose it is.
    if said.is_none() {
        request.compare = vec![is_of(key, occupant.mod_revision)];
    }
    let answer = client.call("txn", within, Late::Repeat, |connection| {
        let request = request.clone();
        async move { connection.kv().txn(request).await }
    });
    answer.await.map(drop)
}

/// What stands at these keys, without the values if wanted so, and at which revision.
pub(super) async fn look(
    client: &Client,
    keys: &[Bytes],
    keys_only: bool,
    within: Duration,
) -> Result<(Vec<Option<KeyValue>>, i64), Failure> {
    let mut found = Vec::with_capacity(keys.len());
    let mut first = None;
    for keys in keys.chunks(MAX_OPERATIONS) {
        let request = TxnRequest {
            success: keys
                .iter()
                .map(|key| range(key.clone(), keys_only))
                .collect(),
            ..Default::default()
        };
        let answer = client.call("txn", within, Late::Wait, |connection| {
            let request = request.clone();
            async move { connection.kv().txn(request).await }
        });
        let answer = answer.await?;
        first.get_or_insert_with(|| answer.header.unwrap_or_default().revision);
        found.extend(
            answer
                .responses
                .into_iter()
                .map(|response| match response.response {
                    Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
                    _ => None,
                }),
        );
    }
    Ok((found, first.unwrap_or_default()))
}

/// What stands at the keys of nodes, read as nodes.
pub(super) async fn occupants(
    client: &Client,
    layout: Keys,
    namespace: &Arc<str>,
    keys: &[Bytes],
    within: Duration,
) -> RegistryResult<Vec<Option<Occupant>>> {
    let (found, _) = look(client, keys, false, within).await?;
    Ok(found
        .into_iter()
        .map(|kv| Some(occupant(layout, namespace, kv?)))
        .collect())
}

/// Asks for a lease with an id of ours.
pub(super) async fn grant(
    client: &Client,
    id: i64,
    seconds: u64,
    within: Duration,
) -> Result<(), Failure> {
    let request = LeaseGrantRequest {
        ttl: i64::try_from(seconds).unwrap_or(i64::MAX),
        id,
    };
    let answer = client.call(
        "lease_grant",
        within,
        Late::Repeat,
        |connection| async move { connection.lease().lease_grant(request).await },
    );
    match answer.await {
        // By an attempt whose answer did not come.
        Err(failure) if failure.is(tonic::Code::FailedPrecondition, "lease already exists") => {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Ends a lease, and with it all that it holds.
pub(super) async fn revoke(client: &Client, id: i64, within: Duration) -> Result<(), Failure> {
    let request = LeaseRevokeRequest { id };
    let answer = client.call(
        "lease_revoke",
        within,
        Late::Repeat,
        |connection| async move { connection.lease().lease_revoke(request).await },
    );
    match answer.await {
        Err(failure) if failure.is_lease_not_found() => Ok(()),
        other => other.map(drop),
    }
}
