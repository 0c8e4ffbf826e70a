//! The cache as a registry: look-ups by name are answered here, all else behind it.

use std::sync::Arc;

use async_trait::async_trait;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, NodeRef, Options,
    RegisterOptions, Registry, Result, Service, ServiceSummary, Services, WatchOptions, Watcher,
    validate,
};

use super::{Cache, Entry, Inner};
use crate::{Known, Standing};

impl Inner {
    /// The answer to a look-up, if there is one without waiting.
    fn answer(&self, entry: &Entry, known: &Known, allow_stale: bool) -> Option<Result<Services>> {
        let has_nodes = !known.services.is_empty();
        match &known.standing {
            Standing::Unknown(_) => None,
            Standing::Live if has_nodes => Some(Ok(known.services.clone())),
            Standing::Live => {
                let (namespace, name) = (Arc::clone(&entry.namespace), Arc::clone(&entry.name));
                Some(Err(Error::not_found(namespace, name)))
            }
            // That there was none before the outage does not say that there is none.
            Standing::Stale { .. } if has_nodes && (allow_stale || self.options.allow_stale) => {
                Some(Ok(known.services.clone()))
            }
            // What an earlier process saved won't do, and the registry may answer yet.
            Standing::Stale { .. } if known.is_awaited => None,
            Standing::Stale { error, .. } => Some(Err(error.clone())),
        }
    }
}

#[async_trait]
impl Registry for Cache {
    fn name(&self) -> &str {
        self.0.registry.name()
    }

    fn options(&self) -> &Options {
        self.0.registry.options()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.registry.capabilities()
    }

    async fn init(&self) -> Result<()> {
        self.0.registry.init().await
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        self.0.registry.register_with(service, options).await
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        self.0.registry.deregister_with(service, options).await
    }

    /// A look-up of a name that is followed copies a pointer. The first one waits until the watch
    /// of the name knows the present state, whatever [`GetOptions::wait`] says.
    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let inner = &*self.0;
        inner.check_open()?;
        let given = options.namespace.as_ref().filter(|given| !given.is_empty());
        let namespace = given.unwrap_or(&inner.namespace);
        let answer = inner.names.with(namespace, name, |entry, known| {
            entry.touch();
            inner.answer(entry, known, options.allow_stale)
        });
        match answer {
            Some(Some(answer)) => answer,
            Some(None) => self.wait(namespace, name, options).await,
            None if inner.has_room() => self.wait(namespace, name, options).await,
            None => inner.registry.get_service_with(name, options).await,
        }
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        self.0.registry.list_services_with(options).await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        self.0.registry.watch(options).await
    }

    async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        self.0.report_unreachable(node).await
    }

    async fn close(&self) -> Result<()> {
        self.0.end();
        self.0.registry.close().await
    }
}

impl Cache {
    /// Waits for the watch of a name, and starts it if need be.
    async fn wait(
        &self,
        namespace: &Arc<str>,
        name: &str,
        options: &GetOptions,
    ) -> Result<Services> {
        let limit = self.capabilities().max_name_len;
        validate::name("namespace", namespace, limit)?;
        validate::name("name", name, limit)?;
        let mut subscription = self.subscribe_in(namespace, name);
        let entry = subscription.entry();
        let answer = |known: &Known| self.0.answer(&entry, known, options.allow_stale);
        let known = subscription.asked(|known| answer(known).is_some()).await;
        answer(&known).unwrap_or_else(|| Err(known.error().cloned().unwrap_or(Error::Closed)))
    }
}
