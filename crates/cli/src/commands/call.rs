use std::{collections::BTreeMap, pin::pin, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use vine::{Node, Registry};

use crate::{
    args::Call,
    caller::{Answer, Caller},
    failure::Failure,
    output::{Considered, Output, considered, escaped, reader_gone},
};

/// The longest body that is held in memory, in bytes.
const LONGEST: usize = 64 << 20;
const TOO_LONG: &str = "its answer is longer than the 64 MiB that -o json holds; without -o json it is printed as it comes";

/// Calls a service by its name and prints what it answers.
pub(crate) async fn call(
    what: &Call,
    registry: &Arc<dyn Registry>,
    output: &mut Output,
) -> Result<(), Failure> {
    let caller = Caller::new(&what.target, what.timeout, registry).await?;
    let explained = what.explain.then(|| Considered::new(caller.selector()));
    let answer = if output.is_json() {
        print_json(&caller, explained, output).await?
    } else {
        if let Some(explained) = explained {
            output.explain(&considered(&explained, output.paint()));
        }
        print(&caller, what.explain, output).await?
    };
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return Err(Failure::Failed(format!(
            "{} answers {}",
            escaped(&answer.node.id),
            answer.status
        )));
    }
    Ok(())
}

/// Prints the body of an answer as it comes.
async fn print(caller: &Caller, explain: bool, output: &mut Output) -> Result<Answer, Failure> {
    let mut answer = caller.call().await.map_err(Failure::Failed)?;
    for node in &answer.refused {
        let Node { id, address, .. } = &**node;
        output.note(&format!("{id} at {address} refused the connection"));
    }
    if explain {
        let Answer { status, took, .. } = answer;
        let id = &answer.node.id;
        output.note(&format!("{status} from {id} after {took:.1?}"));
    }
    let mut parts = output.parts();
    let mut gone = pin!(reader_gone());
    let ended = loop {
        let part = tokio::select! {
            biased;
            part = caller.part(&mut answer) => part,
            () = &mut gone => return Err(Failure::ClosedPipe),
        };
        match part {
            Ok(Some(part)) => parts.print(&part).await?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(Failure::Failed(error)),
        }
    };
    parts.end().await?;
    ended.map(|()| answer)
}

/// Prints an answer as JSON when all of it is there.
async fn print_json(
    caller: &Caller,
    explain: Option<Considered>,
    output: &mut Output,
) -> Result<Answer, Failure> {
    let mut body = Vec::new();
    let answer = caller.call_to_the_end(|part| {
        if body.len() + part.len() > LONGEST {
            return Err(TOO_LONG.to_owned());
        }
        body.extend_from_slice(part);
        Ok(())
    });
    match answer.await {
        Ok(answer) => {
            output.json(&Json::new(&answer, body, explain)).await?;
            Ok(answer)
        }
        Err(error) => Err(unanswered(error, explain, output).await?),
    }
}

/// Says who was considered, which is most of what can be said without an answer.
async fn unanswered(
    error: String,
    explain: Option<Considered>,
    output: &mut Output,
) -> Result<Failure, Failure> {
    if let Some(explain) = explain {
        let error = error.as_str();
        output.json(&Unanswered { error, explain }).await?;
    }
    Ok(Failure::Failed(error))
}

/// What `-o json --explain` prints when no answer came.
#[derive(Serialize)]
struct Unanswered<'a> {
    error: &'a str,
    explain: Considered,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Json<'a> {
    status: u16,
    node: &'a Node,
    seconds: f64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refused: &'a [Arc<Node>],
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

impl<'a> Json<'a> {
    fn new(answer: &'a Answer, body: Vec<u8>, explain: Option<Considered>) -> Self {
        let mut headers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, value) in &answer.headers {
            let values = headers.entry(name.to_string()).or_default();
            values.push(text(value.as_bytes()));
        }
        Self {
            status: answer.status.as_u16(),
            seconds: answer.took.as_secs_f64(),
            refused: &answer.refused,
            headers,
            body: match String::from_utf8(body) {
                Ok(text) => Body::Text(text),
                Err(error) => Body::Binary(BASE64_STANDARD.encode(error.as_bytes())),
            },
            node: &answer.node,
            explain,
        }
    }
}

/// The value of a header. Those that are not UTF-8 are ISO 8859-1, RFC 9110 section 5.5.
fn text(value: &[u8]) -> String {
    let latin = |_| value.iter().copied().map(char::from).collect();
    std::str::from_utf8(value).map_or_else(latin, str::to_owned)
}
