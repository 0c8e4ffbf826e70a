use vine::{GetOptions, Registry, Services};

use crate::{
    args::Get,
    failure::Failure,
    output::{Output, describe},
};

/// Prints all about a service.
pub(crate) async fn get(
    what: &Get,
    registry: &dyn Registry,
    output: &mut Output,
) -> Result<(), Failure> {
    let options = GetOptions::new().with_wait(what.wait);
    let mut services = registry.get_service_with(&what.name, &options).await?;
    if let Some(version) = &what.version {
        services = only(&services, version)?;
    }
    if output.is_json() {
        return output.json(&services).await;
    }
    let paint = output.paint();
    let texts: Vec<_> = services
        .iter()
        .map(|service| describe(service, paint))
        .collect();
    output.print(&texts.join("\n")).await
}

fn only(services: &Services, version: &str) -> Result<Services, Failure> {
    if let Some(service) = services.version(version) {
        return Ok([service.clone()].into_iter().collect());
    }
    let name = services.first().map_or("", |service| &service.name);
    let versions: Vec<_> = services.iter().map(|service| &*service.version).collect();
    Err(Failure::Failed(format!(
        "service {name:?} has no node of version {version:?}; there is {}",
        versions.join(", ")
    )))
}
