use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use vine::{Event, Registry, Services, Update, WatchOptions, Watcher};

use super::namespaces;
use crate::{
    args::Watch,
    failure::Failure,
    interrupt::Interrupt,
    output::{Lines, Output, reader_gone},
};

/// Prints what services there are, then every change until the program is asked to end.
pub(crate) async fn watch(
    what: &Watch,
    registry: &dyn Registry,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen()?;
    tokio::select! {
        () = interrupt.wait() => Ok(()),
        () = reader_gone() => Err(Failure::ClosedPipe),
        done = show(what, registry, output) => done,
    }
}

async fn show(what: &Watch, registry: &dyn Registry, output: &mut Output) -> Result<(), Failure> {
    let mut options = WatchOptions::new().with_namespace(namespaces(what.all_namespaces));
    if let Some(name) = &what.name {
        options = options.with_service(name.as_str());
    }
    let watcher = registry.watch(options).await?;
    if output.is_json() {
        show_json(watcher, output).await?;
    } else {
        output.note(&scope(what, registry));
        show_lines(
            watcher,
            Lines::new(output.paint(), what.all_namespaces),
            output,
        )
        .await?;
    }
    Err(Failure::Failed(
        "the registry ended the watch; start it again".to_owned(),
    ))
}

fn scope(what: &Watch, registry: &dyn Registry) -> String {
    let name = what.name.as_deref().unwrap_or("every service");
    let engine = registry.name();
    if what.all_namespaces {
        format!("watching {name} in all namespaces on {engine}; Ctrl-C ends")
    } else {
        let namespace = &registry.options().namespace;
        format!("watching {name} in namespace {namespace} on {engine}; Ctrl-C ends")
    }
}

async fn show_lines(
    mut watcher: Watcher,
    mut lines: Lines,
    output: &mut Output,
) -> Result<(), Failure> {
    let snapshot = lines.snapshot(&watcher.take_snapshot());
    output.print(&snapshot).await?;
    while let Some(update) = watcher.next().await {
        let line = match update {
            Update::Event(event) => lines.event(&event),
            Update::Stale(error) => lines.stale(now(), &error),
            Update::Live => lines.live(now()),
            _ => continue,
        };
        output.print(&line).await?;
    }
    Ok(())
}

/// A line of `watch -o json`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Snapshot(Services),
    Stale(String),
    Live(bool),
    #[serde(untagged)]
    Event(Event),
}

async fn show_json(mut watcher: Watcher, output: &mut Output) -> Result<(), Failure> {
    output
        .json_line(&Line::Snapshot(watcher.take_snapshot()))
        .await?;
    while let Some(update) = watcher.next().await {
        let line = match update {
            Update::Event(event) => Line::Event(event),
            Update::Stale(error) => Line::Stale(error.to_string()),
            Update::Live => Line::Live(true),
            _ => continue,
        };
        output.json_line(&line).await?;
    }
    Ok(())
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use vine::{Action, Error, Node, Service};

    use super::*;

    #[test]
    fn json_lines_are_as_promised() {
        let service = Service::new("a", "v1").with_node(Node::new("n", "127.0.0.1:80"));
        let mut event = Event::new(Action::Create, service.clone());
        event.timestamp = 1_700_000_000;
        let stale = Error::unavailable("mdns", "no network").to_string();
        let lines = [
            Line::Snapshot([service].into_iter().collect()),
            Line::Event(event),
            Line::Stale(stale),
            Line::Live(true),
        ];
        let lines = lines.map(|line| serde_json::to_string(&line).unwrap());
        insta::assert_snapshot!(lines.join("\n"));
    }
}
