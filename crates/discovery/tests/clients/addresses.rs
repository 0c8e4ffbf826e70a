//! Nodes whose address can't stand in a URL: others than Vine may write anything into a registry.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use vine_discovery::{
    Cache, Ejection, RoundRobin, Selector,
    clients::{CallError, hyper, reqwest},
};
use vine_registry::{Node, Service};

use super::{
    faulty::Faulty,
    http::{Backend, NAME, post},
    world::until_ejected,
};

#[tokio::test]
async fn a_node_whose_address_can_not_stand_in_a_url_costs_no_call() {
    let good = Backend::start("a").await.node;
    let odd = Node::new("odd", "two words:80");
    let service = Service::new(NAME, "v1").with_nodes([good, odd]);
    let cache = Cache::new(Faulty::with([service]));
    let selector = || {
        let selector = Selector::builder(cache.subscribe(NAME)).strategy(RoundRobin::new());
        let hour = Duration::from_secs(3600);
        let ejection = Ejection::new().with_times(hour, hour);
        selector.ejection(ejection).build()
    };
    let passed_over = selector();
    let client = hyper::Client::new(cache.clone()).with_service(NAME, passed_over.clone());
    for _ in 0..2 {
        post(&client, "http://go.vine.test/").await.unwrap();
    }
    until_ejected(&passed_over, "odd").await;
    let passed_over = selector();
    let client = reqwest::Client::new(cache.clone()).with_service(NAME, passed_over.clone());
    for _ in 0..2 {
        let request = client.http().post("http://go.vine.test/").body("hi");
        client.send(request).await.unwrap();
    }
    until_ejected(&passed_over, "odd").await;
}

#[tokio::test]
async fn an_address_that_can_not_stand_in_a_url_is_told() {
    let odd = Node::new("odd", "two words:80");
    let cache = Cache::new(Faulty::with([Service::new(NAME, "v1").with_node(odd)]));
    let by_hyper: hyper::Client<Full<Bytes>> = hyper::Client::new(cache.clone());
    let by_hyper = by_hyper.get("http://go.vine.test/".parse().unwrap()).await;
    let by_reqwest = reqwest::Client::new(cache)
        .get("http://go.vine.test/")
        .await;
    for error in [by_hyper.unwrap_err(), by_reqwest.unwrap_err()] {
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
        let cause = error.source().unwrap();
        assert_eq!(cause.to_string(), "node odd at two words:80");
        let cause = cause.source().unwrap().to_string();
        assert!(cause.contains("invalid"), "{cause}");
    }
}
