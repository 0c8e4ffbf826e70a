//! Bare calls to one member.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    Certificates,
    proto::{
        CompactionRequest, DeleteRangeRequest, Event, KeyValue, LeaseGrantRequest,
        LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MoveLeaderRequest,
        PutRequest, RangeRequest, StatusRequest, StatusResponse, WatchCreateRequest, WatchRequest,
        WatchResponse, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
};

/// A server that has not answered by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bare calls to one member, by the generated client: what a test does behind the registry's back.
#[derive(Clone)]
pub struct Client {
    pub(crate) channel: Channel,
    endpoint: Endpoint,
    /// Whether the cluster wants a password; the calls here are those of `root` then.
    pub(crate) auth: Arc<AtomicBool>,
}

impl Client {
    /// Calls to `addr` (`host:port`), connected by the first one; by TLS with these certificates.
    pub(crate) fn new(
        addr: &str,
        certificates: Option<&Certificates>,
        auth: &Arc<AtomicBool>,
    ) -> Self {
        let scheme = certificates.map_or("http", |_| "https");
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{addr}"))
            .unwrap()
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        if let Some(certificates) = certificates {
            let identity = &certificates.client;
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&certificates.ca))
                .domain_name(&certificates.host)
                .identity(Identity::from_pem(&identity.cert, &identity.key));
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        Self {
            channel: endpoint.connect_lazy(),
            endpoint,
            auth: Arc::clone(auth),
        }
    }

    /// The same on a connection of its own, as another process would have.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            channel: self.endpoint.connect_lazy(),
            ..self.clone()
        }
    }

    /// The generated client of keys and values.
    #[must_use]
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// The generated client of watches.
    #[must_use]
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// The generated client of leases.
    #[must_use]
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// Writes a key, under a lease unless that is 0.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
            lease,
        };
        self.kv().put(self.request(request).await).await.unwrap();
    }

    /// What stands under keys that begin with `prefix`.
    pub async fn range(&self, prefix: &str) -> Vec<KeyValue> {
        let request = RangeRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: prefix_end(prefix),
            ..RangeRequest::default()
        };
        self.kv()
            .range(self.request(request).await)
            .await
            .unwrap()
            .into_inner()
            .kvs
    }

    /// Deletes the keys that begin with `prefix`; says how many there were.
    pub async fn delete(&self, prefix: &str) -> i64 {
        let request = DeleteRangeRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: prefix_end(prefix),
        };
        let response = self
            .kv()
            .delete_range(self.request(request).await)
            .await
            .unwrap();
        response.into_inner().deleted
    }

    /// What happens from now on to keys that begin with `prefix`, by a bare watch.
    pub async fn events(&self, prefix: &str) -> Events {
        let create = WatchCreateRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: prefix_end(prefix),
            start_revision: 0,
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        // A stream of requests that ends, ends the watch.
        let requests = stream::iter([request]).chain(stream::pending());
        let response = self.watch().watch(self.request(requests).await).await;
        let mut events = Events(response.unwrap().into_inner());
        assert!(events.next().await.is_empty(), "it begins with created");
        events
    }

    /// The revision of the whole store.
    pub async fn revision(&self) -> i64 {
        let request = RangeRequest {
            key: Bytes::from_static(b"/"),
            ..RangeRequest::default()
        };
        let response = self
            .kv()
            .range(self.request(request).await)
            .await
            .unwrap()
            .into_inner();
        response.header.unwrap_or_default().revision
    }

    /// Forgets the history before the present revision.
    pub async fn compact(&self) {
        let request = CompactionRequest {
            revision: self.revision().await,
            physical: true,
        };
        self.kv()
            .compact(self.request(request).await)
            .await
            .unwrap();
    }

    /// Makes a lease of so many seconds.
    pub async fn grant(&self, ttl: i64) -> i64 {
        let request = LeaseGrantRequest { ttl, id: 0 };
        let response = self
            .lease()
            .lease_grant(self.request(request).await)
            .await
            .unwrap();
        response.into_inner().id
    }

    /// Every lease that there is.
    pub async fn leases(&self) -> Vec<i64> {
        let response = self
            .lease()
            .lease_leases(self.request(LeaseLeasesRequest {}).await)
            .await;
        let leases = response.unwrap().into_inner().leases;
        leases.into_iter().map(|lease| lease.id).collect()
    }

    /// The keys under a lease.
    pub async fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let response = self
            .lease()
            .lease_time_to_live(self.request(request).await)
            .await
            .unwrap();
        response.into_inner().keys
    }

    /// Ends a lease, and its keys with it.
    pub async fn revoke(&self, id: i64) {
        let request = LeaseRevokeRequest { id };
        self.lease()
            .lease_revoke(self.request(request).await)
            .await
            .unwrap();
    }

    /// Makes another member the leader; asked of the leader alone.
    ///
    /// # Errors
    /// What the server says.
    pub async fn move_leader(&self, target_id: u64) -> Result<(), Status> {
        let request = MoveLeaderRequest { target_id };
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        maintenance.move_leader(request).await.map(drop)
    }

    /// What the member says of itself.
    ///
    /// # Errors
    /// What the server says, or why it can't be reached.
    pub async fn status(&self) -> Result<StatusResponse, Status> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        let response = maintenance.status(StatusRequest {}).await?;
        Ok(response.into_inner())
    }

    /// Whether the member answers what needs a quorum, be it by a refusal.
    pub(crate) async fn serves(&self) -> bool {
        let known = self.status().await.is_ok_and(|status| status.leader != 0);
        let request = RangeRequest {
            key: Bytes::from_static(b"/"),
            ..RangeRequest::default()
        };
        known
            && match self.kv().range(request).await {
                Ok(_) => true,
                Err(status) => status.message().contains("user name is empty"),
            }
    }
}

/// What a bare watch tells.
#[derive(Debug)]
pub struct Events(Streaming<WatchResponse>);

impl Events {
    /// Waits for the next response; it holds everything that happened at one revision, or more.
    pub async fn next(&mut self) -> Vec<Event> {
        let response = self.0.message().await.unwrap().unwrap();
        assert!(!response.canceled, "{response:?}");
        response.events
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.endpoint.uri()).finish()
    }
}

/// The first key behind all that begin with `prefix`.
#[must_use]
pub fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}
