use std::{io::IsTerminal, str::FromStr};

use clap::ValueEnum;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

use super::value::env;

const LOG: &str = "Log";

/// What is logged to standard error, and how.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct LogFlags {
    /// How much to log: off, error, warn, info, debug or trace, also by module, as in
    /// info,vine=debug
    #[arg(
        id = "log.level", long = "log.level", value_name = "LEVEL", help_heading = LOG,
        env = env("VINE_LOG_LEVEL"), value_parser = level,
    )]
    pub level: Option<String>,

    /// How a log line looks
    #[arg(
        id = "log.format", long = "log.format", value_name = "FORMAT", help_heading = LOG,
        env = env("VINE_LOG_FORMAT"), value_enum, default_value_t, hide_possible_values = true,
        help = "How a log line looks: text or json",
    )]
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

impl LogFlags {
    /// Sends what is logged by `tracing` to standard error from now on, at level `info` if none
    /// was given. A subscriber that was set before stays.
    pub fn init(&self) {
        self.init_at("info");
    }

    /// [`init`](Self::init) with another level for when none was given, for instance `warn`.
    pub fn init_at(&self, level: &str) {
        let targets = self
            .level
            .as_deref()
            .into_iter()
            .chain([level])
            .find_map(|level| Targets::from_str(level).ok())
            .unwrap_or_default();
        let stderr = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let registry = tracing_subscriber::registry();
        let set = match self.format {
            LogFormat::Text => registry.with(stderr.with_filter(targets)).try_init(),
            LogFormat::Json => registry.with(stderr.json().with_filter(targets)).try_init(),
        };
        if set.is_err() {
            tracing::debug!("logging was set up before; --log.level and --log.format are not used");
        }
    }
}

/// Targets take a word that is no level for a module; a misspelt level is likelier.
fn level(text: &str) -> Result<String, &'static str> {
    let is_level = |directive: &str| {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        level.trim().parse::<LevelFilter>().is_ok()
    };
    if text.split(',').all(is_level) && Targets::from_str(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("not a level; take off, error, warn, info, debug or trace, also by module: info,vine=debug")
}
