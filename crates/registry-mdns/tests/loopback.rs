//! The registry over real sockets, on loopback: each test has a port of its own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::time::{Instant, timeout};
use vine_registry::{
    Action, DeregisterOptions, Error, Event, GetOptions, ListOptions, Namespaces, Node, Options,
    RegisterOptions, Registry, RegistryExt, Service, Wait, Watcher,
};
use vine_registry_mdns::{Dialect, MdnsOptions, MdnsRegistry};

const NAME: &str = "go.vine.test";

fn handle(port: u16) -> MdnsRegistry {
    with(
        MdnsOptions::new()
            .with_port(port)
            .with_interfaces(["127.0.0.1"]),
    )
}

fn with(mdns: MdnsOptions) -> MdnsRegistry {
    MdnsRegistry::new(Options::new(), mdns).expect("the options are fine")
}

fn service(ids: &[&str]) -> Service {
    let node = |id: &&str| Node::new(*id, "127.0.0.1:8080");
    Service::new(NAME, "v1").with_nodes(ids.iter().map(node))
}

/// On a machine that has other things to do; for longer than what is lost is believed.
const PATIENCE: Duration = Duration::from_secs(200);

async fn event(watcher: &mut Watcher) -> Event {
    let event = timeout(PATIENCE, watcher.next_event()).await;
    event.expect("an event").expect("the watch goes on")
}

fn first_id(event: &Event) -> &str {
    event.service.nodes.nth(0).map_or("", |node| &node.id)
}

#[tokio::test]
async fn what_one_registers_another_finds() {
    let (one, other) = (handle(18_001), handle(18_001));
    one.register(service(&["a", "b"])).await.unwrap();
    let found = other.get_service(NAME).await.unwrap();
    assert_eq!(found.node_count(), 2);
    assert_eq!(&*found[0].namespace, "vine");
    assert_eq!(one.get_service(NAME).await.unwrap(), found);

    let list = other.list_services().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((&*list[0].name, list[0].nodes), (NAME, Some(2)));
}

#[tokio::test]
async fn a_watch_hears_create_update_and_delete() {
    let (one, other) = (handle(18_002), handle(18_002));
    let mut watch = other.watch_service(NAME).await.unwrap();
    assert!(watch.take_snapshot().is_empty());

    one.register(service(&["a"])).await.unwrap();
    let created = event(&mut watch).await;
    assert_eq!((created.action, first_id(&created)), (Action::Create, "a"));

    let changed = Node::new("a", "127.0.0.1:9090").with_metadata([("k", "v")]);
    one.register(Service::new(NAME, "v1").with_node(changed.clone()))
        .await
        .unwrap();
    let updated = event(&mut watch).await;
    assert_eq!(updated.action, Action::Update);
    assert_eq!(**updated.service.nodes.get("a").unwrap(), changed);

    one.deregister(&service(&["a"])).await.unwrap();
    let deleted = event(&mut watch).await;
    assert_eq!((deleted.action, first_id(&deleted)), (Action::Delete, "a"));
    assert!(deleted.deregistered, "its owner said so");
    let gone = other.get_service(NAME).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn closing_says_goodbye_and_ends_watches() {
    let (one, other) = (handle(18_003), handle(18_003));
    one.register(service(&["a", "b"])).await.unwrap();
    let mut watch = other.watch_service(NAME).await.unwrap();
    assert_eq!(watch.take_snapshot().node_count(), 2);
    let mut own = one.watch_service(NAME).await.unwrap();

    one.close().await.unwrap();
    let mut gone = 0;
    while gone < 2 {
        let event = event(&mut watch).await;
        assert_eq!(event.action, Action::Delete);
        gone += event.service.nodes.len();
    }
    while let Some(update) = own.next().await {
        assert!(
            matches!(update, vine_registry::Update::Event(_)),
            "{update:?}"
        );
    }
    assert!(matches!(one.init().await, Err(Error::Closed)));
}

#[tokio::test]
async fn dropping_the_last_clone_says_goodbye() {
    let (one, other) = (handle(18_004), handle(18_004));
    let clone = one.clone();
    one.register(service(&["a"])).await.unwrap();
    let mut watch = other.watch_service(NAME).await.unwrap();
    drop(one);
    clone.register(service(&["b"])).await.unwrap();
    assert_eq!(event(&mut watch).await.action, Action::Create);
    drop(clone);
    assert_eq!(event(&mut watch).await.action, Action::Delete);
}

#[tokio::test]
async fn another_port_is_another_world() {
    let (one, other) = (handle(18_005), handle(18_006));
    one.register(service(&["a"])).await.unwrap();
    let found = other.get_service(NAME).await;
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
}

#[tokio::test]
async fn ipv4_alone_will_do() {
    let options = || {
        MdnsOptions::new()
            .with_port(18_007)
            .with_interfaces(["127.0.0.1"])
            .with_ipv6(false)
    };
    let (one, other) = (with(options()), with(options()));
    one.register(service(&["a"])).await.unwrap();
    assert_eq!(other.get_service(NAME).await.unwrap().node_count(), 1);
}

#[tokio::test]
async fn without_an_interface_it_is_unavailable_and_says_why() {
    let nowhere = MdnsOptions::new()
        .with_port(18_008)
        .with_interfaces(["no-such-interface"]);
    let registry = with(nowhere);
    let watch = MdnsRegistry::new(
        Options::new().with_timeout(Duration::from_millis(200)),
        registry.mdns_options().clone(),
    )
    .unwrap();
    for error in [
        registry.init().await.unwrap_err(),
        registry.get_service(NAME).await.unwrap_err(),
        registry.list_services().await.unwrap_err(),
        registry.register(service(&["a"])).await.unwrap_err(),
        watch.watch_service(NAME).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("no-such-interface"), "{error}");
    }
    let stale = GetOptions::new().with_allow_stale(true);
    let known = registry.get_service_with(NAME, &stale).await.unwrap();
    assert_eq!(known.node_count(), 1, "its own registration is known");
}

