//! Many nodes.

use super::{NAME, Scenario, pair, same, scenario};
use crate::{Outcome, network::Host, process::Peer};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "a thousand nodes are all found, 30 of 30 times",
            thousand(0),
        ),
        scenario(
            "a thousand larger nodes are all found, 30 of 30 times",
            thousand(400),
        ),
    ]
}

/// Looks the service up in a fresh process, with the receive buffers that most machines give.
async fn counts(host: &Host, expected: usize) -> Outcome {
    let mut asker = Peer::start(host).await?;
    asker.tell("open").await?;
    asker.tell("buffers").await?;
    let counted = asker.tell(&format!("count {NAME} {expected}")).await?;
    let found = counted.rsplit(' ').next().unwrap_or_default();
    same(&expected.to_string(), found)
}

/// Of 100 bytes of TXT, and of as many more as `padding` says.
async fn thousand(padding: u16) -> Outcome {
    let (a, b) = pair()?;
    let mut one = Peer::start(&a).await?;
    one.tell(&format!("register-many {NAME} v1 1000 10.77.0.1 {padding}"))
        .await?;
    for round in 1..=30 {
        let found = counts(&b, 1000).await;
        found.map_err(|error| format!("round {round}: {error}"))?;
    }
    Ok(())
}
