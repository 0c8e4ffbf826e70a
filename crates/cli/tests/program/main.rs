//! The program as users run it: processes, their output and how they end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(unix)]
mod bench;
#[cfg(unix)]
mod calls;
#[cfg(unix)]
mod etcd;
mod help;
#[cfg(unix)]
mod mdns;
mod memory;
mod process;
#[cfg(unix)]
mod server;
mod usage;
