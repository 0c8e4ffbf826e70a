//! Registrations that change and end.

use std::time::Duration;

use super::{NAME, Scenario, expect_event, finds, pair, same, scenario};
use crate::{Outcome, process::Peer, punctuality::Moment};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "an update and an end by SIGTERM are seen within a second",
            update_and_end(),
        ),
        scenario("a process killed is gone at its ttl", killed()).waits(),
        scenario(
            "a process killed and reported is gone after two seconds",
            reported(),
        )
        .waits(),
        scenario(
            "a process that is reported but lives stays",
            reported_alive(),
        )
        .waits(),
        scenario("a restart with the same id after a kill", killed_and_back()).waits(),
        scenario("a restart with the same id before the end", handed_over()).waits(),
        scenario("an address that changes", moved()).waits(),
    ]
}

async fn update_and_end() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    same("snapshot ", &watch.tell(&format!("watch {NAME}")).await?)?;
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    expect_event(&mut watch, "create one").await?;
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80 changed"))
        .await?;
    expect_event(&mut watch, "update one").await?;
    let told = Moment::now();
    one.terminate().await?;
    expect_event(&mut watch, "delete one").await?;
    told.within(Duration::from_secs(1), "the delete was seen")
        .await
}

/// With a ttl of ten seconds, since that is the least that records have.
async fn killed() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("hold {NAME} v1 one 10.77.0.1:80 10"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    let killed = Moment::now();
    one.kill().await?;
    expect_event(&mut watch, "delete one").await?;
    let limit = Duration::from_millis(10_500);
    killed.within(limit, "the delete was seen").await
}

async fn reported() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    one.kill().await?;
    let told = Moment::now();
    watch.tell(&format!("report {NAME} one")).await?;
    expect_event(&mut watch, "delete one").await?;
    let limit = Duration::from_millis(2_500);
    told.within(limit, "the delete was seen").await
}

async fn reported_alive() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    watch.tell(&format!("report {NAME} one")).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    nothing_more(&mut one, &mut watch).await
}

async fn killed_and_back() -> Outcome {
    let (a, b) = pair()?;
    let (mut old, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    old.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    old.kill().await?;
    let mut new = Peer::start(&a).await?;
    new.tell(&format!("register {NAME} v1 one 10.77.0.1:81"))
        .await?;
    expect_event(&mut watch, "update one").await?;
    finds(&b, "one@10.77.0.1:81").await?;
    nothing_more(&mut new, &mut watch).await
}

/// The new process has registered when the old one ends: nobody is to see a moment without either.
async fn handed_over() -> Outcome {
    let (a, b) = pair()?;
    let (mut old, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    old.tell(&format!("register {NAME} v1 one 10.77.0.1:80"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    let mut new = Peer::start(&a).await?;
    new.tell(&format!("register {NAME} v1 one 10.77.0.1:81"))
        .await?;
    old.terminate().await?;
    expect_event(&mut watch, "update one").await?;
    for _ in 0..5 {
        finds(&b, "one@10.77.0.1:81").await?;
    }
    nothing_more(&mut new, &mut watch).await
}

/// A node at an unspecified address is where its host is.
async fn moved() -> Outcome {
    let (a, b) = pair()?;
    let (mut one, mut watch) = (Peer::start(&a).await?, Peer::start(&b).await?);
    one.tell(&format!("register {NAME} v1 one 0.0.0.0:80"))
        .await?;
    same("snapshot one", &watch.tell(&format!("watch {NAME}")).await?)?;
    finds(&b, "one@10.77.0.1:80").await?;
    a.ip(&["addr", "del", "10.77.0.1/24", "dev", "eth0"])?;
    a.ip(&["addr", "add", "10.77.0.9/24", "dev", "eth0"])?;
    expect_event(&mut watch, "update one").await?;
    finds(&b, "one@10.77.0.9:80").await?;
    nothing_more(&mut one, &mut watch).await
}

/// Makes sure that a watch has no other events waiting.
async fn nothing_more(owner: &mut Peer, watch: &mut Peer) -> Outcome {
    owner
        .tell(&format!("register {NAME} v1 last 10.77.0.1:99"))
        .await?;
    expect_event(watch, "create last").await
}