#[tokio::test]
async fn once_browsed_it_answers_without_asking() {
    let (one, other) = (handle(18_009), handle(18_009));
    one.register(service(&["a"])).await.unwrap();
    other.get_service(NAME).await.unwrap();
    let mut ready = 0;
    for _ in 0..1000 {
        let mut call = polled_once(other.get_service(NAME));
        ready += usize::from(call.take().is_some());
    }
    assert_eq!(ready, 1000, "each is answered by its first poll");
}

/// Polls once.
fn polled_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_first_node_will_do() {
    let (one, other) = (handle(18_010), handle(18_010));
    one.register(service(&["a"])).await.unwrap();
    let first = GetOptions::new().with_wait(Wait::First);
    let found = other.get_service_with(NAME, &first).await.unwrap();
    assert_eq!(found.node_count(), 1);
}

#[tokio::test]
async fn an_old_node_of_somebody_else_is_not_ones_own() {
    let (one, other) = (handle(18_011), handle(18_011));
    one.register(service(&["a"])).await.unwrap();
    // This handle has never heard of it and finds out.
    let refused = other.deregister(&service(&["a"])).await;
    assert!(
        matches!(refused, Err(Error::NotOwner { .. })),
        "{refused:?}"
    );
    let force = DeregisterOptions::new().with_force(true);
    let refused = other.deregister_with(&service(&["a"]), &force).await;
    assert!(
        matches!(&refused, Err(Error::Unsupported { remedy, .. }) if remedy.contains("stop")),
        "{refused:?}"
    );
    other.deregister(&service(&["b"])).await.unwrap();
}

/// A machine that lets no process run for a whole ttl ends it too early; then it is tried again.
#[tokio::test]
async fn a_ttl_ends_by_itself_unless_it_is_renewed() {
    const TTL: Duration = Duration::from_secs(1);
    let (one, other) = (handle(18_012), handle(18_012));
    let mut watch = other.watch_service(NAME).await.unwrap();
    let options = RegisterOptions::new().with_ttl(TTL);
    let registered = Arc::new(service(&["a"]));
    let register = || one.register_with(Arc::clone(&registered), &options);
    loop {
        let mut renewed = Instant::now();
        register().await.unwrap();
        let mut longest = Duration::ZERO;
        for _ in 0..6 {
            tokio::time::sleep(TTL / 4).await;
            let before = Instant::now();
            register().await.unwrap();
            longest = longest.max(renewed.elapsed());
            renewed = before;
        }
        assert_eq!(event(&mut watch).await.action, Action::Create);
        assert_eq!(event(&mut watch).await.action, Action::Delete);
        if longest < TTL {
            let after = renewed.elapsed();
            assert!(after >= TTL, "{after:?}");
            return;
        }
        one.deregister(&registered).await.unwrap();
        watch = other.watch_service(NAME).await.unwrap();
        while watch.take_snapshot().node_count() > 0 {
            watch = other.watch_service(NAME).await.unwrap();
        }
    }
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let (one, other) = (handle(18_013), handle(18_013));
    one.register(service(&["a"]).with_namespace("staging"))
        .await
        .unwrap();
    let own = other.get_service(NAME).await;
    assert!(matches!(own, Err(Error::NotFound { .. })), "{own:?}");
    let staging = GetOptions::new().with_namespace("staging");
    let found = other.get_service_with(NAME, &staging).await.unwrap();
    assert_eq!(found.node_count(), 1);
    assert!(other.list_services().await.unwrap().is_empty());
    let all = ListOptions::new().with_namespace(Namespaces::All);
    assert_eq!(other.list_services_with(&all).await.unwrap().len(), 1);
}

#[test]
fn without_a_runtime_it_says_so() {
    let registry = handle(18_014);
    let error = polled_once(registry.init()).unwrap().unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[test]
fn a_new_runtime_starts_it_anew() {
    let registry = handle(18_015);
    for _ in 0..2 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime
            .block_on(registry.register(service(&["a"])))
            .unwrap();
        let found = runtime.block_on(registry.get_service(NAME)).unwrap();
        assert_eq!(found.node_count(), 1);
    }
}

