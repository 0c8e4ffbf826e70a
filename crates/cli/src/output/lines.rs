//! What happens, a line each.

use std::time::{Duration, UNIX_EPOCH};

use anstyle::Style;
use vine::{Action, Error, Event, Node, Service};

use super::{
    Paint, escaped, styles,
    table::{Align, Cell},
};

/// How many nodes a line names; JSON has them all.
const NODES: usize = 8;

/// Lines whose columns stand below each other as far as that can be known beforehand.
pub(crate) struct Lines {
    paint: Paint,
    namespaces: bool,
    name: usize,
    version: usize,
}

impl Lines {
    /// Lines that name the namespaces, too, or do not.
    pub(crate) fn new(paint: Paint, namespaces: bool) -> Self {
        Self {
            paint,
            namespaces,
            name: 0,
            version: 0,
        }
    }

    /// What was there when the watch began.
    pub(crate) fn snapshot(&mut self, services: &[impl AsRef<Service>]) -> String {
        for service in services {
            self.widen(service.as_ref());
        }
        services
            .iter()
            .map(|service| self.service("", "found", styles::FAINT, service.as_ref()))
            .collect()
    }

    pub(crate) fn event(&mut self, event: &Event) -> String {
        let style = match event.action {
            Action::Create => styles::GOOD,
            Action::Delete => styles::GONE,
            _ => styles::CHANGED,
        };
        self.widen(&event.service);
        self.service(
            &time(event.timestamp),
            event.action.as_str(),
            style,
            &event.service,
        )
    }

    pub(crate) fn stale(&self, now: i64, error: &Error) -> String {
        let error = format!("{error}; what is known may be old");
        self.status(now, "stale", styles::WARNING, &error)
    }

    pub(crate) fn live(&self, now: i64) -> String {
        self.status(
            now,
            "live",
            styles::GOOD,
            "the registry can be reached again",
        )
    }

    fn status(&self, now: i64, what: &str, style: Style, text: &str) -> String {
        let head = self.head(&time(now), what, style);
        format!("{head}  {}\n", escaped(text))
    }

    fn service(&self, time: &str, what: &str, style: Style, service: &Service) -> String {
        let head = self.head(time, what, style);
        let name = self
            .name(service)
            .padded(self.paint, Align::Left, self.name);
        let version = version(service).padded(self.paint, Align::Left, self.version);
        let nodes = nodes(service);
        format!("{head}  {name}  {version}  {}\n", escaped(&nodes))
    }

    fn head(&self, time: &str, what: &str, style: Style) -> String {
        let time = self.paint.paint(styles::FAINT, &format!("{time:20}"));
        let gap = " ".repeat(6usize.saturating_sub(what.len()));
        format!("{time}  {}{gap}", self.paint.paint(style, what))
    }

    fn name(&self, service: &Service) -> Cell {
        if self.namespaces {
            Cell::new(
                styles::NAME,
                &format!("{}/{}", service.namespace, service.name),
            )
        } else {
            Cell::new(styles::NAME, &service.name)
        }
    }

    fn widen(&mut self, service: &Service) {
        self.name = self.name.max(self.name(service).width());
        self.version = self.version.max(version(service).width());
    }
}

fn version(service: &Service) -> Cell {
    Cell::new(styles::VERSION, &service.version)
}

fn nodes(service: &Service) -> String {
    if service.nodes.is_empty() {
        return "(what belongs to the service, not to a node)".to_owned();
    }
    let mut nodes: Vec<_> = service.nodes.iter().collect();
    nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut text: Vec<_> = nodes
        .iter()
        .take(NODES)
        .map(|node| node_text(node))
        .collect();
    if nodes.len() > NODES {
        text.push(format!("and {} more", nodes.len() - NODES));
    }
    text.join(", ")
}

/// Where a node is, and its state if it says one.
fn node_text(node: &Node) -> String {
    let state = node.metadata.get(Node::STATE);
    let state = state.map_or_else(String::new, |state| format!(" ({state})"));
    format!("{} at {}{state}", node.id, node.address)
}

/// Unix seconds as RFC 3339.
fn time(seconds: i64) -> String {
    // The last second that has four digits of a year.
    let seconds = u64::try_from(seconds)
        .unwrap_or_default()
        .min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use vine::Services;

    use super::*;

    const NOON: i64 = 1_700_000_000;

    fn service(name: &str, nodes: std::ops::Range<u16>) -> Service {
        Service::new(name, "v1.0.0")
            .with_namespace("vine")
            .with_nodes(
                nodes.map(|i| Node::new(format!("n{i}"), format!("127.0.0.1:{}", 8000 + i))),
            )
    }

    fn event(action: Action, service: Service) -> Event {
        let mut event = Event::new(action, service);
        event.timestamp = NOON;
        event
    }

    #[test]
    fn a_watch_is_told_line_by_line() {
        let mut lines = Lines::new(Paint(false), false);
        let snapshot = [service("go.vine.a", 0..2), service("b", 2..3)];
        let snapshot: Services = snapshot.into_iter().collect();
        let mut text = lines.snapshot(&snapshot);
        text += &lines.event(&event(Action::Create, service("go.vine.longer", 3..4)));
        text += &lines.event(&event(Action::Update, service("go.vine.a", 0..0)));
        text += &lines.stale(NOON, &Error::unavailable("mdns", "no\nnetwork"));
        text += &lines.live(NOON);
        text += &lines.event(&event(Action::Delete, service("b\x1b", 2..30)));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn namespaces_are_named_when_there_are_several() {
        let mut lines = Lines::new(Paint(false), true);
        let text = lines.event(&event(Action::Create, service("a", 0..1)));
        insta::assert_snapshot!(text, @"2023-11-14T22:13:20Z  create  vine/a  v1.0.0  n0 at 127.0.0.1:8000");
    }

    #[test]
    fn no_time_is_out_of_bounds() {
        assert_eq!(time(-1), "1970-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
