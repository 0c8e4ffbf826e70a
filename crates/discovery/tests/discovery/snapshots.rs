//! A client that starts while the registry is down goes by what an earlier one saved.

use std::{fs, path::Path, time::Duration};

use tokio::time::{Instant, sleep};
use vine_discovery::{Cache, CacheOptions, Selector};
use vine_registry::{Error, Node, Registry, RegistryExt, Service};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

fn service(ids: &str) -> Service {
    let node = |id: &str| Node::new(id, format!("{id}.example:80"));
    Service::new(NAME, "v1").with_nodes(ids.split_whitespace().map(node))
}

fn cache(registry: &Faulty, folder: &Path) -> Cache {
    let options = CacheOptions::new().with_snapshots(folder);
    Cache::with_options(registry.clone(), options)
}

/// What the snapshots hold, once some text is there.
async fn saved(folder: &Path, text: &str) {
    for _ in 0..1_000 {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        if texts.any(|saved| saved.contains(text)) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{text} was not saved");
}

/// A folder in which an earlier process has saved four nodes.
async fn earlier() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(&Faulty::with([service("a b c d")]), folder.path());
    cache.get_service(NAME).await.unwrap();
    saved(folder.path(), "b.example").await;
    cache.close().await.unwrap();
    folder
}

#[tokio::test(start_paused = true)]
async fn the_first_call_is_served_though_the_registry_is_down() {
    let folder = earlier().await;
    for hangs in [false, true] {
        let faulty = Faulty::default();
        faulty.cut();
        faulty.state().hangs = hangs;
        let cache = cache(&faulty, folder.path());
        let start = Instant::now();
        assert_eq!(cache.get_service(NAME).await.unwrap().node_count(), 4);
        assert!(start.elapsed() < Duration::from_secs(1));
        let mut subscription = cache.subscribe(NAME);
        assert!(subscription.known().is_stale());
        let selector = Selector::builder(subscription.clone()).build();
        assert!(selector.with_pick(|_| ()).is_ok());

        faulty.state().hangs = false;
        faulty.mend();
        faulty.set([service("e")]);
        while subscription.known().is_stale() {
            subscription.changed().await.unwrap();
        }
        assert_eq!(
            subscription.services().node_count(),
            1,
            "a live answer goes before it"
        );
        let suspects = subscription.known().suspects.node_count();
        assert_eq!(suspects, 0, "what was saved long ago is not lost now");
        saved(folder.path(), "e.example").await;
        faulty.set([service("a b c d")]);
        saved(folder.path(), "b.example").await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_stale_answer_waits_for_the_registry() {
    let folder = earlier().await;
    for (allow_stale, nodes) in [(true, 4), (false, 1)] {
        let slow = Faulty::with([service("e")]);
        slow.state().delay = Duration::from_millis(400);
        let options = CacheOptions::new().with_snapshots(folder.path());
        let cache = Cache::with_options(slow, options.with_allow_stale(allow_stale));
        assert_eq!(cache.get_service(NAME).await.unwrap().node_count(), nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_in_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = Faulty::with([service("a b c d")]);
    let cache = cache(&faulty, folder.path());
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    faulty.cut();
    subscription.changed().await.unwrap();
    let outage = sleep(Duration::from_secs(3_600));
    tokio::select! {
        () = outage => {}
        _ = subscription.changed() => panic!("nothing has changed"),
    }
    faulty.mend();
    saved(folder.path(), "b.example").await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_is_believed() {
    let folder = earlier().await;
    let cache = cache(&Faulty::default(), folder.path());
    let answer = cache.get_service(NAME).await;
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_ignored() {
    let folder = earlier().await;
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("a.example", "x.example")).unwrap();
    }
    let faulty = Faulty::default();
    faulty.cut();
    let answer = cache(&faulty, folder.path()).get_service(NAME).await;
    assert!(
        matches!(answer, Err(Error::Unavailable { .. })),
        "{answer:?}"
    );
}
