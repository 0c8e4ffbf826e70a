//! Following the network: interfaces that come and go, sockets that can't be opened yet, outages.

use std::io;

use tokio::time::Instant;
use vine_registry::Error;

use super::Driver;
use crate::{
    engine::{Interface, LinkKind},
    interfaces,
    registry::NAME,
    socket::Link,
};

/// What is to be said in an outage, if nothing better is known.
pub(super) const NO_INTERFACE: &str = "no network interface is up";

impl Driver {
    /// Opens and closes sockets as interfaces come and go.
    pub(super) fn look_at_interfaces(&mut self) {
        self.follow(interfaces::usable(&self.options), false);
    }

    /// A look that fails tells nothing about what is in use.
    pub(super) fn follow(&mut self, found: io::Result<Vec<Interface>>, is_first: bool) {
        let mut interfaces = match found {
            Ok(interfaces) => interfaces,
            Err(error) => {
                tracing::debug!(%error, "can't list the interfaces");
                self.explain(|_| format!("can't list the network interfaces: {error}"));
                self.monitor.looked(false);
                if is_first {
                    self.engine
                        .set_interfaces(Instant::now().into_std(), Vec::new());
                }
                return;
            }
        };
        let mut failed = self.sockets.follow(&interfaces);
        for (link, error) in &failed {
            tracing::debug!(%error, ?link, "can't use it");
        }
        failed.retain(|(link, error)| is_remarkable(&interfaces, *link, error));
        self.monitor.looked(failed.is_empty());
        for interface in &mut interfaces {
            let id = interface.id;
            interface
                .addresses
                .retain(|(address, _)| self.sockets.is_open(Link::new(id, *address)));
        }
        interfaces.retain(|interface| !interface.addresses.is_empty());
        let has_changed = is_first || interfaces != self.interfaces;
        if has_changed {
            tracing::debug!(?interfaces, "using");
            if has_new(&interfaces, &self.interfaces) {
                self.unsettle();
            }
            self.interfaces.clone_from(&interfaces);
        }
        if has_changed || self.shared.staleness().is_some() {
            self.explain(|driver| driver.why_unusable(&failed));
        }
        if has_changed {
            let now = Instant::now().into_std();
            self.engine.set_interfaces(now, interfaces);
        }
    }

    /// Says why there is an outage, or why there will be one, if it comes to that now.
    fn explain(&self, why: impl FnOnce(&Self) -> String) {
        self.shared.set_reason(Error::unavailable(NAME, why(self)));
        if self.shared.staleness().is_some() {
            self.shared.go_stale();
        }
    }

    pub(super) fn why_unusable(&self, failed: &[(Link, io::Error)]) -> String {
        let options = &self.options;
        if let Some((_, error)) = failed.first() {
            let port = options.port;
            return format!("no interface can be used on port {port}: {error}");
        }
        let address = match (options.ipv4, options.ipv6) {
            (true, false) => "an IPv4 address",
            (false, true) => "an IPv6 address",
            _ => "an address",
        };
        if options.interfaces.is_empty() {
            return format!("{NO_INTERFACE} with {address}");
        }
        let wanted: Vec<_> = options.interfaces.iter().map(ToString::to_string).collect();
        let (wanted, up) = (wanted.join(", "), interfaces::names());
        format!("none of the interfaces {wanted} is up with {address}; there are: {up}")
    }

    pub(super) fn go_stale(&mut self) {
        let error = self.shared.go_stale();
        self.view.stale(error);
    }

    pub(super) fn go_live(&mut self) {
        self.shared.go_live();
        self.view.live();
        self.unsettle();
        self.resume();
    }
}

/// Whether there is an address where others may be heard who were not heard before.
fn has_new(now: &[Interface], before: &[Interface]) -> bool {
    let all = |interfaces: &[Interface]| -> Vec<_> {
        let addresses = |one: &Interface| {
            let id = one.id;
            one.addresses.clone().into_iter().map(move |of| (id, of))
        };
        interfaces.iter().flat_map(addresses).collect()
    };
    let before = all(before);
    all(now).iter().any(|one| !before.contains(one))
}

/// Linux knows no way to the group for IPv6 on loopback, and that will not change.
fn is_remarkable(interfaces: &[Interface], link: Link, error: &io::Error) -> bool {
    let mut interfaces = interfaces.iter();
    let found = interfaces.find(|interface| interface.id == link.interface);
    let is_loopback = found.is_some_and(|found| found.kind == LinkKind::Loopback);
    !is_loopback || error.kind() != io::ErrorKind::NetworkUnreachable
}
