//! The program on an etcd server.

use std::io::{BufRead, BufReader};

use nix::sys::signal::Signal;
use vine_etcd_harness::Cluster;

use crate::process::{Running, run, vine};

#[tokio::test]
async fn whoever_asks_to_end_again_does_not_wait_for_the_registry() {
    let cluster = Cluster::single().await;
    let address = cluster.addrs().join(",");
    let words = format!(
        "register a --version v1 --id 1 --address [::1]:80 --registry.timeout=1h \
            --registry.address=etcd://{address}"
    );
    let register = Running::start(&mut vine(&words));
    assert!(register.line().starts_with("registered a v1 1"));
    cluster.member(0).pause();
    // Two of the same would count as one if they came at once.
    register.signal(Signal::SIGTERM);
    register.signal(Signal::SIGINT);
    let ended = register.end();
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(
        ended.stderr.ends_with(
            "error: ended before the registry had answered; others may see the node until its ttl ends\n"
        ),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_registration_outlives_its_reader_through_outages() {
    let mut cluster = Cluster::single().await;
    let address = cluster.addrs().join(",");
    let words = format!(
        "register a --version v1 --id 1 --address [::1]:80 --log.level=info \
            --registry.address=etcd://{address}"
    );
    let (reader, writer) = std::io::pipe().unwrap();
    let register = Running::start_into(&mut vine(&words), writer);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert!(line.starts_with("registered a v1 1"), "{line}");
    // After the first one it has something to say that nobody reads.
    for _ in 0..2 {
        cluster.kill();
        register.complains("not registered, trying again");
        cluster.restart().await;
        register.complains(": registered\n");
    }
}

#[tokio::test]
async fn json_says_the_same_of_a_node_that_comes_and_goes() {
    let cluster = Cluster::single().await;
    let node = "a --version v1 --id 1 -o json";
    let at = format!("--registry.address=etcd://{}", cluster.addrs().join(","));
    let words = format!("register {node} --address [::1]:80 --metadata vine.zone=north {at}");
    let register = Running::start(&mut vine(&words));
    let registered = register.line();
    let words = format!("deregister {node} --force {at}");
    let deregistered = run(&mut vine(&words)).stdout;
    assert!(registered.contains(r#""namespace":"vine""#), "{registered}");
    assert_eq!(
        deregistered,
        registered.replacen("registered", "deregistered", 1)
    );
}
