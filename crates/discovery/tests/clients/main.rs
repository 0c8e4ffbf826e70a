//! Clients that call by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod addresses;
mod backend;
mod balanced;
mod chance;
mod connections;
mod discover;
mod faults;
#[allow(dead_code, reason = "this needs less of it")]
#[path = "../discovery/faulty.rs"]
mod faulty;
mod grpc;
mod grpc_outcomes;
mod http;
mod links;
mod redirects;
mod retries;
mod world;
