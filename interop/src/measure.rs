//! How fast it is between two hosts.

use crate::{Outcome, process::Peer, scenarios::pair};

const ROUNDS: usize = 30;

const NAME: &str = "go.vine.measured";

/// Measures and prints medians.
pub(crate) async fn run() -> Outcome {
    let (a, b) = pair()?;
    let mut holder = Peer::start(&a).await?;
    holder
        .tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    for wait in ["first", "settled"] {
        let (mut opened, mut fresh) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut asker = Peer::start(&b).await?;
            fresh.push(look_up(&mut asker, wait).await?);
            let mut asker = Peer::start(&b).await?;
            asker.tell("open").await?;
            opened.push(look_up(&mut asker, wait).await?);
        }
        print(&format!("cold look-up, {wait}"), opened);
        print(
            &format!("cold look-up, {wait}, sockets not yet open"),
            fresh,
        );
    }

    let mut asker = Peer::start(&b).await?;
    look_up(&mut asker, "settled").await?;
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        again.push(look_up(&mut asker, "settled").await?);
    }
    print("look-up once browsed", again);

    let mut watch = Peer::start(&b).await?;
    watch.tell(&format!("watch {NAME}")).await?;
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let asked = holder
            .tell(&format!("register {NAME} v1 n{round} 10.77.0.1:80"))
            .await?;
        let event = watch.expect("event").await?;
        seen.push(number(&event, 0)?.saturating_sub(number(&asked, 1)?));
    }
    print("register until another process's watch has it", seen);

    holder.tell("register-many go.vine.many v1 1000").await?;
    let mut many = Vec::new();
    for _ in 0..ROUNDS {
        let mut asker = Peer::start(&b).await?;
        asker.tell("open").await?;
        let counted = asker.tell("count go.vine.many").await?;
        if number(&counted, 2)? != 1000 {
            return Err(format!("1,000 nodes were registered, {counted}"));
        }
        many.push(number(&counted, 1)?);
    }
    print("cold look-up of 1,000 nodes, settled", many);
    Ok(())
}

async fn look_up(asker: &mut Peer, wait: &str) -> Outcome<u64> {
    number(&asker.tell(&format!("get {NAME} {wait}")).await?, 1)
}

/// A number in a peer's answer.
fn number(line: &str, at: usize) -> Outcome<u64> {
    let word = line.split(' ').nth(at).and_then(|word| word.parse().ok());
    word.ok_or_else(|| format!("no number in {line:?}"))
}

fn print(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |share: usize| micros.get(micros.len() * share / 100).copied();
    if let (Some(median), Some(most), Some(worst)) = (at(50), at(90), micros.last()) {
        println!("{what}: median {median} us, 90 % within {most} us, worst {worst} us");
    }
}
