//! A registry that does as a test tells it.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options, Publisher,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
};

/// Clones are the same registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty {
    options: Options,
    state: Arc<Mutex<State>>,
    /// Each `watch` and `report_unreachable` is told here.
    pub(crate) called: Arc<Notify>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) services: Services,
    /// Why it can't be reached, if so.
    pub(crate) down: Option<Error>,
    /// It does not even answer that it is down.
    pub(crate) hangs: bool,
    /// How long it takes to begin a watch.
    pub(crate) delay: Duration,
    pub(crate) watches: usize,
    pub(crate) look_ups: usize,
    pub(crate) unreachable: Vec<NodeRef>,
    publishers: Vec<Publisher>,
}

pub(crate) fn outage() -> Error {
    Error::unavailable("faulty", "somebody cut the cable")
}

impl Faulty {
    pub(crate) fn with(services: impl IntoIterator<Item = Service>) -> Self {
        let faulty = Self::default();
        faulty.set(services);
        faulty
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What there is now; its watches hear of it.
    pub(crate) fn set(&self, services: impl IntoIterator<Item = Service>) {
        let namespace = &self.options.namespace;
        let services: Services = services
            .into_iter()
            .map(|service| service.with_namespace(Arc::clone(namespace)))
            .collect();
        let mut state = self.state();
        state.publishers.retain(|publisher| !publisher.is_stopped());
        for publisher in &mut state.publishers {
            publisher.resync(&services);
        }
        state.services = services;
    }

    /// Cuts it off; its watches hear of it.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        state.down = Some(outage());
        for publisher in &mut state.publishers {
            publisher.stale(outage());
        }
    }

    /// Ends its watches, too.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        state.down = Some(outage());
        state.publishers.clear();
    }

    async fn hang(&self) -> Result<()> {
        if !self.state().hangs {
            return Ok(());
        }
        tokio::time::sleep(self.options.timeout).await;
        Err(outage())
    }

    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.down = None;
        for publisher in &mut state.publishers {
            publisher.live();
        }
    }
}

#[async_trait]
impl Registry for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::unlimited()
    }

    async fn init(&self) -> Result<()> {
        self.hang().await
    }

    async fn register_with(&self, _: Arc<Service>, _: &RegisterOptions) -> Result<()> {
        Ok(())
    }

    async fn deregister_with(&self, _: &Service, _: &DeregisterOptions) -> Result<()> {
        Ok(())
    }

    async fn get_service_with(&self, name: &str, _: &GetOptions) -> Result<Services> {
        let mut state = self.state();
        state.look_ups += 1;
        match &state.down {
            Some(error) => Err(error.clone()),
            None if state.services.is_empty() => Err(Error::not_found("vine", name)),
            None => Ok(state.services.clone()),
        }
    }

    async fn list_services_with(&self, _: &ListOptions) -> Result<Vec<ServiceSummary>> {
        Ok(Vec::new())
    }

    async fn watch(&self, _: WatchOptions) -> Result<Watcher> {
        let delay = {
            let mut state = self.state();
            state.watches += 1;
            self.called.notify_one();
            state.delay
        };
        self.hang().await?;
        tokio::time::sleep(delay).await;
        tokio::task::yield_now().await;
        let mut state = self.state();
        if let Some(error) = &state.down {
            return Err(error.clone());
        }
        let (publisher, watcher) = Watcher::channel(state.services.clone());
        state.publishers.push(publisher);
        Ok(watcher)
    }

    async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        self.state().unreachable.push(node.clone());
        self.called.notify_one();
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.state().publishers.clear();
        Ok(())
    }
}
