//! The names of the Go dialect. They are texts joined by dots, unescaped: a dot in a text parts
//! labels. Unlike other names of DNS they are compared byte for byte.

use std::net::IpAddr;

use vine_registry::{Error, Node, Result, Service, address::HostPort};

use crate::codec::Name;

/// Where services are listed.
pub(super) const LIST: &str = "_services";

/// `<entry>.<parent>`; the parent may be the root.
pub(super) fn under(entry: &str, parent: &str) -> String {
    if parent.is_empty() {
        entry.to_owned()
    } else {
        format!("{entry}.{parent}")
    }
}

/// The name in a packet that stands for this text; none if DNS has none.
pub(super) fn name(text: &str) -> Option<Name> {
    Name::from_labels(text.split('.').map(str::as_bytes))
}

/// The text that a name in a packet stands for; none if it is not text.
pub(super) fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.labels() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(str::from_utf8(label).ok()?);
    }
    Some(text)
}

/// The ids and domains that an instance may be taken apart to: the service's name may stand in it
/// more than once. The last place comes first.
pub(super) fn split<'a>(
    instance: &'a str,
    service: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let middle = format!(".{service}.");
    let places: Vec<usize> = instance.rmatch_indices(&middle).map(|(at, _)| at).collect();
    let len = middle.len();
    places
        .into_iter()
        .filter_map(move |at| Some((instance.get(..at)?, instance.get(at + len..)?)))
        .filter(|(id, domain)| !id.is_empty() && !domain.is_empty())
}

/// Whether Go processes can find what has this name: their library writes other characters in
/// another way when it compares.
///
/// # Errors
/// [`Error::InvalidService`], with the remedy.
pub(crate) fn check(field: &'static str, value: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"'();@\\".contains(c);
    let fault = if let Some(c) = value.chars().find(|c| !is_plain(*c)) {
        format!("has {c:?}, which can't stand in a name of the Go dialect")
    } else if value.split('.').any(str::is_empty) {
        "has nothing before, behind or between dots, but the Go dialect makes labels of its parts"
            .to_owned()
    } else if value.split('.').any(|label| label.len() > 63) {
        "has more than 63 bytes without a dot, and the Go dialect makes a label of that".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid_service(
        field,
        format!("{value:?} {fault}; choose another one, or use the dialect dns-sd"),
    ))
}

/// Checks all names of a node, and that its address is one that this dialect can tell; gives the
/// address.
///
/// # Errors
/// [`Error::InvalidService`], with the remedy.
pub(super) fn check_node(service: &Service, node: &Node, domain: &str) -> Result<(IpAddr, u16)> {
    check("name", &service.name)?;
    check("namespace", &service.namespace)?;
    check("node id", &node.id)?;
    let instance = under(&node.id, &under(&service.name, domain));
    if name(&instance).is_none() {
        return Err(Error::invalid_service(
            "node id",
            format!(
                "{:?}, the name and the namespace have together {} bytes; the Go dialect takes at most 253: choose shorter ones, or use the dialect dns-sd",
                node.id,
                instance.len()
            ),
        ));
    }
    let parsed = HostPort::parse(&node.address).and_then(|address| {
        let host = address.host.split('%').next()?;
        Some((host.parse().ok()?, address.port))
    });
    parsed.ok_or_else(|| {
        Error::invalid_service(
            "node address",
            format!(
                "{:?} of node {:?} is no IP address with a port, and the Go dialect can't tell host names: give an IP address, or use the dialect dns-sd",
                node.address, node.id
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_part_labels() {
        let instance = under("a.b", &under("go.vine.x", "vine"));
        assert_eq!(instance, "a.b.go.vine.x.vine");
        let name = name(&instance).unwrap();
        assert_eq!(name.labels().count(), 6);
        assert_eq!(text(&name).unwrap(), instance);
        assert_eq!(under(LIST, ""), "_services");
    }

    #[test]
    fn an_instance_is_taken_apart_at_the_services_name() {
        let parts = |instance, service| split(instance, service).collect::<Vec<_>>();
        assert_eq!(parts("n1.foo.vine", "foo"), [("n1", "vine")]);
        assert_eq!(
            parts("x.foo.y.foo.foo.vine", "foo"),
            [("x.foo.y.foo", "vine"), ("x", "y.foo.foo.vine")]
        );
        for (instance, service) in [
            ("n1.elsewhere.vine", "foo"),
            ("foo.vine", "foo"),
            ("n1.foo", "foo"),
        ] {
            assert_eq!(parts(instance, service), []);
        }
    }

    #[test]
    fn what_go_could_not_find_is_refused_with_the_remedy() {
        for fine in ["n1", "go.vine.x", "a/b:c=d", &"x".repeat(63)] {
            check("name", fine).unwrap();
        }
        for bad in ["größe", "a b", "a\\b", "a..b", "a.", ".a", &"x".repeat(64)] {
            let error = check("name", bad).unwrap_err().to_string();
            assert!(error.contains("use the dialect dns-sd"), "{error}");
        }
        let long = "abcdefgh.".repeat(20) + "i";
        let service = Service::new(&*long, "v1").with_namespace("vine");
        for (id, address, word) in [
            (&*long, "10.0.0.1:80", "253"),
            ("n1", "localhost:80", "host names"),
        ] {
            let error = check_node(&service, &Node::new(id, address), "vine").unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        let zoned = Node::new("n1", "[fe80::1%eth0]:80");
        let (address, port) = check_node(&service, &zoned, "vine").unwrap();
        assert_eq!((address.to_string().as_str(), port), ("fe80::1", 80));
    }
}
