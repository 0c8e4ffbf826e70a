//! Calls an HTTP service by its name with reqwest, while one of its nodes stops.
//!
//!     cargo run --features reqwest --example call_reqwest
//!
//! It calls three nodes of its own. With a registry, for instance `--registry.default=mdns`, it calls
//! those of the example `helloworld`.

use clap::Parser;
use vine::{cli, prelude::*};
use vine_discovery::{Cache, clients::reqwest::Client};
use vine_examples::nodes::{Nodes, http};

/// Calls go.vine.helloworld with reqwest
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    registry: cli::RegistryFlags,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Args { registry } = cli::parse();
    let mut nodes = match &registry.default {
        Some(_) => Nodes::of_others(registry.open(&Registries::new())?),
        None => Nodes::start("go.vine.helloworld", http).await?,
    };

    let client = Client::new(Cache::new(nodes.registry()));
    let call = async || {
        let answer = client.get("http://go.vine.helloworld/").await?;
        Ok::<_, BoxError>(answer.error_for_status()?.text().await?)
    };

    nodes.call(call).await?;
    nodes.call_while_one_stops(call).await?;
    nodes.stop().await
}
