//! Clients that call by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod balanced;
mod connections;
mod discover;
mod faults;
mod grpc;
mod http;
mod redirects;
mod retries;
mod links;
mod world;
