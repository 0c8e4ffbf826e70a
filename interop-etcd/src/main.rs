//! Runs the etcd registry in many processes, against real servers that fail, and measures it there.
//!
//! - `cargo run --release -p vine-interop-etcd` runs every scenario and fails if one does;
//! - `cargo run --release -p vine-interop-etcd -- NAME...` runs those whose names contain one of these.
//!
//! The servers are those of the crate `etcd-bin-vendored`, on ports of 127.0.0.1; all of them, and
//! the processes of this program (`peer`), end with it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is a program of tests: what is not as it should be ends a scenario"
)]

mod peer;
mod process;
mod restoring;
mod scenarios;

use std::process::ExitCode;

use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = Runtime::new().unwrap();
    let passed = match arguments[..] {
        ["peer", addrs] => {
            runtime.block_on(peer::run(addrs));
            true
        }
        ref names => runtime.block_on(scenarios::run(names)),
    };
    // A thread may still be reading standard input; nobody waits for it.
    runtime.shutdown_background();
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
