//! A gRPC service by tonic that registers itself, tells its health, and is called by its name.
//!
//!     cargo run --features grpc --example greeter_grpc

use std::process::ExitCode;

use clap::Parser;
use tonic::{Request, Response, Status, transport::Server, transport::server::TcpIncoming};
use vine::{cli, prelude::*};

mod greeter {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        reason = "made from greeter.proto"
    )]
    tonic::include_proto!("greeter");
}

use greeter::{
    HelloReply, HelloRequest,
    greeter_client::GreeterClient,
    greeter_server::{Greeter, GreeterServer},
};

/// A gRPC service that greets
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    vine: vine::Flags,
}

struct Polite;

#[tonic::async_trait]
impl Greeter for Polite {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello, {}!", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = cli::parse();
    args.vine.log.init();
    let health = Health::new();
    let app = App::builder("go.vine.greeter")
        .version("v1.0.0")
        .endpoints([Endpoint::new("Greeter.SayHello")])
        .flags(&args.vine)
        .health(health.clone())
        .after_start(|app| async move { greet(&app).await });
    let served = app.run(|listener, shutdown| async move {
        Server::builder()
            .add_service(health.grpc())
            .add_service(GreeterServer::new(Polite))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), shutdown.wait())
            .await
    });
    cli::exit_code(served.await)
}

#[expect(clippy::print_stdout, reason = "it is a program")]
async fn greet(app: &App) -> Result<(), BoxError> {
    let services = app.registry().get_service(&app.service().name).await?;
    let mut nodes = services.iter().flat_map(|service| service.nodes.iter());
    let node = nodes.next().ok_or("no node")?;
    let mut client = GreeterClient::connect(format!("http://{}", node.address)).await?;
    let name = "gRPC".to_owned();
    let reply = client.say_hello(HelloRequest { name }).await?;
    println!("{} says: {}", node.address, reply.into_inner().message);
    Ok(())
}
