//! An engine of one's own, chosen by its name: two programs that name the same file find each other.
//!
//!     cargo run --example file_registry -- --registry.option path=/tmp/services.json
//!
//! Run it in two terminals, and stop one of them. The engine is in `src/file_registry.rs`.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{pin::pin, process::ExitCode};

use clap::Parser;
use vine::{cli, prelude::*};
use vine_examples::file_registry::FileRegistry;

/// Registers a service in a file and shows who else is there
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
    cli::exit_code(run(&args.registry).await)
}

async fn run(flags: &cli::RegistryFlags) -> vine::Result<()> {
    let mut registries = Registries::empty();
    registries.insert("file", FileRegistry::new);
    let registry = flags.open(&registries)?;

    let mut watcher = registry.watch_service("go.vine.file").await?;
    let others = watcher.take_snapshot().node_count();
    println!("{others} others are there; Ctrl-C ends this one");

    let id = std::process::id();
    let node = Node::new(format!("process-{id}"), "127.0.0.1:8080");
    let service = Service::new("go.vine.file", "v1.0.0").with_node(node);
    registry.register(service).await?;

    // Listens until the end: one that is made anew after each event would miss what comes between two.
    let mut ctrl_c = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            event = watcher.next_event() => match event {
                Some(event) => show(&event),
                None => break,
            },
            _ = &mut ctrl_c => break,
        }
    }
    registry.close().await
}

fn show(event: &Event) {
    for node in &event.service.nodes {
        println!("{:<6} {}", event.action, node.id);
    }
}
