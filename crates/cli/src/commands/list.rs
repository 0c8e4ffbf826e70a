use vine::{ListOptions, Registry};

use super::namespaces;
use crate::{
    args::List,
    failure::Failure,
    output::{Output, summaries},
};

/// Prints what services there are.
pub(crate) async fn list(
    what: &List,
    registry: &dyn Registry,
    output: &mut Output,
) -> Result<(), Failure> {
    let options = ListOptions::new()
        .with_namespace(namespaces(what.all_namespaces))
        .with_wait(what.wait);
    let services = registry.list_services_with(&options).await?;
    if output.is_json() {
        return output.json(&services).await;
    }
    if services.is_empty() {
        let registry_name = registry.name();
        output.note(&if what.all_namespaces {
            format!("no services on {registry_name}")
        } else {
            let namespace = &registry.options().namespace;
            format!(
                "no services in namespace {namespace:?} on {registry_name}; --all-namespaces shows the others"
            )
        });
        return Ok(());
    }
    output.print(&summaries(&services, output.paint())).await
}
