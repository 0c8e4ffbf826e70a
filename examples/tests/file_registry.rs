//! The file registry passes the suite that every engine passes, and its own promises hold.

mod common;

use common::Process;
use tempfile::TempDir;
use vine::{Error, Node, Options, Registries, Registry, RegistryExt, Service, Update};
use vine_examples::file_registry::FileRegistry;

/// A registry in a file of its own, which is removed with the folder.
#[derive(Debug)]
struct InFolder(TempDir);

impl InFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> String {
        self.0.path().join("services.json").display().to_string()
    }

    fn handle(&self) -> FileRegistry {
        let options = Options::new().with_namespace("conformance");
        FileRegistry::new(options.with_parameter("path", self.path())).expect("a registry")
    }
}

mod conformance {
    use super::*;

    fn handles() -> (FileRegistry, FileRegistry, InFolder) {
        let folder = InFolder::new();
        (folder.handle(), folder.handle(), folder)
    }

    vine_registry_conformance::conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        handles()
    );
}

fn service(id: &str) -> Service {
    Service::new("go.vine.test", "v1").with_node(Node::new(id, "127.0.0.1:11500"))
}

#[tokio::test]
async fn what_is_in_the_file_outlives_its_handle() {
    let folder = InFolder::new();
    folder.handle().register(service("n1")).await.unwrap();
    let services = folder.handle().get_service("go.vine.test").await.unwrap();
    assert_eq!(services.node_count(), 1);
}

#[tokio::test]
async fn a_file_that_says_something_else_is_an_error_and_makes_watches_stale() {
    let folder = InFolder::new();
    let registry = folder.handle();
    registry.register(service("n1")).await.unwrap();
    let sound = std::fs::read(folder.path()).unwrap();
    let mut watch = registry.watch_service("go.vine.test").await.unwrap();

    std::fs::write(folder.path(), "no JSON").unwrap();
    assert!(matches!(
        watch.next().await,
        Some(Update::Stale(Error::Decode { .. }))
    ));
    let answer = registry.register(service("n2")).await;
    assert!(matches!(answer, Err(Error::Decode { .. })), "{answer:?}");
    assert_eq!(
        std::fs::read(folder.path()).unwrap(),
        b"no JSON",
        "it is not overwritten"
    );

    std::fs::write(folder.path(), sound).unwrap();
    assert!(matches!(watch.next().await, Some(Update::Live)));
    registry.register(service("n2")).await.unwrap();
    let event = watch.next_event().await.unwrap();
    assert_eq!(event.service.nodes.len(), 1, "{event:?}");
}

#[test]
fn it_is_chosen_by_name_or_url_and_says_what_it_needs() {
    let mut registries = Registries::new();
    registries.insert("file", FileRegistry::new);
    let refusal = registries
        .open("file", Options::new())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("path=services.json"), "{refusal}");
    let options = Options::new().with_parameter("pth", "services.json");
    let refusal = registries.open("file", options).unwrap_err().to_string();
    assert!(refusal.contains("pth"), "{refusal}");
    let registry = registries
        .open_url("file:?path=services.json", Options::new())
        .unwrap();
    assert_eq!(registry.name(), "file");
}

#[tokio::test]
async fn processes_that_name_the_same_file_find_each_other() {
    let folder = InFolder::new();
    let flags = [format!("--registry.option=path={}", folder.path())];
    let mut first = Process::start("file_registry", &flags);
    first.prints("0 others are there").await;
    first.prints("create process-").await;
    let mut second = Process::start("file_registry", &flags);
    second.prints("1 others are there").await;
    let created = first.prints("create process-").await;
    let id = created.trim().trim_start_matches("create ").to_owned();
    second.signal("INT").await;
    assert!(second.end().await.success());
    first.prints(&format!("delete {id}")).await;
    first.signal("INT").await;
    assert!(first.end().await.success());
}
