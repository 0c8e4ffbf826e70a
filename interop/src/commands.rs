//! What the program can be told to do.

use std::process::ExitCode;

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{Outcome, measure, network, peer, scenarios, wire};

/// Runs what the arguments say.
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let runtime = Runtime::new().map_err(|error| format!("can't start: {error}"))?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let code = obey(&runtime, &arguments);
    // A thread may still be reading standard input; nobody waits for it.
    runtime.shutdown_background();
    code
}

fn obey(runtime: &Runtime, arguments: &[&str]) -> Outcome<ExitCode> {
    match *arguments {
        ["peer", kind] => runtime
            .block_on(peer::run(kind))
            .map(|()| ExitCode::SUCCESS),
        ["tap", name] => runtime
            .block_on(wire::tap(name))
            .map(|()| ExitCode::SUCCESS),
        ["doctor", ref rest @ ..] => runtime
            .block_on(scenarios::doctor::act(rest))
            .map(|()| ExitCode::SUCCESS),
        ["measure", ref names @ ..] => {
            network::check()?;
            runtime
                .block_on(interruptible(measure::run(names)))
                .map(|()| ExitCode::SUCCESS)
        }
        [option, ..] if option.starts_with('-') => Err(format!(
            "usage: vine-interop [measure [{}]... | NAME...]",
            measure::PARTS
        )),
        ref names => {
            network::check()?;
            let all_passed = runtime.block_on(interruptible(scenarios::run(names)))?;
            Ok(if all_passed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

/// Gives up on a signal; what was made is removed as the future is dropped.
async fn interruptible<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let on = |kind| signal(kind).map_err(|error| format!("can't listen for signals: {error}"));
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err("interrupted".to_owned()),
        _ = terminate.recv() => Err("terminated".to_owned()),
    }
}
