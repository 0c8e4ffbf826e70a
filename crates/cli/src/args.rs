//! The command line.

mod calls;

use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use vine::{
    Wait,
    cli::{LogFlags, RegistryFlags, duration},
};

use crate::failure::Failure;

pub(crate) use calls::{Bench, Body, Call, Strategy, Target};

/// Finds, watches, calls and registers services.
#[derive(Debug, Parser)]
#[command(
    name = "vine",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 fine, 1 not found or failed, 2 wrong usage."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// The command line, with every flag allowed behind the command as well.
pub(crate) fn command() -> clap::Command {
    Args::command().mut_args(|arg| arg.global(true))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what services there are
    List(List),
    /// Show a service: every version, its metadata, endpoints and nodes
    Get(Get),
    /// Show what services there are, and then every change until Ctrl-C
    Watch(Watch),
    /// Call an HTTP service by its name
    Call(Call),
    /// Call an HTTP service by its name many times, and show how long that takes
    Bench(Bench),
    /// Register a node of a service, and keep it registered until Ctrl-C
    Register(Register),
    /// End the registration of a node
    Deregister(Deregister),
    /// Say why services are not found by mDNS on this machine; takes two seconds
    Doctor,
    /// Print a script that completes this program's commands and flags in a shell
    Completions(Completions),
}

impl Command {
    /// Refuses flags that don't go together, before anything is done.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Call(Call { target, .. }) | Self::Bench(Bench { target, .. }) => {
                target.strategy().map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Every namespace, not just --registry.namespace
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// How long to wait for answers: first, settled, or a time such as 5s
    #[arg(long, value_name = "WAIT", default_value = "settled", value_parser = wait)]
    pub(crate) wait: Wait,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// Name of the service
    pub(crate) name: String,

    /// Only this version
    #[arg(id = "service.version", long = "version", value_name = "VERSION")]
    pub(crate) version: Option<String>,

    /// How long to wait for answers: first, settled, or a time such as 5s
    #[arg(long, value_name = "WAIT", default_value = "settled", value_parser = wait)]
    pub(crate) wait: Wait,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Name of the service; all services if not given
    pub(crate) name: Option<String>,

    /// Every namespace, not just --registry.namespace
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Register {
    /// Name of the service
    pub(crate) name: String,

    /// Version of the service, for instance v1.0.0
    #[arg(id = "service.version", long = "version", value_name = "VERSION")]
    pub(crate) version: String,

    /// Id of the node: what tells it from the others of the service
    #[arg(id = "node.id", long = "id", value_name = "ID")]
    pub(crate) id: String,

    /// Where the node can be reached
    #[arg(id = "node.address", long = "address", value_name = "HOST:PORT")]
    pub(crate) address: String,

    /// A fact about the node, for instance vine.zone=north; may be repeated
    #[arg(id = "node.metadata", long = "metadata", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,

    /// How long the registration holds if this program is killed; by default the registry's choice
    #[arg(id = "node.ttl", long = "ttl", value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deregister {
    /// Name of the service
    pub(crate) name: String,

    /// Version of the service
    #[arg(id = "service.version", long = "version", value_name = "VERSION")]
    pub(crate) version: String,

    /// Id of the node
    #[arg(id = "node.id", long = "id", value_name = "ID")]
    pub(crate) id: String,

    /// Even though somebody else registered it, for when that one is gone for good
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct OutputFlags {
    /// How to print: for people or for programs
    #[arg(
        id = "output",
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        help_heading = "Output",
        value_enum,
        default_value_t
    )]
    pub(crate) format: Format,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        value_name = "WHEN",
        help_heading = "Output",
        value_enum,
        default_value_t
    )]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

fn wait(text: &str) -> Result<Wait, &'static str> {
    match text {
        "first" => Ok(Wait::First),
        "settled" => Ok(Wait::Settled),
        _ => duration(text)
            .map(Wait::For)
            .map_err(|_| "take first, settled, or a time with a unit, for instance 5s"),
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not key=value; for instance vine.zone=north"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        use clap::FromArgMatches;
        let matches = command().try_get_matches_from(line.split_whitespace())?;
        Args::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_stands_before_or_behind_the_command() {
        for line in [
            "vine --registry.default=memory -o json --color=never list",
            "vine list --registry.default=memory -o json --color=never",
            "vine list --registy.default memory -ojson --color never",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.registry.default.as_deref(), Some("memory"), "{line}");
            assert_eq!(args.output.format, Format::Json, "{line}");
            assert_eq!(args.output.color, Color::Never, "{line}");
        }
    }

    #[test]
    fn waits_are_words_or_times() {
        assert_eq!(wait("first"), Ok(Wait::First));
        assert_eq!(wait("settled"), Ok(Wait::Settled));
        assert_eq!(wait("5s"), Ok(Wait::For(Duration::from_secs(5))));
        for text in ["", "5", "0s", "soon"] {
            assert!(wait(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
