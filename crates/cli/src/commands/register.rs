use std::sync::Arc;

use serde_json::json;
use vine::{
    Error, Metadata, Node, Registration, RegistrationOptions, RegistrationState as State, Registry,
    Service,
};

use crate::{
    args::Register,
    failure::Failure,
    interrupt::Interrupt,
    output::{Output, escaped},
};

/// Registers a node and holds it registered until the program is asked to end.
pub(crate) async fn register(
    what: &Register,
    registry: &Arc<dyn Registry>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen()?;
    let metadata: Metadata = what.metadata.iter().cloned().collect();
    let node = Node::new(&*what.id, &*what.address).with_metadata(metadata);
    let service = Service::new(&*what.name, &*what.version)
        .with_namespace(Arc::clone(&registry.options().namespace))
        .with_node(node);
    let mut options = RegistrationOptions::new();
    options.ttl = what.ttl;
    let registration = Registration::start(Arc::clone(registry), service.clone(), options);
    let told = tokio::select! {
        () = interrupt.wait() => Ok(()),
        told = tell(&registration, output) => told,
    };
    // Whoever asks a second time does not want to wait for the registry.
    tokio::select! {
        () = interrupt.wait() => return Err(Failure::Impatient),
        closed = registration.close() => closed?,
    }
    told?;
    say(output, "deregistered", &service).await
}

/// Tells what becomes of the registration, until there is no hope for it.
async fn tell(registration: &Registration, output: &mut Output) -> Result<(), Failure> {
    let mut observer = registration.observer();
    let mut last = String::new();
    loop {
        let state = observer.state();
        let news = state.to_string();
        if news != last {
            match state {
                State::Registered => {
                    match say(output, "registered", &registration.service()).await {
                        // Who has read that it is registered need not read on for it to stay so.
                        Err(Failure::ClosedPipe) => {}
                        said => said?,
                    }
                }
                State::Retrying(_) => output.note(&news),
                State::Failed(error) => return Err(error.into()),
                State::Replaced => {
                    return Err(registration.registered().await.map_or_else(
                        Failure::from,
                        // It was won back in between.
                        |()| Failure::Failed(news.clone()),
                    ));
                }
                State::Closed => return Err(Error::Closed.into()),
                _ => {}
            }
            last = news;
        }
        observer.changed().await;
    }
}

async fn say(output: &mut Output, what: &str, service: &Service) -> Result<(), Failure> {
    if output.is_json() {
        return output.json_line(&json!({ what: service })).await;
    }
    let Service {
        namespace,
        name,
        version,
        ..
    } = service;
    let node = service.nodes.nth(0);
    let (id, address) = node.map_or(("", ""), |node| (&node.id, &node.address));
    let hint = if what == "registered" {
        "; Ctrl-C deregisters"
    } else {
        ""
    };
    let line = format!("{what} {name} {version} {id} at {address} in namespace {namespace}{hint}");
    output.print(&format!("{}\n", escaped(&line))).await
}
