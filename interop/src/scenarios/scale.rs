//! Many nodes.

use super::{NAME, Scenario, pair, same, scenario};
use crate::{Outcome, network::Host, process::Peer, punctuality::Moment};

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

/// How many look-ups the machine may disturb, beside those that count.
const DISTURBED: usize = 15;

/// Looks the service up in a fresh process, with the receive buffers that most machines give; false if
/// the machine has disturbed it so that it missed some.
async fn counts(host: &Host, expected: &str) -> Outcome<bool> {
    let mut asker = Peer::start(host).await?;
    asker.tell("open").await?;
    asker.tell("buffers").await?;
    let asked = Moment::now();
    let counted = asker.tell(&format!("count {NAME} {expected}")).await?;
    let found = counted.rsplit(' ').next().unwrap_or_default();
    match same(expected, found) {
        Err(_) if asked.was_late().await => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// Of 100 bytes of TXT, and of as many more as `padding` says.
async fn thousand(padding: u16) -> Outcome {
    let (a, b) = pair()?;
    let mut one = Peer::start(&a).await?;
    one.tell(&format!("register-many {NAME} v1 1000 10.77.0.1 {padding}"))
        .await?;
    let (mut whole, mut disturbed) = (0, 0);
    while whole < 30 {
        let counted = counts(&b, "1000").await;
        match counted.map_err(|error| format!("after {whole} whole ones: {error}"))? {
            true => whole += 1,
            false if disturbed == DISTURBED => {
                return Err(format!(
                    "{disturbed} look-ups of {} missed some",
                    whole + disturbed
                ));
            }
            false => disturbed += 1,
        }
    }
    Ok(())
}
