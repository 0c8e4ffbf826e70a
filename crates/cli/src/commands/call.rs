use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use vine::{Node, Registry};

use crate::{
    args::Call,
    caller::{Answer, Caller},
    failure::Failure,
    output::{Considered, Output, considered, escaped},
};

/// Calls a service by its name and prints what it answers.
pub(crate) async fn call(
    what: &Call,
    registry: &Arc<dyn Registry>,
    output: &mut Output,
) -> Result<(), Failure> {
    let caller = Caller::new(&what.target, registry).await?;
    let explained = what.explain.then(|| Considered::new(caller.selector()));
    if let Some(explained) = explained.as_ref().filter(|_| !output.is_json()) {
        output.explain(&considered(explained, output.paint()));
    }
    let answer = match caller.call().await {
        Ok(answer) => answer,
        Err(error) => return unanswered(error, explained, output).await,
    };
    let status = answer.status;
    let id = Arc::clone(&answer.node.id);
    if output.is_json() {
        output.json(&Json::new(answer, explained)).await?;
    } else {
        for node in &answer.refused {
            output.note(&format!(
                "{} at {} refused the connection",
                node.id, node.address
            ));
        }
        if what.explain {
            output.note(&format!("{status} from {id} after {:.1?}", answer.took));
        }
        output.bytes(&answer.body).await?;
    }
    if status.is_client_error() || status.is_server_error() {
        return Err(Failure::Failed(format!(
            "{} answers {status}",
            escaped(&id)
        )));
    }
    Ok(())
}

/// Says who was considered, which is most of what can be said without an answer.
async fn unanswered(
    error: String,
    explain: Option<Considered>,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(explain) = explain.filter(|_| output.is_json()) {
        let error = error.as_str();
        output.json(&Unanswered { error, explain }).await?;
    }
    Err(Failure::Failed(error))
}

/// What `-o json --explain` prints when no answer came.
#[derive(Serialize)]
struct Unanswered<'a> {
    error: &'a str,
    explain: Considered,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Json {
    status: u16,
    node: Arc<Node>,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Arc<Node>>,
    /// The values of each name: a name may come more than once.
    headers: BTreeMap<String, Vec<String>>,
    #[serde(flatten)]
    body: Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Considered>,
}

/// A body as it can stand in JSON.
#[derive(Serialize)]
enum Body {
    #[serde(rename = "body")]
    Text(String),
    #[serde(rename = "body_base64")]
    Binary(String),
}

impl Json {
    fn new(answer: Answer, explain: Option<Considered>) -> Self {
        let mut headers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, value) in &answer.headers {
            let values = headers.entry(name.to_string()).or_default();
            values.push(text(value.as_bytes()));
        }
        Self {
            status: answer.status.as_u16(),
            seconds: answer.took.as_secs_f64(),
            refused: answer.refused,
            headers,
            body: match String::from_utf8(answer.body.into()) {
                Ok(text) => Body::Text(text),
                Err(error) => Body::Binary(BASE64_STANDARD.encode(error.as_bytes())),
            },
            node: answer.node,
            explain,
        }
    }
}

/// The value of a header. Those that are not UTF-8 are ISO 8859-1, RFC 9110 section 5.5.
fn text(value: &[u8]) -> String {
    let latin = |_| value.iter().copied().map(char::from).collect();
    std::str::from_utf8(value).map_or_else(latin, str::to_owned)
}
