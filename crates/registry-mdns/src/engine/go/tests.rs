//! Against recorded packets, against a reader that is as strict as Go's, and in virtual time with
//! models of Go processes, faults included.

mod acceptance;
mod hostile;
mod life;
mod link;
mod reader;
mod responder;
mod vectors;

use std::{fs, path::Path, sync::Arc};

use serde_json::Value as Json;
use vine_registry::{Node, Service};

/// A file of the recorded packets.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    fs::read_to_string(folder.join(name)).unwrap()
}

fn json(name: &str) -> Json {
    serde_json::from_str(&file(name)).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.trim();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A service with one node.
fn service(name: &str, id: &str, address: &str) -> Service {
    Service::new(name, "1.0.0")
        .with_namespace("vine")
        .with_node(Node::new(id, address).with_metadata([("k", "v")]))
}

fn shared(service: &Service) -> Arc<Service> {
    Arc::new(service.clone())
}
