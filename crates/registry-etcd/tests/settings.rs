//! How a cluster can be reached, and that each wrong setting gives one clear error in bounded time.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{net::Ipv6Addr, time::Duration};

use tokio::{net::TcpListener, time::Instant};
use vine_etcd_harness::{Certificates, Cluster, ClusterOptions, Mode, Proxy};
use vine_registry::{
    Credentials, Error, Node, Options, Registry, RegistryExt, Service, TlsOptions, Url,
};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

const TIMEOUT: Duration = Duration::from_secs(3);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(2);

fn options(addr: impl Into<String>) -> Options {
    Options::new().with_addrs([addr]).with_timeout(TIMEOUT)
}

fn open(options: Options) -> EtcdRegistry {
    EtcdRegistry::new(options, EtcdOptions::new()).unwrap()
}

#[tokio::test]
async fn a_timeout_may_be_for_ever() {
    let cluster = Cluster::single().await;
    let for_ever = options(cluster.member(0).addr()).with_timeout(Duration::MAX);
    works(for_ever.clone()).await;
    let registry = open(for_ever);
    assert!(registry.list_services().await.unwrap().is_empty());
    let watcher = registry.watch_service("go.vine.test").await;
    assert!(watcher.unwrap().take_snapshot().is_empty());
    registry.close().await.unwrap();
    // A cluster that never answered is not waited for.
    let nowhere = open(options("127.0.0.1:1").with_timeout(Duration::MAX));
    let error = nowhere.list_services().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

/// Registers and finds a service.
async fn works(options: Options) {
    let registry = open(options);
    registry.init().await.unwrap();
    let service = Service::new("go.vine.test", "v1").with_node(Node::new("n", "10.0.0.1:1"));
    registry.register(service).await.unwrap();
    let found = registry.get_service("go.vine.test").await.unwrap();
    assert_eq!(found.node_count(), 1);
    registry.close().await.unwrap();
}

/// Takes connections, and says nothing.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Gives what every call says, which is the same and comes in time; a machine that stood still is
/// given another chance.
async fn fails(options: Options) -> Error {
    let mut late = String::new();
    for _ in 0..5 {
        match fails_in_time(options.clone()).await {
            Ok(error) => return error,
            Err(why) => late = why,
        }
    }
    panic!("{late}");
}

/// What every call says, or which of them came too late.
async fn fails_in_time(options: Options) -> Result<Error, String> {
    let registry = match EtcdRegistry::new(options, EtcdOptions::new()) {
        Ok(registry) => registry,
        Err(error) => return Ok(error),
    };
    let in_time = |from: Instant, limit: Duration, what: &str| {
        let took = from.elapsed();
        let late = || format!("{what} took {took:?}, more than {limit:?}");
        (took < limit + SLACK).then_some(()).ok_or_else(late)
    };
    let from = Instant::now();
    let error = registry.init().await.unwrap_err();
    in_time(from, TIMEOUT, "init")?;
    let service = Service::new("go.vine.test", "v1").with_node(Node::new("n", "10.0.0.1:1"));
    let from = Instant::now();
    let register = registry.register(service).await.unwrap_err();
    let get = registry.get_service("go.vine.test").await.unwrap_err();
    let watch = registry.watch_service("go.vine.test").await.unwrap_err();
    in_time(from, 3 * TIMEOUT, "register, get and watch")?;
    for other in [register, get, watch] {
        let kind = std::mem::discriminant(&error);
        assert_eq!(kind, std::mem::discriminant(&other), "{error} | {other}");
    }
    // Nothing to end, so nothing to fail, however ill the cluster is.
    let from = Instant::now();
    let _told = registry.close().await;
    in_time(from, TIMEOUT, "close")?;
    Ok(error)
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    let lower = text.to_lowercase();
    for part in parts {
        assert!(
            lower.contains(&part.to_lowercase()),
            "{part:?} is not in: {text}"
        );
    }
    assert!(text.lines().count() == 1, "{text}");
}

#[tokio::test]
async fn an_unknown_host() {
    let error = fails(options("no-such-host.invalid:2379")).await;
    says(&error, &["no-such-host.invalid", "--registry.address"]);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let proxy = Proxy::to("127.0.0.1:1").await;
    proxy.set(Mode::Refuse).await;
    let error = fails(options(proxy.addr())).await;
    says(
        &error,
        &[
            &proxy.addr(),
            "refused",
            "is etcd running",
            "--registry.address",
        ],
    );
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers() {
    let silent = silent().await;
    let addr = silent.local_addr().unwrap().to_string();
    let error = fails(options(&*addr)).await;
    assert!(error.is_retryable(), "{error:?}");
    says(&error, &["answer"]);
    let tls = fails(options(&*addr).with_secure(true)).await;
    assert!(tls.is_retryable(), "{tls:?}");
    says(&tls, &[&addr]);
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    let (right, wrong) = (Certificates::new(), Certificates::new());
    let cluster = Cluster::start(ClusterOptions::new().with_tls(&right)).await;
    let secure =
        |ca: &str| options(cluster.addrs().remove(0)).with_tls(TlsOptions::new().with_ca(ca));
    works(secure(&right.ca)).await;
    let error = fails(secure(&wrong.ca)).await;
    says(&error, &["certificate", "ca"]);
    let error = fails(options(cluster.addrs().remove(0)).with_secure(true)).await;
    says(&error, &["certificate", "ca"]);
    let any = TlsOptions::new().with_danger_accept_invalid(true);
    works(options(cluster.addrs().remove(0)).with_tls(any)).await;
}

#[tokio::test]
async fn a_certificate_of_another_host() {
    let elsewhere = Certificates::for_hosts(&["etcd.example"]);
    let cluster = Cluster::start(ClusterOptions::new().with_tls(&elsewhere)).await;
    let tls = TlsOptions::new().with_ca(elsewhere.ca.clone());
    let error = fails(options(cluster.addrs().remove(0)).with_tls(tls.clone())).await;
    says(&error, &["name"]);
    works(options(cluster.addrs().remove(0)).with_tls(tls.with_server_name("etcd.example"))).await;
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_of_another_authority() {
    let (right, wrong) = (Certificates::new(), Certificates::new());
    let cluster = Cluster::start(ClusterOptions::new().with_mutual_tls(&right)).await;
    let with = |tls: TlsOptions| {
        options(cluster.addrs().remove(0)).with_tls(tls.with_ca(right.ca.clone()))
    };
    let identity = |of: &Certificates| {
        TlsOptions::new().with_identity(of.client.cert.clone(), of.client.key.clone())
    };
    works(with(identity(&right))).await;
    let error = fails(with(TlsOptions::new())).await;
    says(&error, &["tls-cert"]);
    let error = fails(with(identity(&wrong))).await;
    says(&error, &["tls-cert"]);
}

#[tokio::test]
async fn keys_and_certificates_that_are_none() {
    let certificates = Certificates::new();
    let (cert, key) = (certificates.client.cert, certificates.client.key);
    for tls in [
        TlsOptions::new().with_ca("no certificate"),
        TlsOptions::new().with_identity("none", key.clone()),
        TlsOptions::new().with_identity(cert.clone(), "none"),
        TlsOptions::new().with_identity(cert, certificates.server.key),
    ] {
        let error = fails(options("127.0.0.1:1").with_tls(tls)).await;
        assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
        says(&error, &["tls"]);
    }
}

#[tokio::test]
async fn plain_text_to_a_port_of_tls_and_the_other_way_round() {
    let certificates = Certificates::new();
    let secure = Cluster::start(ClusterOptions::new().with_tls(&certificates)).await;
    let plain = Cluster::single().await;
    let error = fails(options(secure.addrs().remove(0))).await;
    says(&error, &[&secure.addrs()[0], "tls"]);
    let tls = TlsOptions::new().with_ca(certificates.ca);
    let error = fails(options(plain.addrs().remove(0)).with_tls(tls)).await;
    says(&error, &[&plain.addrs()[0], "tls"]);
}

#[tokio::test]
async fn passwords() {
    let cluster = Cluster::start(ClusterOptions::new().with_argument("--bcrypt-cost=4")).await;
    cluster
        .client()
        .enable_auth("vine", "secret", "/vine/")
        .await;
    cluster.client().add_user("guest", "secret").await;
    let with = |user: &str, password: &str| {
        options(cluster.addrs().remove(0)).with_credentials(Credentials::new(user, password))
    };
    works(with("vine", "secret")).await;
    let denied = |error: &Error| matches!(error, Error::PermissionDenied { .. });
    for wrong in [with("vine", "wrong"), with("nobody", "secret")] {
        let error = fails(wrong).await;
        assert!(denied(&error), "{error:?}");
        says(&error, &["password"]);
        assert!(!format!("{error:?}").contains("secret"));
    }
    let error = fails(options(cluster.addrs().remove(0))).await;
    assert!(denied(&error), "{error:?}");
    says(&error, &["user", "password"]);
    let guest = open(with("guest", "secret"));
    let service = Service::new("go.vine.test", "v1").with_node(Node::new("n", "10.0.0.1:1"));
    let error = guest.register(service).await.unwrap_err();
    assert!(denied(&error), "{error:?}");
    says(&error, &["permission", "role"]);
    let error = guest.get_service("go.vine.test").await.unwrap_err();
    assert!(denied(&error), "{error:?}");
}

/// A password where none is wanted does no harm.
#[tokio::test]
async fn a_password_that_nobody_wants() {
    let cluster = Cluster::single().await;
    let user = Credentials::new("vine", "secret");
    works(options(cluster.addrs().remove(0)).with_credentials(user)).await;
}

#[tokio::test]
async fn passwords_and_certificates_together() {
    let certificates = Certificates::new();
    let cluster = Cluster::start(
        ClusterOptions::new()
            .with_mutual_tls(&certificates)
            .with_argument("--bcrypt-cost=4"),
    )
    .await;
    cluster
        .client()
        .enable_auth("vine", "secret", "/vine/")
        .await;
    let client = certificates.client;
    let tls = TlsOptions::new()
        .with_ca(certificates.ca)
        .with_identity(client.cert, client.key);
    let user = Credentials::new("vine", "secret");
    works(
        options(cluster.addrs().remove(0))
            .with_tls(tls)
            .with_credentials(user),
    )
    .await;
}

#[tokio::test]
async fn several_addresses_of_which_most_are_dead() {
    let cluster = Cluster::single().await;
    let (silent, refusing) = (silent().await, Proxy::to("127.0.0.1:1").await);
    refusing.set(Mode::Refuse).await;
    let silent = silent.local_addr().unwrap().to_string();
    let addrs = [refusing.addr(), silent, cluster.addrs().remove(0)];
    for _ in 0..5 {
        works(Options::new().with_addrs(addrs.clone())).await;
    }
}

#[tokio::test]
async fn schemes_urls_and_ipv6() {
    let certificates = Certificates::new();
    let plain = Cluster::single().await;
    let secure = Cluster::start(ClusterOptions::new().with_tls(&certificates)).await;
    works(options(format!("http://{}", plain.addrs()[0]))).await;
    let tls = TlsOptions::new().with_ca(certificates.ca);
    works(options(format!("https://{}/", secure.addrs()[0])).with_tls(tls)).await;
    let url: Url = format!("etcd://{}/staging", plain.addrs()[0])
        .parse()
        .unwrap();
    works(Options::new().with_url(&url)).await;
    let six = Proxy::listening_on(Ipv6Addr::LOCALHOST.into(), plain.addrs().remove(0)).await;
    assert!(six.addr().starts_with("[::1]:"), "{}", six.addr());
    works(options(six.addr())).await;
    let name = plain.addrs().remove(0).replace("127.0.0.1", "localhost");
    works(options(name)).await;
}
