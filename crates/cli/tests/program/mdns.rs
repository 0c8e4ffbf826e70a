//! Processes that find each other by mDNS, on loopback and on a port of their own.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::{Ended, PATIENCE, Running, run, vine};

const LOOPBACK: &str = if cfg!(target_os = "macos") {
    "lo0"
} else {
    "lo"
};

/// A network for one test.
pub(crate) struct Network {
    port: u16,
    /// Keeps other tests from the same UDP port.
    _mark: TcpListener,
}

impl Network {
    pub(crate) fn new() -> Self {
        // Below those that a system gives to whoever asks for any: one of those could be given to somebody
        // else between two processes of the test.
        let mut ports = 16_000..17_000;
        let free = ports.find_map(|port| {
            let _mark = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
            Some(Self { port, _mark })
        });
        free.expect("a free port")
    }

    /// The program on this network, with these words behind it.
    pub(crate) fn vine(&self, words: &str) -> Command {
        let mut command = vine(words);
        command
            .env("VINE_REGISTRY_MDNS_INTERFACE", LOOPBACK)
            .env("VINE_REGISTRY_MDNS_PORT", self.port.to_string());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Ended {
        run(&mut self.vine(words))
    }

    pub(crate) fn json(&self, words: &str) -> Value {
        let ended = self.run(&format!("{words} -o json"));
        assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Runs the program until it gives this, since on a busy machine one process may answer so much later
    /// than another one that a look-up ends between.
    pub(crate) fn until<T>(&self, words: &str, accept: impl Fn(&Ended) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let ended = self.run(words);
            if let Some(accepted) = accept(&ended) {
                return accepted;
            }
            let said = (&ended.stdout, &ended.stderr);
            assert!(began.elapsed() < PATIENCE, "{words}: still {said:?}");
        }
    }

    /// Runs the program until it gives this JSON.
    fn until_json(&self, words: &str, expected: &Value) {
        self.until(&format!("{words} -o json"), |ended| {
            let value: Value = serde_json::from_str(&ended.stdout).ok()?;
            (value == *expected).then_some(())
        });
    }

    pub(crate) fn start(&self, words: &str) -> Running {
        Running::start(&mut self.vine(words))
    }

    /// Registers a node, and returns when that is so.
    pub(crate) fn register(&self, words: &str) -> Running {
        let running = self.start(&format!("register {words}"));
        let line = running.line();
        assert!(line.starts_with("registered "), "{line}");
        running
    }
}

const DB: &str = "go.vine.db --version v1 --id db-1 --address 127.0.0.1:5432 --metadata os=linux";

fn node() -> Value {
    json!({"id": "db-1", "address": "127.0.0.1:5432", "port": 5432, "metadata": {"os": "linux"}})
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn another_process_finds_what_is_registered() {
    let network = Network::new();
    let _db = network.register(DB);
    let _other = network.register("go.vine.db --version v2 --id db-2 --address [::1]:5432");
    let _elsewhere =
        network.register("hidden --version v1 --id 1 --address h:1 --registry.namespace=test");
    let summary =
        json!({"namespace": "vine", "name": "go.vine.db", "versions": ["v1", "v2"], "nodes": 2});
    network.until_json("list", &json!([summary]));
    let hidden = json!({"namespace": "test", "name": "hidden", "versions": ["v1"], "nodes": 1});
    network.until_json("list -A", &json!([hidden, summary]));
    let table = "NAMESPACE  NAME        VERSIONS  NODES\n\
                 vine       go.vine.db  v1, v2        2\n";
    network.until("list", |ended| (ended.stdout == table).then_some(()));
    let versions = network.until("get go.vine.db -o json", |ended| {
        let versions: Value = serde_json::from_str(&ended.stdout).ok()?;
        (versions[1]["version"] == "v2").then_some(versions)
    });
    assert_eq!(versions[0]["nodes"], json!([node()]));
    network.until_json("get go.vine.db --version v1", &json!([versions[0]]));
    let table = network.until("get go.vine.db --version v1", |ended| {
        (ended.code == Some(0)).then(|| ended.stdout.clone())
    });
    assert!(
        table.starts_with("go.vine.db v1\n  namespace  vine\n"),
        "{table}"
    );
    assert!(
        table.ends_with("  db-1  127.0.0.1:5432  os=linux\n"),
        "{table}"
    );
    let code = network.until("get go.vine.db --version v3", |missing| {
        let is_told = missing.stderr.contains("there is v1, v2");
        is_told.then_some(missing.code)
    });
    assert_eq!(code, Some(1));
    let first = network.json("get go.vine.db --wait first");
    assert_eq!(first[0]["name"], "go.vine.db");
}

#[test]
fn a_watch_sees_a_node_come_and_go() {
    let network = Network::new();
    let watch = network.start("watch go.vine.db -o json");
    assert_eq!(watch.line(), "{\"snapshot\":[]}\n");
    // A busy machine can only make it later.
    let seen: Vec<_> = (0..5).map(|_| come_and_go(&network, &watch)).collect();
    let soonest = seen.iter().min().unwrap();
    assert!(*soonest <= Duration::from_secs(1), "{seen:?}");
    assert_eq!(network.run("get go.vine.db").code, Some(1));
}

/// Gives how long it takes to see that it goes.
fn come_and_go(network: &Network, watch: &Running) -> Duration {
    let db = network.register(DB);
    let create = value(&watch.line());
    assert_eq!(create["action"], "create");
    assert_eq!(create["service"]["namespace"], "vine");
    assert_eq!(create["service"]["nodes"], json!([node()]));
    assert!(create["timestamp"].as_i64().unwrap() > 1_700_000_000);
    let told = Instant::now();
    db.signal(Signal::SIGTERM);
    let delete = value(&watch.line());
    let took = told.elapsed();
    assert_eq!(delete["action"], "delete");
    assert_eq!(delete["service"]["nodes"], json!([node()]));
    assert!(db.line().starts_with("deregistered "));
    assert_eq!(db.end().code, Some(0));
    took
}

#[test]
fn a_watch_begins_with_what_is_there() {
    let network = Network::new();
    let _db = network.register(DB);
    let watch = network.start("watch");
    let line = watch.line();
    assert!(
        line.ends_with("found   go.vine.db  v1  db-1 at 127.0.0.1:5432\n"),
        "{line}"
    );
}

#[test]
fn an_idle_watch_ends_with_its_reader() {
    let network = Network::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let watch = Running::start_into(&mut network.vine("watch -o json"), writer);
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"snapshot\":[]}\n");
    drop(reader);
    assert_eq!(watch.end().code, Some(0));
}

#[test]
fn nobody_ends_the_registration_of_somebody_else() {
    let network = Network::new();
    let _db = network.register(DB);
    let deregister = "deregister go.vine.db --version v1 --id db-1";
    for (words, remedy) in [("", "end the program that did"), ("--force", "can't")] {
        let ended = network.run(&format!("{deregister} {words}"));
        assert_eq!(ended.code, Some(1), "{words}");
        assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert_eq!(network.json("list").as_array().unwrap().len(), 1);
    let unknown = network.run("deregister go.vine.db --version v1 --id db-2");
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("has no node \"db-2\""),
        "{}",
        unknown.stderr
    );
}

#[test]
fn the_later_holder_of_an_id_wins_and_the_first_one_ends() {
    let network = Network::new();
    let first = network.register(DB);
    let _second = network.register(&DB.replace(":5432", ":5433"));
    let first = first.end();
    assert_eq!(first.code, Some(1));
    let told = first.stderr;
    assert!(told.contains("registered again by somebody else"), "{told}");
    let services = network.json("get go.vine.db");
    assert_eq!(services[0]["nodes"][0]["address"], "127.0.0.1:5433");
}

#[test]
fn the_doctor_names_the_cause_and_the_remedy() {
    let network = Network::new();
    let _db = network.register(DB);
    let well = network.json("doctor");
    assert_eq!(well["ok"], true, "{well}");
    assert_eq!(well["services"], 1);
    assert_eq!(well["interfaces"][0]["name"], LOOPBACK);
    let table = network.run("doctor");
    assert_eq!(table.code, Some(0));
    assert!(
        table.stdout.ends_with("\nall is well\n"),
        "{}",
        table.stdout
    );

    let ill = network.run("doctor --registry.namespace other -o json");
    assert_eq!(ill.code, Some(1));
    let report = value(&ill.stdout);
    assert_eq!(report["ok"], false);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    let finding = &report["findings"][0];
    assert_eq!(finding["cause"], "namespace");
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.contains("--registry.namespace=vine"), "{remedy}");
    let table = network.run("doctor --registry.namespace other").stdout;
    assert!(table.contains("\nnamespace (other)\n"), "{table}");

    let other = network.run("doctor --registry.default memory");
    assert_eq!(other.code, Some(2), "{}", other.stderr);
}

#[test]
fn both_dialects_find_one_another() {
    let network = Network::new();
    let _db = network.register(&format!("{DB} --registry.mdns.dialect both"));
    for dialect in ["dns-sd", "vine", "both"] {
        let services = network.json(&format!("get go.vine.db --registry.mdns.dialect {dialect}"));
        assert_eq!(services[0]["nodes"], json!([node()]), "{dialect}");
        let url = format!("list --registry.address mdns://?dialect={dialect}");
        assert_eq!(network.json(&url).as_array().unwrap().len(), 1, "{url}");
    }
    let unfit =
        "register x --version v1 --id größe --address 127.0.0.1:1 --registry.mdns.dialect vine";
    let refused = network.run(unfit);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("use the dialect dns-sd"),
        "{}",
        refused.stderr
    );
}
