//! Calls a gRPC service by its name with the client that tonic generates: plain and by TLS, one call at
//! a time and in a stream, while one of its nodes stops.
//!
//!     cargo run --features grpc --example call_tonic
//!
//! The certificate is for the name of the service, so it holds on each node, whatever its address.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::pin::Pin;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tonic::{
    Request, Response, Status, Streaming,
    codegen::tokio_stream::{self, Stream, StreamExt},
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use vine::{TlsOptions, prelude::*};
use vine_discovery::{Cache, LeastLoaded, Selector, clients::tonic::Channel};
use vine_examples::nodes::{Nodes, hello};

mod parlour {
    #![allow(
        clippy::too_many_lines,
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        reason = "made from parlour.proto"
    )]
    tonic::include_proto!("parlour");
}

use parlour::{
    Said,
    parlour_client::ParlourClient,
    parlour_server::{Parlour, ParlourServer},
};

const NAME: &str = "go.vine.parlour";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!("Plain.");
    let mut nodes = start(None).await?;
    let channel = Channel::new(&Cache::new(nodes.registry()), NAME);
    call(&mut nodes, channel).await?;
    nodes.stop().await?;

    println!("\nBy TLS, with a certificate for {NAME}.");
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    let mut nodes = start(Some(identity)).await?;
    let selector = Selector::builder(Cache::new(nodes.registry()).subscribe(NAME));
    let channel = Channel::builder(selector.strategy(LeastLoaded).build())
        .tls(TlsOptions::new().with_ca(cert.pem()))
        .build()?;
    call(&mut nodes, channel).await?;
    nodes.stop().await
}

/// What a client does: it knows the name, and has what was generated.
async fn call(nodes: &mut Nodes, channel: Channel) -> Result<(), BoxError> {
    let client = ParlourClient::new(channel);
    let greet = async || {
        let answer = client.clone().greet(said("Who is there?")).await?;
        Ok::<_, Status>(answer.into_inner().text)
    };
    nodes.call(greet).await?;

    // All of a stream goes to one node.
    let words = ["One", "two", "three"].map(said);
    let answers = client.clone().talk(tokio_stream::iter(words)).await?;
    let mut answers = answers.into_inner();
    while let Some(answer) = answers.message().await? {
        println!("    {}", answer.text);
    }

    nodes.call_while_one_stops(greet).await
}

/// A node's half of it.
struct Host {
    id: &'static str,
}

type Answers = Pin<Box<dyn Stream<Item = Result<Said, Status>> + Send>>;

#[tonic::async_trait]
impl Parlour for Host {
    type TalkStream = Answers;

    async fn greet(&self, _: Request<Said>) -> Result<Response<Said>, Status> {
        Ok(Response::new(said(hello(self.id))))
    }

    async fn talk(&self, words: Request<Streaming<Said>>) -> Result<Response<Answers>, Status> {
        let id = self.id;
        let answer = move |word: Said| said(format!("{}, said {id}.", word.text));
        let answers = words.into_inner().map(move |word| word.map(answer));
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn start(identity: Option<Identity>) -> Result<Nodes, BoxError> {
    let serve = move |id, listener, shutdown: Shutdown| {
        let identity = identity.clone();
        async move {
            let mut server = Server::builder();
            if let Some(identity) = identity {
                server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
            }
            server
                .add_service(ParlourServer::new(Host { id }))
                .serve_with_incoming_shutdown(TcpIncoming::from(listener), shutdown.wait())
                .await
        }
    };
    Nodes::start(NAME, serve).await
}

fn said(text: impl Into<String>) -> Said {
    Said { text: text.into() }
}
