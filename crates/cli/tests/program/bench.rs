//! Many calls by name, to servers of the test that are found by mDNS.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    calls::{NAME, register},
    mdns::Network,
    process::PATIENCE,
    server::{serve, serve_by},
};

#[test]
fn a_bench_that_waits_for_its_last_answers_ends_when_asked_to() {
    let network = Network::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _hangs = register(&network, "hangs", "v1", port);
    let words = format!("bench {NAME} / -c 2 -n 2 --timeout 1h");
    let bench = network.start(&words);
    // Both calls are there, and get no answer.
    let calls = [listener.accept().unwrap(), listener.accept().unwrap()];
    bench.signal(Signal::SIGINT);
    let ended = bench.end();
    assert_eq!(ended.code, Some(1));
    let expected = "error: 2 calls failed, the first one: interrupted before it was answered\n";
    assert_eq!(ended.stderr, expected);
    drop(calls);
}

#[test]
fn a_bench_that_is_ended_shows_what_was_answered() {
    let network = Network::new();
    let (hangs, hanging) = channel();
    let asked = AtomicUsize::new(0);
    let port = serve_by(move |_, mut connection| {
        if asked.fetch_add(1, Ordering::Relaxed) < 3 {
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            connection.write_all(answer).unwrap();
        } else {
            hangs.send(connection).unwrap();
        }
    });
    let _a = register(&network, "a", "v1", port);
    let bench = network.start(&format!("bench {NAME} / -c 2 -n 5 --timeout 1h -o json"));
    // Whoever waits for these has noted the others.
    let calls = [(); 2].map(|()| hanging.recv_timeout(PATIENCE).unwrap());
    bench.signal(Signal::SIGINT);
    let ended = bench.end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
    assert_eq!((&json["calls"], &json["failed"]), (&5.into(), &2.into()));
    assert_eq!(json["nodes"], json!({"a": 3}));
    drop(calls);
}

#[test]
fn a_bench_that_is_interrupted_says_how_far_it_came() {
    let network = Network::new();
    let (answers, answered) = channel();
    let port = serve_by(move |_, mut connection| {
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        connection.write_all(answer).unwrap();
        // The test may have seen enough.
        let _ = answers.send(());
    });
    let _a = register(&network, "a", "v1", port);
    let bench = network.start(&format!("bench {NAME} / -c 1 -n 1000000000 -o json"));
    answered.recv_timeout(PATIENCE).unwrap();
    bench.signal(Signal::SIGINT);
    let ended = bench.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let expected = format!("interrupted after {} of 1000000000 calls\n", json["calls"]);
    assert_eq!(ended.stderr, expected);
}

#[test]
fn a_bench_shows_latencies_and_shares() {
    let network = Network::new();
    let _a = register(&network, "a", "v1", serve("a"));
    let _b = register(&network, "b", "v1", serve("b"));
    let words = format!("bench {NAME} / -c 4 -n 400 --strategy round-robin");

    // Calls that are made before the other node is heard of all go to one.
    let json: Value = network.until(&format!("{words} -o json"), |ended| {
        let json: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
        assert_eq!((&json["calls"], &json["failed"]), (&400.into(), &0.into()));
        let counts = ["a", "b"].map(|id| json["nodes"][id].as_u64().unwrap_or_default());
        assert_eq!(counts.iter().sum::<u64>(), 400);
        (counts[0].abs_diff(counts[1]) <= 4).then_some(json)
    });
    let latency = &json["latency_seconds"];
    assert!(
        latency["p50"].as_f64() <= latency["p99"].as_f64(),
        "{latency}"
    );

    let table = network.run(&words);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    assert!(
        table.stdout.starts_with("400 calls in "),
        "{}",
        table.stdout
    );
    assert_eq!(table.stderr, "", "no bar where there is no terminal");

    let one = network.run(&format!("bench {NAME} /broken -n 1"));
    assert!(one.stderr.starts_with("error: 1 call failed: "), "{one:?}");
    let failing = network.run(&format!("bench {NAME} /broken -c 2 -n 10"));
    assert_eq!(failing.code, Some(1));
    assert!(failing.stdout.contains("10 failed"), "{}", failing.stdout);
    assert!(
        failing.stderr.starts_with("error: 10 calls failed"),
        "{}",
        failing.stderr
    );
}
