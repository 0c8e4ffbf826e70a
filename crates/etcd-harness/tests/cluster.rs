//! The servers do what tests rely on.

use vine_etcd_harness::{
    Certificates, Client, Cluster, ClusterOptions,
    proto::{RangeRequest, event::EventType},
};

const KEY: &str = "/harness/key";

async fn values(client: &Client) -> Vec<String> {
    let values = client.range(KEY).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    values.iter().map(|kv| text(&kv.value)).collect()
}

#[tokio::test]
async fn one_member_keeps_its_data_over_a_kill() {
    let mut cluster = Cluster::single().await;
    cluster.client().put(KEY, "1", 0).await;
    let revision = cluster.client().revision().await;
    cluster.kill();
    assert!(cluster.client().status().await.is_err());
    cluster.restart().await;
    assert_eq!(values(cluster.client()).await, ["1"]);
    assert_eq!(cluster.client().revision().await, revision);
}

#[tokio::test]
async fn data_is_wiped_and_restored() {
    let mut cluster = Cluster::three().await;
    cluster.client().put(KEY, "old", 0).await;
    let id = cluster
        .client()
        .status()
        .await
        .unwrap()
        .header
        .unwrap()
        .cluster_id;
    let saved = cluster.save();
    cluster.client().put(KEY, "new", 0).await;
    cluster.kill();
    cluster.restore(&saved);
    cluster.restart().await;
    assert_eq!(values(cluster.client()).await, ["old"]);
    cluster.kill();
    cluster.wipe();
    cluster.restart().await;
    assert!(values(cluster.client()).await.is_empty());
    let new_id = cluster
        .client()
        .status()
        .await
        .unwrap()
        .header
        .unwrap()
        .cluster_id;
    assert_ne!(new_id, id);
}

#[tokio::test]
async fn three_members_outlive_their_leader() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    cluster.member_mut(leader).kill();
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    cluster.member(next).client().put(KEY, "1", 0).await;
    cluster.restart().await;
    assert_eq!(values(cluster.member(leader).client()).await, ["1"]);
}

#[tokio::test]
async fn a_paused_member_goes_on_where_it_was() {
    let cluster = Cluster::single().await;
    cluster.client().put(KEY, "1", 0).await;
    cluster.member(0).pause();
    let client = cluster.client().clone();
    let mut reading = tokio::spawn(async move { values(&client).await });
    let pause = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(pause, &mut reading).await.is_err());
    cluster.member(0).resume();
    assert_eq!(reading.await.unwrap(), ["1"]);
}

#[tokio::test]
async fn leases_are_seen_and_revoked() {
    let cluster = Cluster::single().await;
    let client = cluster.client();
    let lease = client.grant(60).await;
    client.put(KEY, "1", lease).await;
    assert_eq!(client.leases().await, [lease]);
    assert_eq!(client.lease_keys(lease).await, [KEY]);
    let mut events = client.events(KEY).await;
    client.revoke(lease).await;
    let [event] = &events.next().await[..] else {
        panic!("one key, one event");
    };
    assert_eq!(event.r#type(), EventType::Delete);
    assert!(client.leases().await.is_empty());
    assert!(client.range(KEY).await.is_empty());
}

#[tokio::test]
async fn history_is_compacted() {
    let cluster = Cluster::single().await;
    let client = cluster.client();
    client.put(KEY, "1", 0).await;
    let revision = client.revision().await;
    client.put(KEY, "2", 0).await;
    client.compact().await;
    let request = RangeRequest {
        key: KEY.into(),
        revision,
        ..RangeRequest::default()
    };
    let error = client.kv().range(request).await.unwrap_err();
    assert!(error.message().contains("compacted"), "{error}");
    assert_eq!(client.delete(KEY).await, 1);
}

#[tokio::test]
async fn tls_wants_the_right_authority() {
    let certificates = Certificates::new();
    let options = ClusterOptions::new().with_mutual_tls(&certificates);
    let cluster = Cluster::start(options).await;
    cluster.client().put(KEY, "1", 0).await;
    assert_eq!(values(cluster.client()).await, ["1"]);
}

#[tokio::test]
async fn a_user_may_do_what_was_permitted() {
    let cluster = Cluster::single().await;
    let client = cluster.client();
    client.enable_auth("user", "secret", "/harness/").await;
    client.put(KEY, "1", 0).await;
    client.forbid("user", "/harness/").await;
    client.permit("user", "/harness/").await;
    client.change_password("user", "other").await;
    assert_eq!(values(client).await, ["1"]);
    let without = client.kv().range(RangeRequest::default()).await;
    assert!(without.is_err());
}
