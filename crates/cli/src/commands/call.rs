use std::{collections::BTreeMap, sync::Arc};

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
    let answer = caller.call().await.map_err(Failure::Failed)?;
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

/// What `-o json` prints.
#[derive(Serialize)]
struct Json {
    status: u16,
    node: Arc<Node>,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Arc<Node>>,
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Considered>,
}

impl Json {
    fn new(answer: Answer, explain: Option<Considered>) -> Self {
        let headers = answer.headers.iter();
        let headers = headers.map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        });
        Self {
            status: answer.status.as_u16(),
            seconds: answer.took.as_secs_f64(),
            refused: answer.refused,
            headers: headers.collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            node: answer.node,
            explain,
        }
    }
}
