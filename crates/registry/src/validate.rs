//! What is checked once, at the edge, for every engine.

use std::time::Duration;

use crate::{Capabilities, Error, Result, Service, address::HostPort};

/// Checks a service that is to be registered.
///
/// # Errors
/// [`Error::InvalidService`], with the field and what would be right.
pub fn service(
    service: &Service,
    ttl: Option<Duration>,
    capabilities: &Capabilities,
) -> Result<()> {
    let limit = capabilities.max_name_len;
    name("name", &service.name, limit)?;
    if !service.namespace.is_empty() {
        name("namespace", &service.namespace, limit)?;
    }
    text("version", &service.version, limit)?;
    if service.nodes.is_empty() {
        return Err(Error::invalid_service(
            "nodes",
            "is empty; a service needs at least one node",
        ));
    }
    if let Some(id) = service.nodes.duplicate() {
        return Err(Error::invalid_service(
            "node id",
            format!("{id:?} is there twice; ids must be distinct"),
        ));
    }
    for node in &service.nodes {
        name("node id", &node.id, limit)?;
        match HostPort::parse(&node.address) {
            None => {
                return Err(Error::invalid_service(
                    "node address",
                    format!(
                        "{:?} of node {:?} is not host:port, for instance 10.0.0.7:8080 or [fd00::7]:8080",
                        node.address, node.id
                    ),
                ));
            }
            Some(address) if address.port == 0 => {
                return Err(Error::invalid_service(
                    "node address",
                    format!(
                        "{:?} of node {:?} has port 0; register the port that is listened on",
                        node.address, node.id
                    ),
                ));
            }
            Some(_) => {}
        }
    }
    check_ttl(ttl.or(service.ttl), capabilities)
}

/// Checks a name that is looked up or watched.
///
/// # Errors
/// [`Error::InvalidService`], with the field and what would be right.
pub fn name(field: &'static str, value: &str, limit: usize) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid_service(field, "is empty"));
    }
    if matches!(value, "." | "..") {
        return Err(Error::invalid_service(
            field,
            format!("must not be {value:?}"),
        ));
    }
    text(field, value, limit)
}

fn text(field: &'static str, value: &str, limit: usize) -> Result<()> {
    let plain = value
        .bytes()
        .fold(true, |plain, b| plain & (0x20..0x7f).contains(&b));
    if !plain && let Some(c) = value.chars().find(|c| c.is_control()) {
        return Err(Error::invalid_service(
            field,
            format!("{value:?} has the control character {c:?}"),
        ));
    }
    if value.len() > limit {
        return Err(Error::invalid_service(
            field,
            format!(
                "has {} bytes; this registry takes at most {limit}",
                value.len()
            ),
        ));
    }
    Ok(())
}

fn check_ttl(ttl: Option<Duration>, capabilities: &Capabilities) -> Result<()> {
    let Some(ttl) = ttl else { return Ok(()) };
    let (min, max) = (capabilities.min_ttl, capabilities.max_ttl);
    if ttl < min || ttl > max {
        return Err(Error::invalid_service(
            "ttl",
            format!("is {ttl:?}; this registry takes {min:?} to {max:?}"),
        ));
    }
    Ok(())
}
