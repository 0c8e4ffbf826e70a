//! Registries that are gone.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use vine_discovery::CacheOptions;

use crate::{
    client::Clients,
    fleet,
    load::Load,
    stage::{Stage, until, until_nodes},
};

/// All servers are killed. Then most nodes are, of which nobody hears; and a client starts that
/// knows no more than what was saved on disk.
pub(super) async fn killed(mut stage: Stage) {
    let mut nodes = fleet::start(&stage, 6, "v1.0.0");
    let directory = tempfile::tempdir().unwrap();
    let options = CacheOptions::new().with_snapshots(directory.path());
    let cache = stage.cache_with(options);
    let mut subscription = cache.subscribe(&stage.service);
    until_nodes(&mut subscription, 6).await;
    let load = Load::start(&Clients::new(&cache, &stage.service));
    // It is saved a second after the last change.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    stage.cluster.as_mut().unwrap().kill();
    let end = Instant::now() + stage.of(Duration::from_secs(6), Duration::from_secs(60));
    until(&mut subscription, "stale", |it| it.known().is_stale()).await;
    for node in nodes.drain(..4) {
        node.kill().await;
    }
    let saved = directory.path().to_str().unwrap();
    let calls = stage.of("2000", "40000");
    let client = ["client", &stage.word, &stage.service, saved, calls];
    let mut client = fleet::command(&client).spawn().unwrap();
    let status = client.wait().await.unwrap();
    assert!(status.success(), "a client that was started meanwhile");
    sleep_until(end).await;

    stage.cluster.as_mut().unwrap().restart().await;
    until(&mut subscription, "live", |it| !it.known().is_stale()).await;
    load.more(2_000).await;
    load.stop().await.check();
    fleet::stop(nodes).await;
}
