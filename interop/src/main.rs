//! Runs the mDNS registry between network namespaces, as between hosts, and measures it there.
//!
//! As root, with what `.ci/peers` installs:
//!
//! - `cargo run --release -p vine-interop` runs every scenario and fails if one does;
//! - `cargo run --release -p vine-interop -- NAME...` runs those whose names contain one of these;
//! - `cargo run --release -p vine-interop -- measure` prints how fast and how large it is, beside
//!   others on the same links; `measure look-ups`, `changes`, `thousand` and `size` print parts of
//!   that, and `measure traffic`, which takes seven minutes, what is on a link when nothing happens.
//!
//! Each scenario makes namespaces of its own and removes them, also when it fails or is
//! interrupted. No packet leaves them. The hosts in them are processes of this program
//! (`peer`), told what to do line by line.
#![allow(clippy::print_stdout, reason = "it is a program")]

#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod punctuality;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod size;
#[cfg(target_os = "linux")]
mod wire;

use std::process::ExitCode;

/// What a scenario or a step of it gives: an error says what went wrong, for people.
#[cfg(target_os = "linux")]
type Outcome<T = ()> = Result<T, String>;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match commands::run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("this needs the network namespaces of Linux");
    ExitCode::FAILURE
}
