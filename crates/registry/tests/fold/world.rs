//! Handles and watches of one memory registry, beside the model.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use vine_registry::{
    DeregisterOptions, Error, GetOptions, ListOptions, MemoryRegistry, Namespaces, Node, Options,
    Registry, RegistryExt, Result, Service, WatchOptions,
};

use crate::{
    calls::{Call, NAMES, NAMESPACES},
    model::{Answer, Model},
    watching::Watch,
};

pub(crate) struct World {
    store: MemoryRegistry,
    /// Each with a number that no other one has had.
    handles: Vec<(usize, MemoryRegistry)>,
    numbers: usize,
    registered: Vec<Arc<Service>>,
    watches: Vec<Watch>,
    model: Model,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            store: MemoryRegistry::new(),
            handles: Vec::new(),
            numbers: 0,
            registered: Vec::new(),
            watches: Vec::new(),
            model: Model::default(),
        };
        for i in 0..3 {
            let handle = world.handle(i);
            world.handles.push(handle);
        }
        world
    }

    /// A new handle; the last of the three looks into another namespace.
    fn handle(&mut self, place: usize) -> (usize, MemoryRegistry) {
        self.numbers += 1;
        let namespace = NAMESPACES[place / 2];
        let options = Options::new().with_namespace(namespace);
        (self.numbers, self.store.handle_with(options))
    }

    pub(crate) async fn make(&mut self, call: Call) {
        self.quiet().await;
        match call {
            Call::Register(handle, service) => self.register(handle, service.into()).await,
            Call::Repeat(handle, ago) => {
                if let Some(service) = self.registered.iter().rev().nth(ago).cloned() {
                    self.register(handle, service).await;
                }
            }
            Call::Burst(handle, service) => {
                for change in 0..1_200_u16 {
                    let node = Node::new("n0", format!("127.0.0.1:{}", 1 + change));
                    let service = service.clone().with_node(node);
                    self.register(handle, service.into()).await;
                }
            }
            Call::Deregister(handle, service, force) => {
                self.deregister(handle, &service, force).await;
            }
            Call::Close(handle) => self.close(handle).await,
            Call::Watch(handle, namespaces, name, late) => {
                self.watch(handle, namespaces, name, late).await;
            }
            Call::Unwatch(which) if !self.watches.is_empty() => {
                drop(self.watches.swap_remove(which % self.watches.len()));
            }
            Call::Read(which) if !self.watches.is_empty() => {
                let which = which % self.watches.len();
                self.watches[which].read();
            }
            Call::Unwatch(_) | Call::Read(_) => {}
            Call::Sleep(time) => sleep(time).await,
            Call::Check => self.check().await,
        }
        self.watches
            .iter_mut()
            .filter(|watch| !watch.late)
            .for_each(Watch::read);
    }

    async fn register(&mut self, place: usize, service: Arc<Service>) {
        let (number, handle) = &self.handles[place];
        let answer = answer(handle.register(Arc::clone(&service)).await);
        let expected = self.model.register(*number, &resolved(handle, &service));
        assert_eq!(answer, expected, "register {service:?}");
        self.registered.push(service);
    }

    async fn deregister(&mut self, place: usize, service: &Service, force: bool) {
        let (number, handle) = &self.handles[place];
        let options = DeregisterOptions::new().with_force(force);
        let answer = answer(handle.deregister_with(service, &options).await);
        let expected = self
            .model
            .deregister(*number, &resolved(handle, service), force);
        assert_eq!(answer, expected, "deregister {service:?}");
    }

    async fn close(&mut self, place: usize) {
        let new = self.handle(place);
        let (number, handle) = std::mem::replace(&mut self.handles[place], new);
        handle.close().await.expect("close succeeds");
        self.model.close(number);
        let (ended, going_on) = std::mem::take(&mut self.watches)
            .into_iter()
            .partition(|watch| watch.owner == number);
        self.watches = going_on;
        let ended: Vec<Watch> = ended;
        for watch in ended {
            watch.ends().await;
        }
    }

    async fn watch(
        &mut self,
        place: usize,
        namespaces: Namespaces,
        name: Option<&'static str>,
        late: bool,
    ) {
        let (number, handle) = &self.handles[place];
        let mut options = WatchOptions::new().with_namespace(namespaces.clone());
        options.service = name.map(Into::into);
        let watcher = handle.watch(options).await.expect("watch succeeds");
        let own = &handle.options().namespace;
        let watch = Watch::new(*number, (&namespaces, own), name, late, watcher);
        self.watches.push(watch);
    }

    /// Compares everything with the model.
    pub(crate) async fn check(&mut self) {
        self.quiet().await;
        for (_, handle) in &self.handles {
            for (namespace, name) in places() {
                let options = GetOptions::new().with_namespace(namespace);
                let found = match handle.get_service_with(name, &options).await {
                    Err(Error::NotFound { .. }) => Default::default(),
                    answer => answer.expect("get_service answers"),
                };
                assert_eq!(
                    found,
                    self.model.services(namespace, name),
                    "{namespace} {name}"
                );
            }
            let all = ListOptions::new().with_namespace(Namespaces::All);
            let listing = handle
                .list_services_with(&all)
                .await
                .expect("list_services answers");
            let listed: Vec<_> = listing
                .iter()
                .map(|summary| {
                    (
                        &*summary.namespace,
                        &*summary.name,
                        summary.versions.len(),
                        summary.nodes,
                    )
                })
                .collect();
            let expected: Vec<_> = places()
                .map(|(namespace, name)| (namespace, name, self.model.services(namespace, name)))
                .filter(|(.., services)| !services.is_empty())
                .map(|(namespace, name, services)| {
                    (namespace, name, services.len(), Some(services.node_count()))
                })
                .collect();
            assert_eq!(listed, expected, "list_services");
        }
        for watch in &mut self.watches {
            watch.check(&self.model);
        }
    }

    /// Lets events get to the watches, and time go on to where it is certain what has run out.
    async fn quiet(&mut self) {
        sleep(Duration::from_millis(1)).await;
        while self.model.is_uncertain() {
            sleep(Duration::from_millis(1)).await;
        }
        self.model.expire();
    }
}

/// Every namespace and name, sorted.
fn places() -> impl Iterator<Item = (&'static str, &'static str)> {
    let namespaces = NAMESPACES.iter().rev();
    namespaces.flat_map(|namespace| NAMES.iter().map(move |name| (*namespace, *name)))
}

/// With its namespace.
fn resolved(handle: &MemoryRegistry, service: &Service) -> Service {
    if service.namespace.is_empty() {
        service
            .clone()
            .with_namespace(Arc::clone(&handle.options().namespace))
    } else {
        service.clone()
    }
}

fn answer(result: Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(Error::Replaced { .. }) => Answer::Replaced,
        Err(Error::NotOwner { .. }) => Answer::NotOwner,
        Err(other) => panic!("an answer that was not expected: {other}"),
    }
}
