//! A service that registers itself, is found by its name, and is called at the address found.
//!
//!     cargo run --release --example helloworld
//!
//! Nothing is configured: mDNS is the default registry, and any free port will do. Every flag of
//! Vine works; `--help` shows them.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use axum::{Router, routing::get};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use vine::{cli, prelude::*};

/// A service that says hello
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    vine: vine::Flags,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { vine: flags } = cli::parse();
    flags.log.init_at("warn");

    let registry_flags = flags.registry.clone();
    let started = Instant::now();
    let app = App::builder("go.vine.helloworld")
        .version("v1.0.0")
        .flags(&flags)
        .drain_time(Duration::from_millis(200))
        .after_start(move |app| async move { find_and_call(&app, &registry_flags, started).await });
    let routes = Router::new().route("/", get(|| async { "Hello, world!" }));
    let served = app.run(|listener, shutdown| async move {
        axum::serve(listener, routes)
            .with_graceful_shutdown(shutdown.wait())
            .await
    });
    let served = served.await;
    if served.is_ok() {
        say("\nStopped: all that was asked is answered. Goodbye!");
    }
    cli::exit_code(served)
}

/// Does what a client in another process does: knows the name, and nothing else.
async fn find_and_call(
    app: &App,
    flags: &cli::RegistryFlags,
    started: Instant,
) -> Result<(), BoxError> {
    let service = app.service();
    let engine = app.registry().name();
    say(&format!(
        "This is {} {}, an HTTP service on {}.\n",
        service.name,
        service.version,
        app.local_addr()
    ));
    tell("registered", &format!("in the {engine} registry"), started);

    // A memory registry ends with its handle; every other one can be opened a second time.
    let other = if engine == "memory" {
        app.registry().clone()
    } else {
        flags.open(&Registries::new())?
    };
    let asked = Instant::now();
    let address = find(&*other, app).await?;
    let finder = "by a handle that knew only its name";
    tell("found", &format!("at {address} {finder}"), asked);

    let called = Instant::now();
    let answer = fetch(&address).await?;
    tell("called", &format!("and it said: {answer}"), called);

    let flags = flags_to_repeat();
    say(&format!(
        "\nNow try in a second terminal:\n
    cargo run --release -p vine-cli -- get {}{flags}
    cargo run --release -p vine-cli -- watch{flags}

Ctrl-C ends this, and watch will show it.",
        service.name
    ));
    Ok(())
}

/// The address of this very node. The first answer will do, unless it comes from another node of
/// the same name; then everybody has to be waited for.
async fn find(registry: &dyn Registry, app: &App) -> Result<String, BoxError> {
    for wait in [Wait::First, Wait::Settled] {
        let options = GetOptions::new().with_wait(wait);
        let services = registry
            .get_service_with(&app.service().name, &options)
            .await?;
        let mut nodes = services.iter().flat_map(|service| service.nodes.iter());
        if let Some(node) = nodes.find(|node| node.id == app.node().id) {
            return Ok(node.address.to_string());
        }
    }
    Err("found others of this name, but not this one".into())
}

/// An HTTP request, by hand to keep this example small.
async fn fetch(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (_head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// What was given on this command line and the other program has to know, too.
fn flags_to_repeat() -> String {
    let wanted = |arg: &String| {
        [
            "address",
            "default",
            "etcd.layout",
            "mdns.port",
            "mdns.interface",
            "mdns.ipv4",
            "mdns.ipv6",
            "namespace",
        ]
        .iter()
        .any(|flag| arg.starts_with(&format!("--registry.{flag}=")))
            // A URL may hold a password.
            && !arg.contains('@')
    };
    std::env::args()
        .filter(wanted)
        .fold(String::new(), |flags, arg| flags + " " + &arg)
}

fn tell(what: &str, how: &str, since: Instant) {
    let ms = since.elapsed().as_secs_f64() * 1000.0;
    say(&format!("    {what:<10} {how} ({ms:.1} ms)"));
}

fn say(text: &str) {
    // It serves on when nobody reads any more what it says.
    let _ = writeln!(io::stdout(), "{text}");
}
