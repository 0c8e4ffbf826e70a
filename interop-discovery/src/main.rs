//! Calls services by name through all clients of `vine-discovery`, from processes to processes over
//! real sockets, while nodes and registries are killed, slowed, moved and replaced; fails if a call does.
//!
//! - `cargo run --release -p vine-interop-discovery` runs every scenario in little;
//! - `... -- --full` runs them at length, as the figures in the documentation were made;
//! - `... -- [--full] NAME...` runs those whose names contain one of these.
//!
//! By mDNS it talks to the loopback interface alone. Run it in a network of its own (`.ci/alone`), or what
//! else speaks mDNS on this host hears it. All processes that it starts end with it.
#![cfg_attr(
    unix,
    allow(
        clippy::print_stdout,
        clippy::unwrap_used,
        reason = "it is a program of tests: what is not as it should be ends a scenario"
    )
)]

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod load;
#[cfg(unix)]
mod node;
#[cfg(unix)]
mod scenarios;
#[cfg(unix)]
mod stage;

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let passed = match arguments[..] {
        ["node", registry, service, id, version, delay] => {
            runtime.block_on(node::run(registry, service, id, version, delay))
        }
        ["farm", registry, service, prefix] => {
            runtime.block_on(node::farm(registry, service, prefix))
        }
        ["client", registry, service, snapshots, calls] => {
            runtime.block_on(client::run(registry, service, snapshots, calls))
        }
        ["--full", ref names @ ..] => runtime.block_on(scenarios::run(names, true)),
        ref names => runtime.block_on(scenarios::run(names, false)),
    };
    // A thread may still be reading standard input; nobody waits for it.
    runtime.shutdown_background();
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("this needs the signals of Unix");
    ExitCode::FAILURE
}
