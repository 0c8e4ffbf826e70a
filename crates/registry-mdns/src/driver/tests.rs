use vine_registry::Node;

use super::*;

fn loopback(port: u16) -> MdnsOptions {
    MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"])
}

fn start(port: u16) -> (mpsc::UnboundedSender<Command>, Arc<Shared>) {
    let (commands, received) = mpsc::unbounded_channel();
    let driver = Driver::new(loopback(port), "vine".into(), received);
    let shared = driver.shared();
    tokio::spawn(driver.run());
    (commands, shared)
}

fn question() -> Question {
    Question::Service {
        namespace: "vine".into(),
        name: "s".into(),
    }
}

async fn settle(commands: &mpsc::UnboundedSender<Command>, wait: Wait) {
    let (reply, answer) = oneshot::channel();
    let settle = Settle {
        question: question(),
        wait,
        patient: false,
        reply,
    };
    commands.send(Command::Settle(settle)).unwrap();
    answer.await.unwrap().unwrap();
}

async fn watch(commands: &mpsc::UnboundedSender<Command>) -> Watcher {
    let (reply, answer) = oneshot::channel();
    let watch = Command::Watch {
        topic: Topic::service("vine", "s"),
        question: question(),
        reply,
    };
    commands.send(watch).unwrap();
    answer.await.unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_browse_ends_five_minutes_after_the_last_question() {
    let (commands, shared) = start(19_001);
    settle(&commands, Wait::Settled).await;
    for _ in 0..4 {
        tokio::time::sleep(4 * MINUTE).await;
        assert!(shared.service("vine", "s").is_some());
    }
    tokio::time::sleep(6 * MINUTE).await;
    assert!(shared.service("vine", "s").is_none());
    settle(&commands, Wait::Settled).await;
    assert!(shared.service("vine", "s").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_browse_lives_as_long_as_a_watch() {
    let (commands, shared) = start(19_002);
    settle(&commands, Wait::Settled).await;
    let watcher = watch(&commands).await;
    tokio::time::sleep(20 * MINUTE).await;
    assert!(shared.service("vine", "s").is_some());
    drop(watcher);
    tokio::time::sleep(6 * MINUTE).await;
    assert!(shared.service("vine", "s").is_none());
}

#[tokio::test(start_paused = true)]
async fn after_the_first_node_the_rest_is_looked_up_too() {
    let (commands, shared) = start(19_003);
    let (reply, answer) = oneshot::channel();
    let register = Command::Register {
        service: Arc::new(Service::new("s", "v1").with_node(Node::new("a", "127.0.0.1:80"))),
        namespace: "vine".into(),
        ttl: None,
        reply,
    };
    commands.send(register).unwrap();
    answer.await.unwrap().unwrap();
    settle(&commands, Wait::First).await;
    assert!(shared.service("vine", "s").is_none(), "not settled yet");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(shared.service("vine", "s").unwrap().node_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_its_last_handle() {
    let (commands, received) = mpsc::unbounded_channel();
    let driver = tokio::spawn(Driver::new(loopback(19_004), "vine".into(), received).run());
    let watcher = {
        settle(&commands, Wait::Settled).await;
        watch(&commands).await
    };
    drop(commands);
    driver.await.unwrap();
    let mut watcher = watcher;
    assert!(watcher.next().await.is_none());
}
