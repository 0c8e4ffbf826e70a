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
        scenario(
            "a hundred nodes each of twenty processes are all found, 10 of 10 times",
            twenty_processes(),
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
    each_time(&b, "1000", 30).await
}

/// Finds so many as often as that, in fresh processes.
async fn each_time(asker: &Host, expected: &str, times: usize) -> Outcome {
    let (mut whole, mut disturbed) = (0, 0);
    while whole < times {
        let counted = counts(asker, expected).await;
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

/// Four hosts with five processes each, and a fifth one that asks.
async fn twenty_processes() -> Outcome {
    let hosts: Vec<Host> = (0..5).map(|_| Host::new()).collect::<Outcome<_>>()?;
    let addresses: Vec<String> = (1..=hosts.len())
        .map(|i| format!("10.77.0.{i}/24"))
        .collect();
    let ends: Vec<_> = hosts
        .iter()
        .zip(addresses.iter().map(String::as_str))
        .collect();
    let _switch = Host::switch(&ends)?;
    let [asker, owners @ ..] = &hosts[..] else {
        return Err("there are no hosts".to_owned());
    };
    let mut watch = Peer::start(asker).await?;
    same("snapshot ", &watch.tell(&format!("watch {NAME}")).await?)?;
    let mut processes = Vec::new();
    for number in 0..20 {
        let mut process = Peer::start(&owners[number % owners.len()]).await?;
        let address = format!("10.77.1.{number}");
        process
            .tell(&format!("register-many {NAME} v1 100 {address}"))
            .await?;
        processes.push(process);
    }
    let mut seen = 0;
    while seen < 2_000 {
        let event = watch.expect("event").await?;
        let mut words = event.split(' ').skip(1);
        if words.next() == Some("create") {
            seen += words.count();
        }
    }
    each_time(asker, "2000", 10).await
}
