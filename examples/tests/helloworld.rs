//! The main job, as a process.

mod common;

use std::time::Duration;

use common::{LONG, Meeting, Process, command};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use vine::prelude::*;

const NAME: &str = "go.vine.helloworld";
const READY: &str = "Ctrl-C ends this";

#[tokio::test]
async fn registers_finds_itself_and_calls_itself() {
    let meeting = Meeting::new();
    let mut hello = Process::start("helloworld", &meeting.flags());
    let said = hello.prints(READY).await;
    for part in [
        "registered in the mdns registry",
        "found      at 127.0.0.1:",
        "called     and it said: Hello, world!",
        "cargo run --release -p vine-cli -- get go.vine.helloworld --registry.default=mdns",
        "cargo run --release -p vine-cli -- watch --registry.default=mdns",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let services = meeting.registry().get_service(NAME).await.unwrap();
    assert_eq!(services.node_count(), 1);

    hello.signal("INT").await;
    hello.prints("Goodbye!").await;
    assert!(hello.end().await.success());
}

#[tokio::test]
async fn a_signal_deregisters_it_within_a_second() {
    let meeting = Meeting::new();
    let registry = meeting.registry();
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    let mut next = async || timeout(LONG, watcher.next_event()).await.unwrap().unwrap();
    // A busy machine can only make it later.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut hello = Process::start("helloworld", &meeting.flags());
        assert_eq!(next().await.action, Action::Create);
        hello.prints(READY).await;

        let signalled = Instant::now();
        hello.signal("TERM").await;
        while next().await.action != Action::Delete {}
        seen.push(signalled.elapsed());
        assert!(hello.end().await.success());
    }
    let soonest = seen.iter().min().unwrap();
    assert!(*soonest < Duration::from_secs(1), "{seen:?}");
}

#[tokio::test]
async fn it_serves_on_when_nobody_reads_what_it_says() {
    let meeting = Meeting::new();
    let registry = meeting.registry();
    let mut watcher = registry.watch_service(NAME).await.unwrap();
    let mut next = async || timeout(LONG, watcher.next_event()).await.unwrap().unwrap();
    let mut hello = Process::start("helloworld", &meeting.flags());
    hello.is_not_read();
    assert_eq!(next().await.action, Action::Create);
    hello.signal("TERM").await;
    while next().await.action != Action::Delete {}
    assert!(hello.end().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let flags = [
        "--registry.default=memory",
        "--server.address=127.0.0.1:0",
        "--log.level=info",
    ];
    let mut hello = Process::start("helloworld", &flags.map(String::from));
    let said = hello.prints(READY).await;
    let address = said
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().last())
        .unwrap();
    // A connection without a request: the server waits for it before it stops.
    let open = TcpStream::connect(address.trim_end_matches('.'))
        .await
        .unwrap();

    hello.signal("INT").await;
    hello.logs("stopping").await;
    hello.signal("INT").await;
    hello.logs("ended at once by a second signal").await;
    assert_eq!(hello.end().await.code(), Some(1));
    drop(open);
}

#[tokio::test]
async fn wrong_flags_exit_with_two_and_a_remedy_in_one_line() {
    for (flag, remedy) in [
        ("--registry.default=nosuch", "take one of"),
        ("--registy.default=nosuch", "take one of"),
        ("--registry.timeout=5", "30s, 500ms or 5m"),
        ("--registry.adress=x", "--registry.address"),
        (
            "--registry.address=10.0.0.7:2379",
            "choose another registry",
        ),
        ("--registry.option=prot=1", "no setting"),
        ("--server.address=8080", ":8080"),
        ("--server.advertise=a b", "host:port"),
        ("--log.level=loud", "info"),
    ] {
        let output = command("helloworld").arg(flag).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains(remedy),
            "{flag}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{flag}: {said}");
    }
}

#[tokio::test]
async fn the_environment_counts_unless_it_is_empty() {
    let ask = async |name: &str, value: &str| {
        let mut command = command("helloworld");
        command.env(name, value).arg("--registry.option=prot=1");
        String::from_utf8(command.output().await.unwrap().stderr).unwrap()
    };
    for (name, value, said) in [
        ("VINE_REGISTRY_DEFAULT", "nosuch", "no registry \"nosuch\""),
        (
            "VINE_REGISTRY_DEFAULT",
            "memory",
            "the memory registry has no setting",
        ),
        (
            "VINE_REGISTRY_DEFAULT",
            "",
            "the mdns registry has no setting",
        ),
        ("VINE_REGISTRY_SECURE", "maybe", "--registry.secure"),
        ("VINE_REGISTRY_SECURE", "yes", "no setting"),
        ("VINE_REGISTRY_SECURE", "", "no setting"),
        ("VINE_REGISTRY_TIMEOUT", "5", "30s, 500ms or 5m"),
        ("VINE_REGISTRY_TIMEOUT", "", "no setting"),
        ("VINE_SERVER_METADATA", "zone", "key=value"),
        ("VINE_SERVER_METADATA", "", "no setting"),
    ] {
        let error = ask(name, value).await;
        assert!(error.contains(said), "{name}={value}: {error}");
    }
}
