use std::sync::Arc;

use vine::{DeregisterOptions, Error, Node, Registry, RegistryExt, Service};

use crate::{args::Deregister, failure::Failure, output::Output};

/// Ends the registration of a node.
pub(crate) async fn deregister(
    what: &Deregister,
    registry: &dyn Registry,
    output: &mut Output,
) -> Result<(), Failure> {
    let node = find(what, registry).await?;
    let service = Service::new(&*what.name, &*what.version)
        .with_namespace(Arc::clone(&registry.options().namespace))
        .with_node(node);
    let options = DeregisterOptions::new().with_force(what.force);
    match registry.deregister_with(&service, &options).await {
        Ok(()) => {}
        Err(Error::NotOwner { .. }) => return Err(not_ours(what, registry)),
        Err(error) => return Err(error.into()),
    }
    if output.is_json() {
        return output
            .json_line(&serde_json::json!({ "deregistered": service }))
            .await;
    }
    if what.force {
        output.note("if its owner still lives, it registers the node again");
    }
    let Deregister {
        name, version, id, ..
    } = what;
    let line = format!("deregistered {name} {version} {id}");
    output
        .print(&format!("{}\n", crate::output::escaped(&line)))
        .await
}

/// The node as it is registered.
async fn find(what: &Deregister, registry: &dyn Registry) -> Result<Node, Failure> {
    let services = registry.get_service(&what.name).await?;
    let node = services
        .version(&what.version)
        .and_then(|service| service.nodes.get(&what.id));
    node.map(|node| Node::clone(node)).ok_or_else(|| {
        Failure::Failed(format!(
            "service {:?} has no node {:?} in version {:?}; 'vine get' shows what there is",
            what.name, what.id, what.version
        ))
    })
}

fn not_ours(what: &Deregister, registry: &dyn Registry) -> Failure {
    let remedy = if registry.capabilities().force_deregister {
        "end the program that did, or use --force if that one is gone for good".to_owned()
    } else {
        let engine = registry.name();
        format!("end the program that did: on {engine} nobody else can")
    };
    Failure::Failed(format!(
        "node {:?} of service {:?} was registered by somebody else; {remedy}",
        what.id, what.name
    ))
}