/// Hears what is said on loopback.
fn ear(port: u16) -> UdpSocket {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::LOCALHOST)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        io::Result::Ok(socket.into())
    };
    open().expect("a socket in the group")
}

/// Whether anything that was said before this call names this.
fn heard(ear: &UdpSocket, id: &str) -> bool {
    let end = format!("all about {id} has been said");
    let speak = || {
        let mouth = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        mouth.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        let group = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), ear.local_addr()?.port());
        mouth.send_to(end.as_bytes(), &group.into())
    };
    speak().expect("the end is said");
    let mut buffer = [0; 9_000];
    let mut heard = false;
    loop {
        let len = ear.recv(&mut buffer).expect("the end is heard");
        if buffer[..len] == *end.as_bytes() {
            return heard;
        }
        let mut parts = buffer[..len].windows(id.len());
        heard |= parts.any(|part| part == id.as_bytes());
    }
}

/// A process may end right after it has deregistered, and one that hands an id over right after the
/// next one has registered it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registered_or_deregistered_has_been_heard() {
    let (one, ear) = (handle(18_042), ear(18_042));
    let mut unheard = Vec::new();
    // So many may be said at once.
    for number in 0..20 {
        let id = format!("number-{number}-of-many");
        one.register(service(&[&id])).await.unwrap();
        if !heard(&ear, &id) {
            unheard.push(format!("{id} comes"));
        }
        one.deregister(&service(&[&id])).await.unwrap();
        if !heard(&ear, &id) {
            unheard.push(format!("{id} goes"));
        }
    }
    // From one processor to another packets may overtake each other.
    assert!(unheard.len() < 4, "{unheard:?}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for options in [
        MdnsOptions::new().with_port(0),
        MdnsOptions::new().with_ipv4(false).with_ipv6(false),
    ] {
        let refused = MdnsRegistry::new(Options::new(), options);
        assert!(matches!(refused, Err(Error::InvalidOption { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_come_and_go_in_the_go_dialect() {
    let go = || {
        with(
            MdnsOptions::new()
                .with_port(18_040)
                .with_interfaces(["127.0.0.1"])
                .with_dialect(Dialect::Vine),
        )
    };
    let (one, other) = (go(), go());
    let ids: Vec<String> = (0..150).map(|number| format!("n{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    one.register(service(&ids)).await.unwrap();
    let mut watch = other.watch_service(NAME).await.unwrap();
    let mut known = watch.take_snapshot().node_count();
    while known < 150 {
        // Of so many packets some get lost where the machine is busy.
        let event = event(&mut watch).await;
        assert_eq!(event.action, Action::Create, "{event:?}");
        known += event.service.nodes.len();
    }
    // A packet for each goodbye, and more of them than may be sent at once.
    one.close().await.unwrap();
    let mut gone = 0;
    while gone < 150 {
        let event = event(&mut watch).await;
        assert_eq!(event.action, Action::Delete, "{event:?}");
        gone += event.service.nodes.len();
    }
    let error = other.get_service(NAME).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn what_the_go_dialect_cannot_tell_is_refused_or_told_by_dns_sd() {
    let speaker = |dialect| {
        with(
            MdnsOptions::new()
                .with_port(18_041)
                .with_interfaces(["127.0.0.1"])
                .with_dialect(dialect),
        )
    };
    let (both, go) = (speaker(Dialect::Both), speaker(Dialect::Vine));
    let mut noise = fastrand::Rng::with_seed(7);
    let noise: String = (0..9_000).map(|_| noise.alphanumeric()).collect();
    let plain = || Node::new("a", "127.0.0.1:80");
    let unfit = [
        (Service::new("größe", "v1").with_node(plain()), "dns-sd"),
        (service(&["two words"]), "dns-sd"),
        (service(&[&"x".repeat(64)]), "dns-sd"),
        (
            Service::new(NAME, "v1").with_node(Node::new("b", "localhost:80")),
            "give an IP address",
        ),
        (
            Service::new("large", "v1").with_node(plain().with_metadata([("k", &*noise)])),
            "dns-sd",
        ),
    ];
    for (service, remedy) in unfit {
        let refused = go.register(service.clone()).await.unwrap_err();
        assert!(refused.to_string().contains(remedy), "{refused}");
        both.register(service.clone()).await.unwrap();
        let dns_sd = speaker(Dialect::DnsSd);
        let found = dns_sd.get_service(&service.name).await.unwrap();
        assert!(found.node_count() > 0);
    }
    let error = go.get_service("größe").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn a_domain_needs_its_dialect() {
    let options = MdnsOptions::new().with_domain("micro");
    let error = MdnsRegistry::new(Options::new(), options.clone()).unwrap_err();
    assert!(error.to_string().contains("mdns.dialect"), "{error}");
    let options = options.with_dialect(Dialect::Both);
    MdnsRegistry::new(Options::new(), options.clone()).unwrap();
    let error = MdnsRegistry::new(Options::new(), options.with_domain("a..b")).unwrap_err();
    assert!(error.to_string().contains("mdns.domain"), "{error}");
}
