//! How a program says what is wrong: in one line, with the remedy, and by its exit code.

use std::{
    error::Error as StdError,
    io::{self, Write},
    iter::successors,
    process::ExitCode,
};

use vine_registry::Error;

/// The command line was wrong.
const USAGE: u8 = 2;

/// Takes the command line apart as [`clap::Parser::parse`] does, but says what is wrong in one
/// line. Ends the program then, with exit code 2, and after `--help` and `--version`.
#[must_use]
pub fn parse<P: clap::Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        complain(&one_line(&error));
        std::process::exit(i32::from(USAGE));
    })
}

/// What is wrong with a command line, with clap's tips, in one line.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let said = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.trim_start_matches("error: ")
                .trim_start_matches("tip: ")
        });
    said.collect::<Vec<_>>().join("; ").replace(":; ", ": ")
}

/// Says on standard error what went wrong, with its causes, in one line, and gives the exit code:
/// 2 if an option was wrong, otherwise 1; 0 if nothing went wrong.
///
/// ```no_run
/// # async fn run() -> vine::Result<()> { Ok(()) }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     vine::cli::exit_code(run().await)
/// }
/// ```
pub fn exit_code<E: StdError + 'static>(result: Result<(), E>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let error: &(dyn StdError + 'static) = &error;
    let causes: Vec<_> = successors(Some(error), |&cause| cause.source()).collect();
    let said: Vec<_> = causes.iter().map(ToString::to_string).collect();
    complain(&said.join(": ").replace('\n', " "));
    let usage = causes
        .iter()
        .filter_map(|cause| cause.downcast_ref())
        .any(|cause| matches!(cause, Error::InvalidOption { .. }));
    ExitCode::from(if usage { USAGE } else { 1 })
}

fn complain(what: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "error: {what}");
}
