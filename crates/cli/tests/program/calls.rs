//! Calls by name, to servers of the test that are found by mDNS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    mdns::Network,
    process::{Running, run},
    server::{serve, serve_by},
};

pub(crate) const NAME: &str = "go.vine.test";

pub(crate) fn register(network: &Network, id: &str, version: &str, port: u16) -> Running {
    let node = format!("--id {id} --address 127.0.0.1:{port}");
    network.register(&format!("{NAME} --version {version} {node}"))
}

#[test]
fn a_call_reaches_a_live_node() {
    let network = Network::new();
    let _a = register(&network, "a", "v1.4.0", serve("a"));

    let got = network.run(&format!("call {NAME} /hello?x=1"));
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let expected = "a: GET /hello?x=1 HTTP/1.1 host=go.vine.test type= x= body=\n";
    assert_eq!(got.stdout, expected);

    let sent = network.run(&format!("call {NAME} /hello -d {{}} -H x-test:yes"));
    let expected =
        "a: POST /hello HTTP/1.1 host=go.vine.test type=application/json x=yes body={}\n";
    assert_eq!(sent.stdout, expected, "{}", sent.stderr);

    // As whoever knows curl writes it.
    let sent = network.run(&format!("call {NAME} / --request PUT --data-binary -1"));
    let expected = "a: PUT / HTTP/1.1 host=go.vine.test type=application/json x= body=-1\n";
    assert_eq!(sent.stdout, expected, "{}", sent.stderr);

    let json = network.json(&format!("call {NAME} / --explain"));
    assert_eq!(
        (&json["status"], &json["node"]["id"]),
        (&200.into(), &"a".into())
    );
    assert_eq!(json["explain"]["age_seconds"], 0.0);
    assert_eq!(json["explain"]["nodes"][0]["verdict"], "in");

    let broken = network.run(&format!("call {NAME} /broken"));
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.stdout.starts_with("a: GET /broken"),
        "the body is shown"
    );
    assert_eq!(
        broken.stderr,
        "error: a answers 500 Internal Server Error\n"
    );

    let unfit = network.run(&format!("call {NAME} / --version ^2 --explain"));
    assert_eq!(unfit.code, Some(1), "{}", unfit.stdout);
    assert!(
        unfit.stderr.contains("out: another version"),
        "{}",
        unfit.stderr
    );
    let wrong = network.run(&format!("call {NAME} / --version newest"));
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn nobody_is_not_found() {
    let network = Network::new();
    for words in ["call go.vine.nobody /", "bench go.vine.nobody / -n 10"] {
        let ended = network.run(words);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{words}");
        assert!(
            ended.stderr.contains("go.vine.nobody has no node"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn where_nobody_is_there_is_no_table() {
    let network = Network::new();
    let ended = network.run("call go.vine.nobody / --explain");
    let known =
        "known from the registry, which tells of each change\nerror: go.vine.nobody has no node";
    assert!(ended.stderr.starts_with(known), "{}", ended.stderr);
}

#[test]
fn a_node_that_refuses_is_passed_over() {
    let network = Network::new();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let _dead = register(&network, "dead", "v1", port);
    let _alive = register(&network, "alive", "v1", serve("alive"));
    // Whichever node it begins with. Who has not heard of the other one yet gets nowhere.
    for _ in 0..5 {
        let words = format!("call {NAME} / --strategy random -o json");
        let json: Value = network.until(&words, |ended| {
            let is_alone = ended.code != Some(0) && !ended.stderr.contains("alive");
            let json = serde_json::from_str(&ended.stdout);
            (!is_alone).then(|| json.expect(&ended.stderr))
        });
        assert_eq!(json["node"]["id"], "alive");
    }
}

#[test]
fn a_name_that_is_no_host_is_not_sent_as_one() {
    let network = Network::new();
    for name in ["orders/eu", "my service", "服务"] {
        let node = format!(
            "register --version v1 --id a --address 127.0.0.1:{}",
            serve("a")
        );
        let node = Running::start(network.vine(&node).arg(name));
        assert!(node.line().starts_with("registered "));
        let got = run(network.vine("call").args([name, "/"]));
        let expected = "a: GET / HTTP/1.1 host=service type= x= body=\n";
        assert_eq!(got.stdout, expected, "{}", got.stderr);
        let got = run(network.vine("call -H host:eu").args([name, "/"]));
        assert!(got.stdout.contains(" host=eu "), "{}", got.stdout);
    }
}

#[test]
fn a_body_comes_from_a_file_or_from_standard_input() {
    let network = Network::new();
    let _a = register(&network, "a", "v1", serve("a"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "{\"a\": 1}\n").unwrap();
    let path = file.path().display();
    let sent = network.run(&format!("call {NAME} / -d @{path}"));
    let expected = "type=application/json x= body={\"a\": 1}\n\n";
    assert!(sent.stdout.ends_with(expected), "{sent:?}");

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"\xff@ as it is\n").unwrap();
    drop(writer);
    let sent = run(network
        .vine(&format!("call {NAME} / -X PUT -d @-"))
        .stdin(reader));
    assert!(sent.stdout.starts_with("a: PUT "), "{sent:?}");
    let expected = "type=application/octet-stream x= body=\u{fffd}@ as it is\n\n";
    assert!(sent.stdout.ends_with(expected), "{sent:?}");

    let missing = network.run(&format!("call {NAME} / -d @/nowhere"));
    assert_eq!((missing.code, &*missing.stdout), (Some(2), ""));
    assert!(
        missing.stderr.starts_with("error: can't read /nowhere: "),
        "{missing:?}"
    );
}

#[test]
fn calls_with_a_key_go_to_its_node() {
    let network = Network::new();
    let nodes = ["a", "b", "c"].map(|id| register(&network, id, "v1", serve(id)));
    let node_of = |words: &str| {
        let words = format!("call {NAME} / {words} -o json --explain");
        // Until all nodes are heard of.
        network.until(&words, |ended| {
            let json: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
            let is_whole = json["explain"]["nodes"].as_array()?.len() == nodes.len();
            is_whole.then(|| json["node"]["id"].to_string())
        })
    };
    // Were it left to chance, all of these would hardly agree.
    for key in ["Ada", "Grace", "Mary", "Emmy"] {
        let long = format!("--strategy consistent-hash --key {key}");
        assert_eq!(node_of(&format!("--key {key}")), node_of(&long), "{key}");
    }
}

#[test]
fn a_call_without_an_answer_is_explained_in_json_as_well() {
    let network = Network::new();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let _dead = register(&network, "dead", "v1", port);
    for (words, verdict) in [("", "in"), ("--version ^2", "out: another version")] {
        let words = format!("call {NAME} / {words} -o json");
        let bare = network.run(&words);
        assert_eq!((bare.code, &*bare.stdout), (Some(1), ""), "{words}");
        let ended = network.run(&format!("{words} --explain"));
        assert_eq!(ended.code, Some(1), "{words}");
        let json: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
        assert_eq!(json["explain"]["nodes"][0]["id"], "dead");
        let said = json["explain"]["nodes"][0]["verdict"].as_str().unwrap();
        assert!(said.starts_with(verdict), "{said}");
        let error = format!("error: {}\n", json["error"].as_str().unwrap());
        assert_eq!(ended.stderr, error);
    }
}

#[test]
fn json_has_every_header_and_every_byte() {
    let network = Network::new();
    let port = serve_by(|request, mut connection| {
        let body: &[u8] = match request.split(' ').nth(1) {
            Some("/binary") => b"\x00\xff\xfe",
            _ => "größe\n".as_bytes(),
        };
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
            x-latin: \xe9\r\nconnection: close\r\n\r\n";
        connection.write_all(head).unwrap();
        connection.write_all(body).unwrap();
    });
    let _a = register(&network, "a", "v1", port);

    let text = network.json(&format!("call {NAME} /text"));
    assert_eq!(text["headers"]["set-cookie"], json!(["a=1", "b=2"]));
    assert_eq!(text["headers"]["connection"], json!(["close"]));
    assert_eq!(text["headers"]["x-latin"], json!(["\u{e9}"]));
    assert_eq!(text["body"], "größe\n");
    assert_eq!(text["body_base64"], Value::Null);

    let binary = network.json(&format!("call {NAME} /binary"));
    assert_eq!(binary["body_base64"], "AP/+");
    assert_eq!(binary.get("body"), None);
}

/// Answers `/ticks` for over two seconds, `/broken-off` not to its end, all else without one.
fn serve_streams() -> u16 {
    serve_by(|request, mut connection| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        if request.contains("/broken-off") {
            return write!(connection, "{head}content-length: 9\r\n\r\nhello").unwrap();
        }
        write!(connection, "{head}\r\n").unwrap();
        if request.contains("/ticks") {
            for _ in 0..25 {
                connection.write_all(b"tick\n").unwrap();
                thread::sleep(Duration::from_millis(100));
            }
        } else if request.contains("/endless") {
            while connection.write_all(&[b'x'; 1 << 16]).is_ok() {}
        } else {
            connection.write_all(b"tick\n").unwrap();
            // Until the other one has enough.
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    })
}

#[test]
fn an_answer_is_printed_as_it_comes() {
    let network = Network::new();
    let _a = register(&network, "a", "v1", serve_streams());

    let (reader, writer) = std::io::pipe().unwrap();
    let call = Running::start_into(&mut network.vine(&format!("call {NAME} /quiet")), writer);
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "tick\n");
    drop(reader);
    let ended = call.end();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));

    let ticks = network.run(&format!("call {NAME} /ticks --timeout 2s"));
    assert_eq!(
        ticks.code,
        Some(0),
        "the time is that to begin: {}",
        ticks.stderr
    );
    assert_eq!(ticks.stdout, "tick\n".repeat(25));

    let broken_off = network.run(&format!("call {NAME} /broken-off"));
    assert_eq!((broken_off.code, &*broken_off.stdout), (Some(1), "hello"));
    let of = format!("error: node a of {NAME} at 127.0.0.1:");
    assert!(broken_off.stderr.starts_with(&of), "{}", broken_off.stderr);
}

#[test]
fn an_answer_as_json_has_bounds() {
    let network = Network::new();
    let _a = register(&network, "a", "v1", serve_streams());
    for (words, reason) in [
        (
            "/endless --timeout 1h",
            "longer than the 64 MiB that -o json holds",
        ),
        (
            "/quiet --timeout 2s",
            "its answer did not end within 2s; see --timeout",
        ),
    ] {
        let ended = network.run(&format!("call {NAME} {words} -o json"));
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{words}");
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    }
}

/// A gRPC server answers so to who does not know its protocol.
#[test]
fn what_is_no_http_is_said_so() {
    let network = Network::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _a = register(&network, "a", "v1", port);
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = [0; 4];
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let done = connection.read_exact(&mut request);
            done.and_then(|()| connection.write_all(&settings)).unwrap();
            // Until the other one has enough.
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    });
    let ended = network.run(&format!("call {NAME} /"));
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    let of = format!("error: the call to node a of {NAME} at 127.0.0.1:{port} failed: ");
    assert!(ended.stderr.starts_with(&of), "{}", ended.stderr);
    let remedy = "; does it speak HTTP/1.1?\n";
    assert!(ended.stderr.ends_with(remedy), "{}", ended.stderr);
}
