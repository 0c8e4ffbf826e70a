//! Clients that call by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod balanced;
mod connections;
mod discover;
mod faults;
#[allow(dead_code, reason = "this needs less of it")]
#[path = "../discovery/faulty.rs"]
mod faulty;
mod grpc;
mod http;
mod redirects;
mod retries;
mod links;
mod world;
