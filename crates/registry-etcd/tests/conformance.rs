//! The suite that every engine passes, on a real etcd.

mod server;

use server::Server;
use vine_registry::{Node, Options, RegistryExt, Service};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

#[tokio::test]
async fn a_service_is_registered_found_listed_and_deregistered() {
    let server = Server::start();
    let options = Options::new().with_addrs([server.address.clone()]);
    let registry = EtcdRegistry::new(options, EtcdOptions::new()).expect("the options are fine");
    let service = Service::new("go.vine.test", "v1").with_node(Node::new("a", "10.0.0.7:80"));
    registry.register(service.clone()).await.expect("registers");
    let found = registry.get_service("go.vine.test").await.expect("finds");
    assert_eq!(*found[0], service.clone().with_namespace("vine"));
    assert_eq!(registry.list_services().await.expect("lists").len(), 1);
    registry.deregister(&service).await.expect("deregisters");
    assert!(registry.get_service("go.vine.test").await.is_err());
}
