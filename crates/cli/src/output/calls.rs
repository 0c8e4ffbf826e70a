//! Calls as people read them: who was considered, and how long it took.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use vine::Node;
use vine_discovery::{Selector, Verdict};

use super::{
    Paint, escaped, styles,
    table::{Align, Cell, Table},
};

/// Which nodes were considered for a call.
#[derive(Serialize)]
pub(crate) struct Considered {
    /// How long ago that was known to be so; none if it never was.
    age_seconds: Option<f64>,
    /// Why the registry can't be reached, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<String>,
    nodes: Vec<One>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    node: Arc<Node>,
    version: Arc<str>,
    verdict: String,
    #[serde(skip)]
    is_in: Option<bool>,
}

impl Considered {
    pub(crate) fn new(selector: &Selector) -> Self {
        let known = selector.subscription().known();
        let nodes = selector.explain().into_iter().map(|one| One {
            node: one.node,
            version: one.version,
            verdict: one.verdict.to_string(),
            is_in: match one.verdict {
                Verdict::In => Some(true),
                Verdict::Out(_) => Some(false),
                _ => None,
            },
        });
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by(|a, b| (&a.version, &a.node.id).cmp(&(&b.version, &b.node.id)));
        Self {
            age_seconds: known.age().map(|age| age.as_secs_f64()),
            stale: known.error().map(ToString::to_string),
            nodes,
        }
    }
}

/// A table of the nodes that were considered.
pub(crate) fn considered(considered: &Considered, paint: Paint) -> String {
    let knowledge = match (&considered.stale, considered.age_seconds) {
        (Some(error), Some(age)) => {
            let age = humantime::format_duration(Duration::from_secs(age as u64));
            paint.paint(
                styles::WARNING,
                &format!("known from {age} ago: {}", escaped(error)),
            )
        }
        (Some(error), None) => paint.paint(styles::WARNING, &escaped(error)),
        (None, _) => "known from the registry, which tells of each change".to_owned(),
    };
    if considered.nodes.is_empty() {
        return format!("{knowledge}\n");
    }
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("VERSION", Align::Left),
        ("CALLS", Align::Left),
    ]);
    for one in &considered.nodes {
        let style = match one.is_in {
            Some(true) => styles::GOOD,
            Some(false) => styles::GONE,
            None => styles::CHANGED,
        };
        table.row([
            Cell::new(styles::PLAIN, &one.node.id),
            Cell::new(styles::PLAIN, &one.node.address),
            Cell::new(styles::VERSION, &one.version),
            Cell::new(style, &one.verdict),
        ]);
    }
    format!("{knowledge}\n{}", table.render(paint, ""))
}

/// What many calls have shown.
#[derive(Serialize)]
pub(crate) struct Measured {
    calls: usize,
    failed: usize,
    seconds: f64,
    calls_per_second: f64,
    /// By percentile, of the calls that did not fail.
    latency_seconds: BTreeMap<&'static str, f64>,
    /// How many answers came from each node.
    nodes: BTreeMap<Arc<str>, usize>,
}

const PERCENTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

impl Measured {
    pub(crate) fn new(
        mut latencies: Vec<Duration>,
        nodes: BTreeMap<Arc<str>, usize>,
        failed: usize,
        took: Duration,
    ) -> Self {
        latencies.sort_unstable();
        let at = |share: f64| {
            let rank = (latencies.len() as f64 * share).ceil() as usize;
            latencies.get(rank.saturating_sub(1))
        };
        let latency = PERCENTILES.iter();
        let latency = latency.filter_map(|&(name, share)| Some((name, at(share)?.as_secs_f64())));
        let calls = latencies.len() + failed;
        Self {
            calls,
            failed,
            seconds: took.as_secs_f64(),
            calls_per_second: calls as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
            latency_seconds: latency.collect(),
            nodes,
        }
    }
}

/// So many calls.
pub(crate) fn calls(count: usize) -> String {
    match count {
        1 => "1 call".to_owned(),
        _ => format!("{count} calls"),
    }
}

/// What many calls have shown, as tables.
pub(crate) fn measured(measured: &Measured, paint: Paint) -> String {
    let mut text = format!(
        "{} in {:.2} s, {:.0} a second; ",
        calls(measured.calls),
        measured.seconds,
        measured.calls_per_second
    );
    let failed = format!("{} failed", measured.failed);
    let style = if measured.failed > 0 {
        styles::GONE
    } else {
        styles::GOOD
    };
    text.push_str(&paint.paint(style, &failed));
    text.push('\n');
    let mut latency = Table::new([("LATENCY", Align::Left), ("MS", Align::Right)]);
    for (name, _) in PERCENTILES {
        if let Some(seconds) = measured.latency_seconds.get(name) {
            latency.row([
                Cell::new(styles::PLAIN, name),
                Cell::new(styles::PLAIN, &format!("{:.2}", seconds * 1e3)),
            ]);
        }
    }
    if !measured.latency_seconds.is_empty() {
        text.push('\n');
        text.push_str(&latency.render(paint, ""));
    }
    let mut nodes = Table::new([
        ("NODE", Align::Left),
        ("ANSWERS", Align::Right),
        ("SHARE", Align::Right),
    ]);
    let all: usize = measured.nodes.values().sum();
    for (id, count) in &measured.nodes {
        let share = 100.0 * *count as f64 / all as f64;
        nodes.row([
            Cell::new(styles::PLAIN, id),
            Cell::new(styles::PLAIN, &count.to_string()),
            Cell::new(styles::PLAIN, &format!("{share:.1} %")),
        ]);
    }
    if !measured.nodes.is_empty() {
        text.push('\n');
        text.push_str(&nodes.render(paint, ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let latencies = (1..=1_000).rev().map(Duration::from_millis).collect();
        let nodes = BTreeMap::from([("a".into(), 750), ("b".into(), 251)]);
        let measured = Measured::new(latencies, nodes, 1, Duration::from_secs(2));
        let json = serde_json::to_value(&measured).unwrap();
        assert_eq!(json["calls"], 1_001);
        assert_eq!(json["latency_seconds"]["p50"], 0.5);
        assert_eq!(json["latency_seconds"]["p99.9"], 0.999);
        assert_eq!(json["latency_seconds"]["max"], 1.0);
        let text = super::measured(&measured, Paint(false));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn without_calls_there_are_no_percentiles() {
        let one = Measured::new(Vec::new(), BTreeMap::new(), 1, Duration::from_secs(1));
        let text = measured(&one, Paint(false));
        assert_eq!(text, "1 call in 1.00 s, 1 a second; 1 failed\n");
        let measured = Measured::new(Vec::new(), BTreeMap::new(), 3, Duration::from_secs(1));
        let json = serde_json::to_value(&measured).unwrap();
        assert_eq!(json["latency_seconds"], serde_json::json!({}));
        let text = super::measured(&measured, Paint(false));
        assert_eq!(text, "3 calls in 1.00 s, 3 a second; 3 failed\n");
    }
}
