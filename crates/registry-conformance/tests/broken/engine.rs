//! A memory registry with one fault.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::time::Instant;
use vine_registry::{
    Capabilities, DeregisterOptions, Error, GetOptions, ListOptions, MemoryRegistry, NodeRef,
    Options, RegisterOptions, Registry, Result, Service, ServiceSummary, Services, Stopper,
    WatchOptions, Watcher,
};

use crate::faults::Fault;

/// One of two handles of a memory registry with one fault.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) inner: MemoryRegistry,
    pub(crate) fault: Fault,
    /// Which of the two handles.
    pub(crate) side: usize,
    pub(crate) closed: AtomicBool,
    state: Arc<Mutex<State>>,
}

/// What the faults need to remember.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// A call is under way, or was dropped.
    pub(crate) busy: bool,
    /// What was registered last, by namespace, name and id.
    pub(crate) known: HashMap<NodeRef, Known>,
    /// What nodes were before they moved.
    pub(crate) moved: Vec<Arc<Service>>,
    /// What look-ups gave last.
    pub(crate) found: HashMap<(Arc<str>, String), Services>,
    pub(crate) listed: Vec<ServiceSummary>,
    pub(crate) stoppers: Vec<Stopper>,
    pub(crate) watches: usize,
    pub(crate) registers: usize,
    pub(crate) ending: HashSet<Arc<str>>,
    pub(crate) taken: HashSet<NodeRef>,
    /// Who has been told that he was replaced.
    pub(crate) replaced: HashSet<(usize, Arc<str>)>,
    pub(crate) weak: HashMap<Arc<str>, Weak<Service>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) service: Arc<Service>,
    pub(crate) side: usize,
    pub(crate) deadline: Option<Instant>,
}

/// Two handles of a registry with this fault.
pub(crate) fn handles(fault: Fault) -> (Broken, Broken) {
    let options = || Options::new().with_namespace("conformance");
    let store = MemoryRegistry::new();
    let other = match fault {
        Fault::HandlesAreIslands => MemoryRegistry::new(),
        _ => store.clone(),
    };
    let state = Arc::default();
    let handle = |side, store: &MemoryRegistry| Broken {
        inner: store.handle_with(options()),
        fault,
        side,
        closed: AtomicBool::new(false),
        state: Arc::clone(&state),
    };
    (handle(0, &store), handle(1, &other))
}

impl Broken {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }

    /// Names a node with its namespace.
    pub(crate) fn key(&self, service: &Service, id: &Arc<str>) -> NodeRef {
        let key = NodeRef::of(service, Arc::clone(id));
        if service.namespace.is_empty() {
            key.with_namespace(Arc::clone(&self.inner.options().namespace))
        } else {
            key
        }
    }

    /// What the registry holds of this service in this version.
    pub(crate) async fn current(&self, service: &Service) -> Option<Arc<Service>> {
        let options = GetOptions::new().with_namespace(Arc::clone(&service.namespace));
        let services = self.inner.get_service_with(&service.name, &options).await;
        services.ok()?.version(&service.version).cloned()
    }

    /// Ends nodes, whoever registered them.
    pub(crate) async fn end(&self, service: &Service) {
        let force = DeregisterOptions::new().with_force(true);
        let ended = self.inner.deregister_with(service, &force).await;
        ended.expect("force ends whatever there is");
    }

    /// A call that does not get over being dropped.
    pub(crate) async fn fragile(&self) -> Result<()> {
        if std::mem::replace(&mut self.state().busy, true) {
            return Err(Error::unavailable("broken", "another call is under way"));
        }
        tokio::task::yield_now().await;
        self.state().busy = false;
        Ok(())
    }
}

#[async_trait]
impl Registry for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn options(&self) -> &Options {
        self.inner.options()
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.fault {
            Fault::ForceWorksSecretly | Fault::ForceIsForbidden => {
                capabilities.with_force_deregister(false)
            }
            Fault::SizeLimitIsNotKept => capabilities.with_max_service_size(1_000),
            Fault::NameLimitIsNotKept => capabilities.with_max_name_len(100),
            _ => capabilities,
        }
    }

    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn register_with(&self, service: Arc<Service>, options: &RegisterOptions) -> Result<()> {
        self.faulty_register(service, options).await
    }

    async fn deregister_with(&self, service: &Service, options: &DeregisterOptions) -> Result<()> {
        self.faulty_deregister(service, options).await
    }

    async fn get_service_with(&self, name: &str, options: &GetOptions) -> Result<Services> {
        self.faulty_get(name, options).await
    }

    async fn list_services_with(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        self.faulty_list(options).await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        self.faulty_watch(options).await
    }

    async fn report_unreachable(&self, node: &NodeRef) -> Result<()> {
        if self.fault == Fault::BelievesReports {
            let node = node.clone().with_namespace("conformance");
            let known = self.state().known.get(&node).cloned();
            if let Some(known) = known {
                self.end(&known.service).await;
            }
        }
        self.inner.report_unreachable(node).await
    }

    async fn close(&self) -> Result<()> {
        let again = self.closed.swap(true, Ordering::SeqCst);
        match self.fault {
            Fault::CloseDoesNothing => return Ok(()),
            Fault::SecondCloseFails if again => return Err(Error::Closed),
            Fault::CloseTakesEverything => {
                let known: Vec<_> = self.state().known.values().cloned().collect();
                for known in known {
                    self.end(&known.service).await;
                }
            }
            Fault::CloseEndsAllWatches => {
                self.state().stoppers.iter().for_each(Stopper::stop);
            }
            Fault::ClosedIdsStayTaken => {
                let mut state = self.state();
                let known: Vec<_> = state.known.keys().cloned().collect();
                state.taken.extend(known);
            }
            _ => {}
        }
        self.inner.close().await
    }
}
