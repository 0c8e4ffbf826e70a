//! The program `vine`: looks at a registry and changes it, from a shell.

mod args;
mod caller;
mod commands;
mod failure;
mod interrupt;
mod output;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::{Args, Command};
use failure::Failure;
use interrupt::Interrupt;
use output::Output;

fn main() -> ExitCode {
    let matches = args::command().try_get_matches();
    let args = match matches.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => return failure::usage(&error),
    };
    args.log.init_at("error");
    // Two threads, so that the registry's work goes on while this one waits for a slow reader.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let done = runtime.block_on(run(args));
    // A reader that does not read must not keep the program from ending.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let mut output = Output::new(&args.output);
    if let Command::Completions(what) = &args.command {
        return commands::completions(what, &mut output).await;
    }
    if matches!(args.command, Command::Doctor) {
        return commands::doctor(&args.registry, &mut output).await;
    }
    args.command.check()?;
    let registry = args.registry.open(&vine::Registries::new())?;
    if registry.name() == "memory" {
        output.note("a memory registry is seen by this process alone, and ends with it");
    }
    let done = match &args.command {
        Command::List(what) => commands::list(what, &*registry, &mut output).await,
        Command::Get(what) => commands::get(what, &*registry, &mut output).await,
        Command::Watch(what) => commands::watch(what, &*registry, &mut output).await,
        Command::Call(what) => commands::call(what, &registry, &mut output).await,
        Command::Bench(what) => commands::bench(what, &registry, &mut output).await,
        Command::Register(what) => commands::register(what, &registry, &mut output).await,
        Command::Deregister(what) => commands::deregister(what, &*registry, &mut output).await,
        Command::Completions(_) | Command::Doctor => Ok(()),
    };
    if matches!(done, Err(Failure::Impatient)) {
        return done;
    }
    let mut interrupt = Interrupt::listen()?;
    let closed = tokio::select! {
        // What was to be done is done, or can't be.
        () = interrupt.wait() => return done,
        closed = registry.close() => closed,
    };
    done?;
    Ok(closed?)
}
