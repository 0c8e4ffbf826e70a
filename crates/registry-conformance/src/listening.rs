//! Listens to what engines tell of themselves, as `vine_registry::telemetry` names it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use vine_registry::{
    DeregisterOptions, GetOptions, ListOptions, Node, RegisterOptions, Registry, Result, Service,
    WatchOptions,
};

/// Keeps metrics: the sums of counters, the levels of gauges, and how many values histograms got.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<BTreeMap<Key, f64>>>);

impl Recorder {
    /// What was told under this name with all of these labels, and any others, as a sum.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |key: &Key| {
            let has = |(name, value)| {
                let mut labels = key.labels();
                labels.any(|label| label.key() == name && label.value() == value)
            };
            key.name() == name && labels.iter().copied().all(has)
        };
        let values = self.values();
        let told = values.iter().filter(|(key, _)| fits(key));
        told.map(|(_, value)| value).sum()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Key, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: &Key) -> Arc<Cell> {
        Arc::new(Cell {
            recorder: self.clone(),
            key: key.clone(),
        })
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

struct Cell {
    recorder: Recorder,
    key: Key,
}

impl Cell {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.recorder.values().entry(self.key.clone()).or_default());
    }
}

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.change(|value| *value += by as f64);
    }

    fn absolute(&self, to: u64) {
        self.change(|value| *value = to as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, by: f64) {
        self.change(|value| *value += by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| *value -= by);
    }

    fn set(&self, to: f64) {
        self.change(|value| *value = to);
    }
}

impl HistogramFn for Cell {
    fn record(&self, _: f64) {
        self.change(|count| *count += 1.0);
    }
}

/// Keeps the spans of calls, with their fields, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl Spans {
    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == "vine_registry::telemetry"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = Text(attributes.metadata().name().to_owned());
        attributes.record(&mut text);
        let mut names = self.names();
        names.push(text.0);
        Id::from_u64(names.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

/// Makes each call once and gives the spans that they were. On a runtime of one thread, in a program
/// where nobody else makes such calls: spans that another thread meets first may count as unwanted.
///
/// # Errors
/// That of the call that failed.
pub async fn spans_of_calls(registry: &dyn Registry) -> Result<Vec<String>> {
    let spans = Spans::default();
    let listening = tracing::subscriber::set_default(spans.clone());
    let service = Service::new("go.vine.spans", "v1").with_node(Node::new("a", "127.0.0.1:80"));
    let options = RegisterOptions::default();
    registry
        .register_with(Arc::new(service.clone()), &options)
        .await?;
    let options = GetOptions::default();
    registry.get_service_with(&service.name, &options).await?;
    registry.list_services_with(&ListOptions::default()).await?;
    let watched = WatchOptions::default().with_service(&*service.name);
    drop(registry.watch(watched).await?);
    let options = DeregisterOptions::default();
    registry.deregister_with(&service, &options).await?;
    drop(listening);
    let names = spans.names().clone();
    Ok(names)
}

/// What [`spans_of_calls`] gives, of an engine of this name.
#[must_use]
pub fn expected_spans(registry: &str) -> Vec<String> {
    [
        ("register", " service=go.vine.spans version=v1"),
        ("get_service", " service=\"go.vine.spans\""),
        ("list_services", ""),
        ("watch", " service=\"go.vine.spans\""),
        ("deregister", " service=go.vine.spans version=v1"),
    ]
    .map(|(call, fields)| format!("{call} registry={registry:?}{fields}"))
    .to_vec()
}
