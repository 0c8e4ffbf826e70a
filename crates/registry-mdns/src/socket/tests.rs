use std::{future::poll_fn, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{engine::Family, interfaces, options::MdnsOptions};

fn open(options: &MdnsOptions) -> Sockets {
    let mut sockets = Sockets::new(options.port);
    for (link, error) in sockets.follow(&interfaces::usable(options).unwrap()) {
        assert_eq!(link.family, Family::V6, "{error}");
    }
    sockets
}

fn loopback(port: u16) -> MdnsOptions {
    MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"])
}

async fn next(sockets: &mut Sockets) -> (Arrival, Vec<u8>) {
    let mut buffer = [0; MAX_PACKET];
    loop {
        if let Some(arrival) = sockets.receive(&mut buffer) {
            return (arrival, buffer[..arrival.len].to_vec());
        }
        poll_fn(|cx| sockets.poll_ready(cx)).await;
        sockets.flush();
    }
}

/// Waits until everything is sent.
async fn flushed(sockets: &mut Sockets) {
    while !sockets.is_flushed() {
        poll_fn(|cx| sockets.poll_ready(cx)).await;
        sockets.flush();
    }
}

fn v4(sockets: &Sockets) -> Link {
    let mut links = sockets.links.keys().copied();
    links.find(|link| link.family == Family::V4).unwrap()
}

#[tokio::test]
async fn a_question_reaches_the_group_and_its_answer_the_asker() {
    let (mut one, mut other) = (open(&loopback(17_001)), open(&loopback(17_001)));
    let link = v4(&one);

    one.send_to_group(link, Port::Query, b"question");
    flushed(&mut one).await;
    let (heard, payload) = next(&mut other).await;
    assert_eq!(payload, b"question");
    assert_eq!((heard.link, heard.port), (link, Port::Standing));
    assert!(heard.multicast && heard.source.ip().is_loopback());
    assert_eq!(
        next(&mut one).await.0,
        heard,
        "its own standing socket hears it, too"
    );

    other.send(link, Port::Standing, heard.source, b"answer");
    flushed(&mut other).await;
    let (heard, payload) = next(&mut one).await;
    assert_eq!(payload, b"answer");
    assert_eq!((heard.link, heard.port), (link, Port::Query));
    assert!(!heard.multicast);
    assert_eq!(heard.source, "127.0.0.1:17001".parse().unwrap());
}

#[tokio::test]
async fn another_port_hears_nothing() {
    let (mut one, mut other) = (open(&loopback(17_002)), open(&loopback(17_003)));
    let link = v4(&one);
    one.send_to_group(link, Port::Standing, b"here");
    flushed(&mut one).await;
    other.send_to_group(link, Port::Standing, b"there");
    flushed(&mut other).await;
    assert_eq!(next(&mut one).await.1, b"here");
    assert_eq!(next(&mut other).await.1, b"there");
    assert_eq!(one.receive(&mut [0; MAX_PACKET]), None);
    assert_eq!(other.receive(&mut [0; MAX_PACKET]), None);
}

#[tokio::test]
async fn a_link_that_is_gone_is_closed_and_comes_back() {
    let options = loopback(17_004);
    let interfaces = interfaces::usable(&options).unwrap();
    let mut sockets = open(&options);
    let link = v4(&sockets);

    sockets.follow(&[]);
    assert_eq!(sockets.links.len(), 0);
    assert_eq!(sockets.sockets.len(), 0);
    sockets.send_to_group(link, Port::Standing, b"into the void");
    flushed(&mut sockets).await;

    sockets.follow(&interfaces);
    sockets.send_to_group(link, Port::Standing, b"back");
    flushed(&mut sockets).await;
    assert_eq!(next(&mut sockets).await.1, b"back");
}

#[tokio::test]
async fn a_link_that_could_not_be_opened_leaves_no_membership_behind() {
    let mut sockets = open(&loopback(17_007));
    let link = v4(&sockets);
    let source = sockets.links[&link];
    sockets.close(link);
    let elsewhere = "203.0.113.9".parse().unwrap();
    sockets.serve(link, elsewhere).unwrap_err();
    assert!(!sockets.sockets.iter().any(|socket| socket.serves(link)));
    sockets.serve(link, source).unwrap();
    assert!(sockets.is_open(link));
}

#[tokio::test]
async fn following_what_has_not_changed_keeps_the_sockets() {
    let options = loopback(17_005);
    let mut sockets = open(&options);
    let before: Vec<_> = sockets
        .sockets
        .iter()
        .map(|s| s.io.local_addr().unwrap())
        .collect();
    sockets.follow(&interfaces::usable(&options).unwrap());
    let after: Vec<_> = sockets
        .sockets
        .iter()
        .map(|s| s.io.local_addr().unwrap())
        .collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn packets_that_found_no_room_are_counted() {
    let (mut one, mut other) = (open(&loopback(17_006)), open(&loopback(17_006)));
    let link = v4(&one);
    let packet = [0; 8000];
    for _ in 0..2000 {
        one.send_to_group(link, Port::Standing, &packet);
        flushed(&mut one).await;
    }
    let mut buffer = [0; MAX_PACKET];
    let (mut sent, mut heard, mut lost) = (2000, 0, 0);
    // The count comes along with a packet that gets through, and on a busy machine some come late.
    let all = async {
        while heard + lost < sent && cfg!(target_os = "linux") {
            one.send_to_group(link, Port::Standing, &packet);
            flushed(&mut one).await;
            sent += 1;
            next(&mut other).await;
            heard += 1;
            while other.receive(&mut buffer).is_some() {
                heard += 1;
            }
            lost += other.take_losses().overflowed;
        }
    };
    let counted = timeout(Duration::from_secs(100), all).await;
    assert!(counted.is_ok(), "{heard} and {lost} of {sent}");
    assert_eq!(heard + lost, sent);
    assert!(lost > 0 || cfg!(not(target_os = "linux")));
    assert_eq!(other.take_losses(), Losses::default());
}
