use vine::cli::RegistryFlags;

use crate::{
    failure::Failure,
    output::{Output, examination},
};

/// Prints what was found; it has failed if that is a cause.
pub(crate) async fn doctor(registry: &RegistryFlags, output: &mut Output) -> Result<(), Failure> {
    let report = registry.examine().await?;
    if output.is_json() {
        output.json(&report).await?;
    } else {
        output.print(&examination(&report, output.paint())).await?;
    }
    match report.findings.len() {
        0 => Ok(()),
        1 => Err(Failure::Failed("a cause was found".to_owned())),
        many => Err(Failure::Failed(format!("{many} causes were found"))),
    }
}
