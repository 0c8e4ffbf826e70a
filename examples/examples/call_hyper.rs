//! Calls an HTTP service by its name with hyper, while one of its nodes stops.
//!
//!     cargo run --features hyper --example call_hyper
//!
//! It calls three nodes of its own. With a registry, for instance `--registry.default=mdns`, it calls
//! those of the example `helloworld`.

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Empty};
use vine::{cli, prelude::*};
use vine_discovery::{Cache, clients::hyper::Client};
use vine_examples::nodes::{Nodes, http};

/// Calls go.vine.helloworld with hyper
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

    let client: Client<Empty<Bytes>> = Client::new(Cache::new(nodes.registry()));
    let call = async || {
        let answer = client.get("http://go.vine.helloworld/".parse()?).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok::<_, BoxError>(String::from_utf8_lossy(&body).into_owned())
    };

    nodes.call(call).await?;
    nodes.call_while_one_stops(call).await?;
    nodes.stop().await
}
