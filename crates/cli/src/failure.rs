//! How the program ends when it does not end well.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::error::ErrorKind;

use crate::{args, output::escaped};

const IMPATIENT: &str =
    "ended before the registry had answered; others may see the node until its ttl ends";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not found or failed; with what to do next.
    Failed(String),
    /// Not to be done as it was asked.
    Usage(String),
    /// Asked to end a second time, before the registry had answered.
    Impatient,
    /// Nobody reads what is printed any more, which is no fault.
    ClosedPipe,
}

impl Failure {
    /// Says on standard error what went wrong, in one line, and how the program is to end.
    pub(crate) fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Self::Failed(message) => (message.as_str(), 1),
            Self::Usage(message) => (message.as_str(), 2),
            Self::Impatient => (IMPATIENT, 1),
            Self::ClosedPipe => return ExitCode::SUCCESS,
        };
        complain(&format!("error: {}", escaped(message)));
        ExitCode::from(code)
    }
}

impl From<vine::Error> for Failure {
    fn from(error: vine::Error) -> Self {
        let message = with_causes(&error);
        match error {
            vine::Error::InvalidOption { .. } | vine::Error::InvalidService { .. } => {
                Self::Usage(message)
            }
            vine::Error::NotFound { .. } => Self::Failed(format!(
                "{message}; 'vine list --all-namespaces' shows what there is"
            )),
            _ => Self::Failed(message),
        }
    }
}

/// An error, and what caused it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("can't print: {error}")),
        }
    }
}

/// Ends a command line that was not understood, or that asked for help.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Failure::from(error).report(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            complain(error.render().to_string().trim_end());
            ExitCode::from(2)
        }
        _ => {
            let words: Vec<_> = std::env::args_os().collect();
            complain(&one_line(&error.render().to_string(), &words));
            ExitCode::from(2)
        }
    }
}

/// What clap says of these words in a paragraph, as one line.
fn one_line(rendered: &str, words: &[OsString]) -> String {
    let mut usage = None;
    let mut message = Vec::new();
    for line in rendered.lines().map(str::trim) {
        if let Some(line) = line.strip_prefix("Usage: ") {
            usage = Some(line);
        } else if !line.is_empty() && !line.starts_with("For more information") {
            message.push(line);
        }
    }
    let command = command(usage, words);
    let message = message.join(" ").replace(" tip: ", "; ");
    escaped(&format!("{message}; see '{command} --help'")).into_owned()
}

/// Whose help to read, by clap's line of usage or by the words themselves: of a wrong value clap gives
/// no usage.
fn command(usage: Option<&str>, words: &[OsString]) -> String {
    if let Some(usage) = usage {
        // The command's own words: what follows them is options and values.
        let words = usage.split_whitespace();
        let words = words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        return words.collect::<Vec<_>>().join(" ");
    }
    let program = args::command();
    let mut words = words.iter().skip(1);
    match words.find_map(|word| program.find_subcommand(word)) {
        Some(command) => format!("vine {}", command.get_name()),
        None => "vine".to_owned(),
    }
}

fn complain(message: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let error = args::command().try_get_matches_from(&words).unwrap_err();
        one_line(&error.render().to_string(), &words)
    }

    #[test]
    fn wrong_usage_takes_one_line() {
        let lines = [
            "vine lst",
            "vine list --al-namespaces",
            "vine get",
            "vine get a --wait soon",
            "vine register a --id 1",
            "vine list -o yaml",
        ];
        insta::assert_snapshot!(lines.map(complaint).join("\n"));
    }

    #[test]
    fn causes_are_told() {
        let error = vine::Error::Engine {
            registry: "etcd".into(),
            retryable: false,
            source: std::sync::Arc::new(io::Error::other("disk full")),
        };
        let Failure::Failed(message) = Failure::from(error) else {
            panic!("not a failure");
        };
        assert_eq!(message, "the etcd registry failed: disk full");
    }
}
