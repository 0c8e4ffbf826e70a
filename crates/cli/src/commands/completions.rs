use crate::{
    args::{self, Completions},
    failure::Failure,
    output::Output,
};

/// Prints a script for a shell.
pub(crate) async fn completions(what: &Completions, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(what.shell, &mut args::command(), "vine", &mut script);
    output.print(&String::from_utf8_lossy(&script)).await
}
