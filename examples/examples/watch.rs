//! Shows every service that comes, changes and goes.
//!
//!     cargo run --example watch
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{pin::pin, process::ExitCode};

use clap::Parser;
use vine::{cli, prelude::*};

/// Watches the registry
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    registry: cli::RegistryFlags,
    #[command(flatten)]
    log: cli::LogFlags,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = cli::parse();
    args.log.init_at("warn");
    cli::exit_code(watch(&args.registry).await)
}

async fn watch(flags: &cli::RegistryFlags) -> vine::Result<()> {
    let registry = flags.open(&Registries::new())?;
    let mut watcher = registry.watch(WatchOptions::new()).await?;
    for service in &watcher.take_snapshot() {
        show("there", service);
    }
    println!("watching; Ctrl-C ends it");
    // Listens until the end: one that is made anew after each event would miss what comes between two.
    let mut ctrl_c = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            update = watcher.next() => match update {
                Some(Update::Event(event)) => show(&event.action.to_string(), &event.service),
                Some(Update::Stale(error)) => println!("stale   {error}"),
                Some(Update::Live) => println!("live    again"),
                _ => break,
            },
            _ = &mut ctrl_c => break,
        }
    }
    registry.close().await
}

fn show(what: &str, service: &Service) {
    for node in &service.nodes {
        println!(
            "{what:<7} {} {} at {}",
            service.name, service.version, node.address
        );
    }
}
