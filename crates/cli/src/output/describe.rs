//! Services as people read them.

use anstyle::Style;
use vine::{Endpoint, Metadata, Node, Service, ServiceSummary, Value};

use super::{
    Paint, escaped, styles,
    table::{Align, Cell, Table},
};

/// A table of what services there are.
pub(crate) fn summaries(services: &[ServiceSummary], paint: Paint) -> String {
    let mut table = Table::new([
        ("NAMESPACE", Align::Left),
        ("NAME", Align::Left),
        ("VERSIONS", Align::Left),
        ("NODES", Align::Right),
    ]);
    for service in services {
        let nodes = service.nodes.map(|nodes| nodes.to_string());
        table.row([
            Cell::new(styles::PLAIN, &service.namespace),
            Cell::new(styles::NAME, &service.name),
            Cell::new(styles::VERSION, &service.versions.join(", ")),
            Cell::new(styles::PLAIN, nodes.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(paint, "")
}

/// All about a service in one version.
pub(crate) fn describe(service: &Service, paint: Paint) -> String {
    let mut text = paint.paint(styles::NAME, &escaped(&service.name));
    if !service.version.is_empty() {
        text.push(' ');
        text.push_str(&paint.paint(styles::VERSION, &escaped(&service.version)));
    }
    text.push('\n');
    let mut facts = Facts {
        paint,
        text: &mut text,
    };
    let namespace = Some(service.namespace.to_string()).filter(|name| !name.is_empty());
    facts.add("namespace", namespace);
    facts.add(
        "ttl",
        service
            .ttl
            .map(|ttl| humantime::format_duration(ttl).to_string()),
    );
    facts.add("metadata", pairs(&service.metadata));
    facts.add("endpoints", service.endpoints.iter().map(endpoint));
    facts.add("apis", service.apis.iter().map(api));
    text.push('\n');
    text.push_str(&nodes(service).render(paint, "  "));
    text
}

fn nodes(service: &Service) -> Table {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("METADATA", Align::Left),
    ]);
    let mut nodes: Vec<_> = service.nodes.iter().collect();
    nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for node in nodes {
        table.row([
            Cell::new(styles::PLAIN, &node.id),
            Cell::new(styles::GOOD, &node.address),
            Cell::new(
                metadata_style(node),
                &pairs(&node.metadata).collect::<Vec<_>>().join(", "),
            ),
        ]);
    }
    table
}

/// Draws the eye to a node that wants no calls.
fn metadata_style(node: &Node) -> Style {
    match node.metadata.get(Node::STATE) {
        None | Some("up") => styles::PLAIN,
        Some(_) => styles::CHANGED,
    }
}

/// Lines of `what  fact`, where `what` stands before the first fact alone.
struct Facts<'a> {
    paint: Paint,
    text: &'a mut String,
}

impl Facts<'_> {
    fn add(&mut self, mut what: &str, facts: impl IntoIterator<Item = String>) {
        for fact in facts {
            let label = self.paint.paint(styles::FAINT, what);
            let gap = " ".repeat(11usize.saturating_sub(what.len()));
            self.text
                .push_str(&format!("  {label}{gap}{}\n", escaped(&fact)));
            what = "";
        }
    }
}

fn pairs(metadata: &Metadata) -> impl Iterator<Item = String> {
    metadata.iter().map(|(key, value)| format!("{key}={value}"))
}

/// `Greeter.Hello(HelloRequest { name: string }) -> HelloReply`.
fn endpoint(endpoint: &Endpoint) -> String {
    let mut text = endpoint.name.clone();
    if let Some(request) = &endpoint.request {
        text.push_str(&format!("({})", value(request)));
    }
    if let Some(response) = &endpoint.response {
        text.push_str(&format!(" -> {}", value(response)));
    }
    let metadata: Vec<_> = pairs(&endpoint.metadata).collect();
    if !metadata.is_empty() {
        text.push_str(&format!(" [{}]", metadata.join(", ")));
    }
    text
}

fn value(shape: &Value) -> String {
    let mut text = match (shape.name.as_str(), shape.kind.as_str()) {
        (name, kind) if name == kind || kind.is_empty() => name.to_owned(),
        ("", kind) => kind.to_owned(),
        (name, kind) => format!("{name}: {kind}"),
    };
    if !shape.values.is_empty() {
        let fields: Vec<_> = shape.values.iter().map(value).collect();
        text.push_str(&format!(" {{ {} }}", fields.join(", ")));
    }
    text
}

/// The title and the version of an OpenAPI document.
fn api(document: &serde_json::Value) -> String {
    let info = |key| document["info"][key].as_str().unwrap_or_default();
    match (info("title"), info("version")) {
        ("", _) => "OpenAPI document (-o json shows it)".to_owned(),
        (title, version) => format!("{title} {version} (-o json shows it)"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn service() -> Service {
        let text = |name: &str| Value::new(name, "string");
        Service::new("go.vine.greeter", "v1.0.0")
            .with_namespace("vine")
            .with_ttl(Duration::from_secs(90))
            .with_metadata([("Content-Type", "application/json"), ("team", "付款")])
            .with_endpoint(
                Endpoint::new("Greeter.Hello")
                    .with_request(
                        Value::new("HelloRequest", "HelloRequest").with_values([text("name")]),
                    )
                    .with_response(Value::new("HelloReply", "").with_values([
                        text("message"),
                        Value::new("peer", "Peer").with_values([text("id")]),
                    ]))
                    .with_metadata([("stream", "false")]),
            )
            .with_endpoint(Endpoint::new("/v1/hello"))
            .with_apis([serde_json::json!({"info": {"title": "Greeter", "version": "1.0"}})])
            .with_node(Node::new("node-10", "[fd00::7]:11500"))
            .with_node(
                Node::new("node-1", "127.0.0.1:11500")
                    .with_metadata([("os", "linux"), (Node::STATE, "draining")]),
            )
            .with_node(Node::new("节点\x1b[2J", "db.example:80"))
    }

    #[test]
    fn a_service_is_described_in_full() {
        insta::assert_snapshot!(describe(&service(), Paint(false)));
    }

    #[test]
    fn colours_are_only_paint() {
        let plain = describe(&service(), Paint(false));
        let coloured = describe(&service(), Paint(true));
        insta::assert_snapshot!(coloured.replace('\x1b', "ESC"));
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            stripped.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(stripped + rest, plain);
    }

    #[test]
    fn a_service_with_a_name_alone_is_described() {
        let service = Service::new("bare", "").with_node(Node::new("a", "h:1"));
        insta::assert_snapshot!(describe(&service, Paint(false)));
    }

    #[test]
    fn summaries_are_a_table() {
        let summary = |namespace: &str, name: &str, versions: &[&str], nodes| {
            ServiceSummary::new(
                namespace,
                name,
                versions.iter().map(|&version| version.into()),
                nodes,
            )
        };
        let services = [
            summary("vine", "go.vine.greeter", &["v1.0.0", "v1.1.0"], Some(1200)),
            summary("vine", "用户.服务", &["v2"], Some(1)),
            summary("staging", "evil\x1b]0;x\x07", &[""], None),
        ];
        insta::assert_snapshot!(summaries(&services, Paint(false)));
    }
}
