//! Foreign programs that speak mDNS: they find what we register, and we find what they register.

use super::{NAME, Scenario, expect_all, expect_event, finds, nodes, pair, same, scenario};
use crate::{Outcome, peer::Kind, process::Peer};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario("Avahi finds ours", find_ours(Kind::Avahi)),
        scenario("Avahi's are found", find_theirs(Kind::Avahi)),
        scenario(
            "Avahi's without a subtype are found by name",
            find_plain(Kind::Avahi),
        ),
        scenario("zeroconf finds ours", find_ours(Kind::Zeroconf)),
        scenario("zeroconf's are found", find_theirs(Kind::Zeroconf)),
        scenario(
            "zeroconf's without a subtype are found by name",
            find_plain(Kind::Zeroconf),
        ),
        scenario("mdns-sd finds ours", find_ours(Kind::MdnsSd)),
        scenario("mdns-sd's are found", find_theirs(Kind::MdnsSd)),
        scenario(
            "mdns-sd's without a subtype are found by name",
            find_plain(Kind::MdnsSd),
        ),
    ]
}

/// A program that browses sees what we register, change and deregister, and resolves it.
async fn find_ours(kind: Kind) -> Outcome {
    let (a, b) = pair()?;
    let mut ours = Peer::start(&a).await?;
    ours.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    for name in [NAME, "*"] {
        let mut fresh = Peer::start_as(&b, kind).await?;
        let got = fresh.tell(&format!("get {name} first")).await?;
        same("one@10.77.0.1:80", nodes(&got))?;
    }
    let mut watch = Peer::start_as(&b, kind).await?;
    same("snapshot ", &watch.tell(&format!("watch {NAME}")).await?)?;
    expect_event(&mut watch, "create one").await?;
    ours.tell(&format!("register {NAME} v1 two 10.77.0.1:81"))
        .await?;
    expect_event(&mut watch, "create two").await?;
    ours.tell(&format!("register {NAME} v1 two 10.77.0.1:81 changed"))
        .await?;
    let mut reader = Peer::start_as(&b, kind).await?;
    let got = reader.tell(&format!("get {NAME} 2")).await?;
    same("one@10.77.0.1:80 two@10.77.0.1:81+changed", nodes(&got))?;
    ours.tell(&format!("deregister {NAME} v1 two")).await?;
    until_event(&mut watch, "delete two").await?;
    ours.terminate().await?;
    until_event(&mut watch, "delete one").await
}

/// Waits for an event; not every program tells of updates.
async fn until_event(watch: &mut Peer, expected: &str) -> Outcome {
    loop {
        let event = watch.expect("event").await?;
        match event.split_once(' ') {
            Some((_, event)) if event.starts_with("update") => {}
            Some((_, event)) => return same(expected, event),
            None => return Err(format!("{event:?} is no event")),
        }
    }
}

/// What a program publishes with our TXT keys is found, listed and watched.
async fn find_theirs(kind: Kind) -> Outcome {
    let (a, b) = pair()?;
    let (mut ours, mut theirs) = (Peer::start(&a).await?, Peer::start_as(&b, kind).await?);
    same("snapshot ", &ours.tell(&format!("watch {NAME}")).await?)?;
    theirs
        .tell(&format!("register {NAME} v1 one 10.77.0.2:80"))
        .await?;
    expect_event(&mut ours, "create one").await?;
    theirs
        .tell(&format!("register {NAME} v1 two 10.77.0.2:81"))
        .await?;
    expect_event(&mut ours, "create two").await?;
    finds(&a, "one@10.77.0.2:80 two@10.77.0.2:81").await?;
    theirs.tell(&format!("deregister {NAME} v1 two")).await?;
    expect_event(&mut ours, "delete two").await?;
    finds(&a, "one@10.77.0.2:80").await?;
    let mut fresh = Peer::start(&a).await?;
    let snapshot = fresh.tell("watch *").await?;
    theirs
        .tell("register-plainly go.vine.plain v1 three 10.77.0.2:82")
        .await?;
    let is_listed = kind != Kind::Zeroconf && snapshot != "snapshot one";
    let awaited = if is_listed {
        &["one", "three"][..]
    } else {
        &["three"]
    };
    expect_all(&mut fresh, "create", awaited).await?;
    let listed = match kind {
        // It knows one type for each service, and that was the subtype.
        Kind::Zeroconf => "listed go.vine.plain".to_owned(),
        _ => format!("listed {NAME} go.vine.plain"),
    };
    same(&listed, &fresh.tell("list").await?)?;
    theirs.terminate().await?;
    expect_event(&mut ours, "delete one").await
}

/// What a program publishes by the type alone is found by the name in its TXT record, and followed.
async fn find_plain(kind: Kind) -> Outcome {
    let (a, b) = pair()?;
    let (mut ours, mut theirs) = (Peer::start(&a).await?, Peer::start_as(&b, kind).await?);
    same("snapshot ", &ours.tell(&format!("watch {NAME}")).await?)?;
    theirs
        .tell(&format!("register-plainly {NAME} v1 one 10.77.0.2:80"))
        .await?;
    expect_event(&mut ours, "create one").await?;
    finds(&a, "one@10.77.0.2:80").await?;
    theirs
        .tell(&format!("register-plainly {NAME} v1 two 10.77.0.2:81"))
        .await?;
    expect_event(&mut ours, "create two").await?;
    finds(&a, "one@10.77.0.2:80 two@10.77.0.2:81").await?;
    theirs.tell(&format!("deregister {NAME} v1 one")).await?;
    expect_event(&mut ours, "delete one").await?;
    finds(&a, "two@10.77.0.2:81").await?;
    theirs.terminate().await?;
    expect_event(&mut ours, "delete two").await
}
