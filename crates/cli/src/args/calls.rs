//! The flags of the commands that call services.

use std::{
    fs,
    io::{self, Read},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum;
use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};
use vine::cli::duration;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) target: Target,

    /// How long to wait until the answer begins; with -o json, until it ends
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Say which nodes were considered, why each is in or out, and how old that knowledge is
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) target: Target,

    /// How long a call may take until its answer ends
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How many calls are under way at a time
    #[arg(
        short = 'c',
        long,
        value_name = "N",
        default_value = "50",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub(crate) concurrency: NonZeroUsize,

    /// How many calls
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "10000",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub(crate) calls: NonZeroUsize,
}

/// What to call, and which node.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Name of the service
    #[arg(value_parser = name)]
    pub(crate) name: String,

    /// Path and query, for instance /hello?name=vine
    #[arg(value_parser = path)]
    pub(crate) path: String,

    /// Body to send, or the @FILE to take it from, @- for standard input; the method is POST then
    #[arg(
        short = 'd',
        long = "data",
        alias = "data-binary",
        value_name = "BODY",
        value_parser = body,
        allow_hyphen_values = true
    )]
    pub(crate) body: Option<Body>,

    /// Header to send, for instance 'Accept: text/plain'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    /// Method, if not GET, or POST with a body
    #[arg(short = 'X', long, alias = "request", value_name = "METHOD", value_parser = method)]
    pub(crate) method: Option<Method>,

    /// Which of several nodes gets a call [default: least-loaded, or consistent-hash with --key]
    #[arg(long, value_name = "STRATEGY", value_enum)]
    pub(crate) strategy: Option<Strategy>,

    /// What holds calls together: those with the same key go to the same node
    #[arg(
        long,
        value_name = "KEY",
        required_if_eq("strategy", "consistent-hash")
    )]
    pub(crate) key: Option<String>,

    /// Only nodes of versions in this range, for instance ^1.2 or '>=1.4, <3'
    #[arg(id = "service.version", long = "version", value_name = "RANGE")]
    pub(crate) version: Option<String>,

    /// Prefer nodes of this zone, as long as half of them are healthy
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
}

impl Target {
    /// The strategy that was asked for, by its name or by a key.
    pub(crate) fn strategy(&self) -> Result<Strategy, Failure> {
        match (self.strategy, &self.key) {
            (None, None) => Ok(Strategy::LeastLoaded),
            (None | Some(Strategy::ConsistentHash), _) => Ok(Strategy::ConsistentHash),
            (Some(strategy), None) => Ok(strategy),
            (Some(_), Some(_)) => Err(Failure::Usage(
                "--key takes --strategy consistent-hash, which it means by itself; leave one of them out"
                    .to_owned(),
            )),
        }
    }
}

/// Where a body comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl Body {
    /// The bytes as they are: nothing is taken away or added.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Text(text) => Ok(text.clone().into()),
            Self::File(path) => fs::read(path).map_err(|error| {
                let path = path.display();
                Failure::Usage(format!(
                    "can't read {path}: {error}; --data @FILE takes a file's bytes"
                ))
            }),
            Self::StandardInput => {
                let mut bytes = Vec::new();
                let read = io::stdin().read_to_end(&mut bytes);
                let failed = |error| Failure::Failed(format!("can't read standard input: {error}"));
                read.map(|_| bytes).map_err(failed)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    Random,
    RoundRobin,
    Weighted,
    LeastLoaded,
    ConsistentHash,
}

fn count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "not a number of at least 1")
}

fn body(text: &str) -> Result<Body, &'static str> {
    match text.strip_prefix('@') {
        None => Ok(Body::Text(text.to_owned())),
        Some("-") => Ok(Body::StandardInput),
        Some("") => Err("what follows @ is a file, or - for standard input"),
        Some(file) => Ok(Body::File(file.into())),
    }
}

fn path(text: &str) -> Result<String, &'static str> {
    match text {
        _ if !text.starts_with('/') => Err("a path begins with /, for instance /healthz"),
        _ if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err("a path holds no blanks; write them as %20")
        }
        _ => Ok(text.to_owned()),
    }
}

/// Who knows URLs alone would be told that no service is called so.
fn name(text: &str) -> Result<String, &'static str> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err("a name is no URL; write the name and the path as two words");
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<Method, &'static str> {
    text.parse()
        .map_err(|_| "no method of HTTP, for instance PUT")
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = text
        .split_once(':')
        .ok_or("not 'name: value'; for instance 'Accept: text/plain'")?;
    let name = name
        .parse()
        .map_err(|_| "what stands before the colon is no name of a header")?;
    let value = value.trim().parse();
    Ok((
        name,
        value.map_err(|_| "the value can't stand in a header")?,
    ))
}

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT;

    use super::*;

    #[test]
    fn paths_and_headers_are_checked() {
        assert_eq!(path("/a?b=c"), Ok("/a?b=c".to_owned()));
        assert!(path("a").is_err() && path("/a b").is_err() && path("").is_err());
        let accept = (ACCEPT, HeaderValue::from_static("a:b"));
        assert_eq!(header("Accept: a:b"), Ok(accept));
        for wrong in ["Accept", ": x", "a b: c", "a: \u{1}"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
