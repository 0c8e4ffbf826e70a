//! What is refused, and that the error names the field.

use std::sync::Arc;

use vine_registry::{Error, GetOptions, Node, RegistryExt, Service, WatchOptions};

use crate::{
    Handle,
    expect::{WHILE, both, register, sees, stays},
    samples::{NAME, marked, named, node, noise, service},
};

/// Text that is no name: empty, or taken by file systems and paths, or with control characters.
const NO_NAMES: [&str; 6] = ["", ".", "..", "a\nb", "\0", "tab\t"];

/// Expects that `service` is refused with an error that names `field`, and not registered.
async fn refused(registry: Handle<'_>, service: Service, field: &str) {
    let shown = format!("{service:?}");
    match registry.register(service).await {
        Err(Error::InvalidService {
            field: named,
            reason,
        }) => {
            assert!(
                named.contains(field),
                "Error::InvalidService names the field {field:?}; got {named:?} for {shown}"
            );
            assert!(
                !reason.is_empty(),
                "Error::InvalidService says what is wrong with {shown}"
            );
        }
        other => {
            panic!("register refuses this {field} with InvalidService; got {other:?} for {shown}")
        }
    }
}

pub(crate) async fn names_that_are_none(a: Handle<'_>, b: Handle<'_>) {
    for text in NO_NAMES {
        refused(a, named(text, "v1", "n1"), "name").await;
        refused(a, service("v1", "").with_node(node(text)), "id").await;
        if !text.is_empty() {
            refused(a, service("v1", "n1").with_namespace(text), "namespace").await;
        }
    }
    refused(a, service("v\n1", "n1"), "version").await;
    let listing = b.list_services().await.expect("list_services answers");
    assert_eq!(listing, [], "nothing was registered");
}

pub(crate) async fn names_that_are_too_long(a: Handle<'_>, b: Handle<'_>) {
    let most = a.capabilities().max_name_len;
    let longest = "n".repeat(most);
    let too_long = "n".repeat(most + 1);
    refused(a, named(&too_long, "v1", "n1"), "name").await;
    refused(a, service("v1", &too_long), "id").await;
    refused(
        a,
        service("v1", "n1").with_namespace(&*too_long),
        "namespace",
    )
    .await;
    register(a, named(&longest, "v1", &longest)).await;
    for registry in [a, b] {
        sees(registry, &longest, &format!("v1: {longest}")).await;
    }
    both(a, b, "").await;
}

pub(crate) async fn no_nodes_and_twice_the_same(a: Handle<'_>, b: Handle<'_>) {
    refused(a, service("v1", ""), "nodes").await;
    let twice = service("v1", "").with_nodes([node("n1"), marked("n1", "again")]);
    refused(a, twice, "id").await;
    both(a, b, "").await;
}

pub(crate) async fn addresses_that_are_none(a: Handle<'_>, b: Handle<'_>) {
    let addresses = [
        "",
        "127.0.0.1",
        ":80",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "127.0.0.1:0",
        "::1:80",
        "[::1]",
        "[127.0.0.1",
        "http://127.0.0.1:80",
        "a b:80",
    ];
    for address in addresses {
        let bad = service("v1", "").with_node(Node::new("n1", address));
        refused(a, bad, "address").await;
    }
    both(a, b, "").await;
}

pub(crate) async fn one_bad_node_spoils_the_call(a: Handle<'_>, b: Handle<'_>) {
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    let mixed = service("v1", "n2").with_nodes([
        marked("n1", "changed"),
        node("n2"),
        Node::new("n3", "nowhere"),
    ]);
    refused(a, mixed, "address").await;
    stays(b, "v1: n1", WHILE).await;
    crate::expect::holds(b, &service("v1", "n1")).await;
}

pub(crate) async fn names_that_are_looked_up(a: Handle<'_>, b: Handle<'_>) {
    register(b, service("v1", "n1")).await;
    let named_field = |what: &str, error: Option<Error>| match error {
        Some(Error::InvalidService { field, .. }) => {
            assert!(
                ["name", "service", "namespace"].contains(&&*field),
                "Error::InvalidService of {what} names {field:?}"
            );
        }
        other => panic!("{what} gives InvalidService, not NotFound; got {other:?}"),
    };
    for text in NO_NAMES {
        let what = format!("a look-up of {text:?}");
        named_field(&what, a.get_service(text).await.err());
        let what = format!("a watch of {text:?}");
        named_field(&what, a.watch(WatchOptions::service(text)).await.err());
        if !text.is_empty() {
            let what = format!("a look-up in the namespace {text:?}");
            let options = GetOptions::new().with_namespace(text);
            named_field(&what, a.get_service_with(NAME, &options).await.err());
        }
    }
}

pub(crate) async fn what_is_too_large(a: Handle<'_>, b: Handle<'_>) {
    let Some(limit) = a.capabilities().max_service_size else {
        // Nothing is too large: what is large must arrive.
        let large = service("v1", "").with_node(marked("n1", noise(256 * 1024)));
        register(a, large.clone()).await;
        crate::expect::holds(b, &large).await;
        return;
    };
    register(a, service("v1", "n1")).await;
    both(a, b, "v1: n1").await;
    let large = Arc::new(service("v1", "").with_node(marked("n1", noise(limit * 2))));
    match a.register(large).await {
        Err(Error::TooLarge {
            size, limit: most, ..
        }) => {
            assert!(size > most, "Error::TooLarge: {size} bytes exceed {most}");
        }
        other => panic!("Capabilities::max_service_size: TooLarge; got {other:?}"),
    }
    stays(b, "v1: n1", WHILE).await;
    crate::expect::holds(b, &service("v1", "n1")).await;
}
