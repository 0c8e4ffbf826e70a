//! Processes on hosts, which do what they are told on standard input, one line each, and answer on
//! standard output, whatever registers and finds in them:
//!
//! | it is told | it answers |
//! |---|---|
//! | `register NAME VERSION ID ADDRESS` | `registered MICROSECONDS-SINCE-1970-WHEN-ASKED` |
//! | `register-many NAME VERSION COUNT ADDRESS [PADDING]` | `registered MICROSECONDS-SINCE-1970-WHEN-ASKED` |
//! | `deregister NAME VERSION ID` | `deregistered MICROSECONDS-SINCE-1970-WHEN-ASKED` |
//! | `get NAME first` | `got MICROSECONDS ID@ADDRESS[+MARK]...` |
//! | `count NAME EXPECTED` | `counted MICROSECONDS COUNT` |
//! | `watch NAME` | `snapshot ID...`, and from then on `event MICROSECONDS-SINCE-1970 ACTION ID...` |
//! | `sized` | `sized PROCESS-ID` of what is to be measured |
//!
//! or `error` and why. It ends when its input ends, or on SIGTERM, after it has closed what it opened.
//! There is more that [ours](vine) and [foreign programs](foreign) can do.

mod avahi;
mod foreign;
mod mdns_sd;
mod vine;

use std::{
    future::Future,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    signal::unix::{SignalKind, signal},
};

use crate::Outcome;

/// What registers and finds in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The registry of this repository.
    Vine,
    /// avahi-daemon with avahi-publish and avahi-browse.
    Avahi,
    /// The crate mdns-sd.
    MdnsSd,
    /// python-zeroconf.
    Zeroconf,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Vine, Self::MdnsSd, Self::Avahi, Self::Zeroconf];

    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vine => "vine",
            Self::Avahi => "avahi",
            Self::MdnsSd => "mdns-sd",
            Self::Zeroconf => "zeroconf",
        }
    }
}

/// Obeys as one of those that are part of this program, until its input ends or it is terminated.
pub(crate) async fn run(kind: &str) -> Outcome {
    match kind {
        "vine" => vine::run().await,
        "avahi" => foreign::run(avahi::Avahi::start().await?).await,
        "mdns-sd" => foreign::run(mdns_sd::MdnsSd::start()?).await,
        _ => Err(format!("there is no peer {kind}")),
    }
}

/// What obeys.
trait Obey {
    /// Does what a line says, and gives the answer.
    fn obey(&mut self, words: &[&str]) -> impl Future<Output = Outcome<String>>;
}

/// Hands it lines until there are no more.
async fn serve(peer: &mut impl Obey) -> Outcome {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(stdin()).lines();
    println!("ready");
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.map_err(|error| error.to_string())?,
            _ = terminate.recv() => None,
        };
        let Some(line) = line else { return Ok(()) };
        let words: Vec<&str> = line.split_whitespace().collect();
        match peer.obey(&words).await {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error {error}"),
        }
    }
}

/// All hosts have the clock of the one machine.
fn unix_micros() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros())
}
