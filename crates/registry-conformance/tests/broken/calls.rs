//! Faults of register and deregister.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use vine_registry::{
    DeregisterOptions, Error, ListOptions, Namespaces, Node, RegisterOptions, Registry, Result,
    Service,
};

use crate::{
    engine::{Broken, Known},
    faults::Fault,
};

impl Broken {
    pub(crate) async fn faulty_register(
        &self,
        service: Arc<Service>,
        options: &RegisterOptions,
    ) -> Result<()> {
        if let Some(answer) = self.before_register(&service).await {
            return answer;
        }
        self.disturb(&service).await;
        let altered = self.altered(&service).await;
        let (altered, options) = self.with_ttl(altered, options);
        if self.fault == Fault::DroppedRegisterComesBack {
            return self.register_later(altered, options).await;
        }
        if self.fault == Fault::HalfRegister {
            let first = altered.nodes.iter().take(1).cloned();
            let first = Service::clone(&altered).with_nodes(first.collect::<Vec<_>>());
            self.inner.register_with(first.into(), &options).await?;
            tokio::task::yield_now().await;
        }
        let answer = self
            .inner
            .register_with(Arc::clone(&altered), &options)
            .await;
        if answer.is_ok() {
            self.remember(&service, &altered, &options);
        }
        self.after_register(&service, answer).await
    }

    /// What comes in the way of registering.
    async fn before_register(&self, service: &Arc<Service>) -> Option<Result<()>> {
        let known = service.nodes.nth(0);
        let known = known.and_then(|node| {
            self.state()
                .known
                .get(&self.key(service, &node.id))
                .cloned()
        });
        let current = match &known {
            Some(known) => self.current(&known.service).await,
            None => None,
        };
        let known = known.as_ref();
        match self.fault {
            Fault::RegisterDoesNothing => return Some(Ok(())),
            Fault::KeepsKnownIds if current.is_some() => return Some(Ok(())),
            Fault::LosesUpdates if self.fragile().await.is_err() => return Some(Ok(())),
            Fault::DroppedRegisterBlocks => {
                if let Err(error) = self.fragile().await {
                    return Some(Err(error));
                }
            }
            Fault::MovesAreIgnored
                if known.is_some_and(|known| known.service.version != service.version) =>
            {
                return Some(Ok(()));
            }
            Fault::FirstHolderWins
                if current.is_some() && known.is_some_and(|known| known.side != self.side) =>
            {
                return Some(Ok(()));
            }
            Fault::ReplacedForGood
                if self
                    .state()
                    .replaced
                    .contains(&(self.side, Arc::clone(&service.name))) =>
            {
                return Some(Err(replaced(service)));
            }
            Fault::SameIsNotRegistered if known.is_some_and(|known| known.service == *service) => {
                return Some(Ok(()));
            }
            Fault::RegisterBlocks => {
                let registers = &mut self.state().registers;
                *registers += 1;
                if *registers > 40 {
                    return Some(Err(Error::unavailable("broken", "a watcher is too slow")));
                }
            }
            Fault::ClosedIdsStayTaken => {
                let taken = service
                    .nodes
                    .iter()
                    .any(|node| self.state().taken.contains(&self.key(service, &node.id)));
                return taken.then_some(Ok(()));
            }
            _ => {}
        }
        None
    }

    /// What is done to other registrations on the way.
    async fn disturb(&self, service: &Arc<Service>) {
        let current = self.current(service).await;
        let current = current.filter(|current| {
            let known = |node: &Arc<Node>| current.nodes.get(&node.id).is_some();
            service.nodes.iter().any(known)
        });
        match self.fault {
            Fault::RegisterReplacesService => {
                self.end(&Service::clone(service).with_nodes(Vec::<Node>::new()))
                    .await;
            }
            Fault::IdsAreGlobal => {
                for namespace in ["conformance", "blue"] {
                    self.end_everywhere(&Service::clone(service).with_namespace(namespace))
                        .await;
                }
            }
            Fault::RenewalIsChange if current.is_some() => {
                let marked = service.metadata.with("renewed", "now");
                let touched = Service::clone(service).with_metadata(marked);
                let options = RegisterOptions::new();
                let _ = self.inner.register_with(touched.into(), &options).await;
            }
            Fault::UpdatesAreDeleteAndCreate if current.is_some() => self.end(service).await,
            _ => {}
        }
    }

    /// Ends a node in any version.
    async fn end_everywhere(&self, service: &Service) {
        for version in ["v1", "v2", "v3"] {
            let mut service = service.clone();
            service.version = version.into();
            self.end(&service).await;
        }
    }

    /// Registers after a while, whether the caller waits or not.
    async fn register_later(&self, service: Arc<Service>, options: RegisterOptions) -> Result<()> {
        let inner = self.inner.clone();
        let later = tokio::spawn(async move {
            sleep(Duration::from_millis(50)).await;
            inner.register_with(service, &options).await
        });
        later.await.expect("registering does not panic")
    }

    fn remember(&self, given: &Arc<Service>, service: &Arc<Service>, options: &RegisterOptions) {
        let mut state = self.state();
        let ttl = options.ttl.or(service.ttl);
        for node in &service.nodes {
            let key = self.key(service, &node.id);
            let known = Known {
                service: Arc::clone(service),
                side: self.side,
                deadline: ttl.map(|ttl| Instant::now() + ttl),
            };
            if let Some(before) = state.known.insert(key, known)
                && before.service.version != service.version
            {
                let left = Service::clone(&before.service).with_nodes([Arc::clone(node)]);
                state.moved.push(left.into());
            }
        }
        state
            .weak
            .insert(Arc::clone(&service.name), Arc::downgrade(given));
        drop(state);
        if let (Fault::ExpiryTakesAll, Some(ttl)) = (self.fault, ttl) {
            let all = Service::clone(service).with_nodes(Vec::<Node>::new());
            let inner = self.inner.clone();
            tokio::spawn(async move {
                sleep(ttl).await;
                let force = DeregisterOptions::new().with_force(true);
                inner.deregister_with(&all, &force).await
            });
        }
    }

    async fn after_register(&self, service: &Arc<Service>, answer: Result<()>) -> Result<()> {
        match (self.fault, &answer) {
            (Fault::NeverReplaced, Err(Error::Replaced { .. })) => Ok(()),
            (Fault::ReplacedOnce, Err(Error::Replaced { .. })) => {
                self.inner
                    .deregister_with(service, &DeregisterOptions::new())
                    .await?;
                answer
            }
            (Fault::ReplacedForGood, Err(Error::Replaced { .. })) => {
                self.state()
                    .replaced
                    .insert((self.side, Arc::clone(&service.name)));
                answer
            }
            (Fault::TakesWhatIsInvalid, Err(Error::InvalidService { .. })) => Ok(()),
            (Fault::ErrorsNameNoField, Err(Error::InvalidService { reason, .. })) => {
                Err(Error::invalid_service("something", reason.clone()))
            }
            (Fault::SkipsBadNodes, Err(Error::InvalidService { .. })) => {
                let good = service
                    .nodes
                    .iter()
                    .filter(|node| node.port().is_some())
                    .cloned();
                let good = Service::clone(service).with_nodes(good.collect::<Vec<_>>());
                let _ = self
                    .inner
                    .register_with(good.into(), &RegisterOptions::new())
                    .await;
                answer
            }
            _ => answer,
        }
    }

    pub(crate) async fn faulty_deregister(
        &self,
        service: &Service,
        options: &DeregisterOptions,
    ) -> Result<()> {
        let mut service = service.clone();
        let mut options = options.clone();
        match self.fault {
            Fault::DeregisterDoesNothing => return Ok(()),
            Fault::DeregisterEndsTheVersion => service = service.with_nodes(Vec::<Node>::new()),
            Fault::WithoutNamesNothingEnds if service.nodes.is_empty() => return Ok(()),
            Fault::DeregisterEndsAllVersions => self.end_everywhere(&service).await,
            Fault::DeregistersOthers => options.force = true,
            Fault::UnknownIsNotFound if self.current(&service).await.is_none() => {
                return Err(Error::not_found(service.namespace, service.name));
            }
            Fault::DeregisterIgnoresVersion => self.end_everywhere(&service).await,
            Fault::DeregisterComparesFields => {
                let current = self.current(&service).await;
                if current.is_some_and(|current| !current.same_fields(&service)) {
                    return Ok(());
                }
            }
            Fault::RefusesAfterEnding => {
                let mut nodes: Vec<_> = service.nodes.iter().cloned().collect();
                nodes.sort_by(|a, b| a.id.cmp(&b.id));
                for node in nodes {
                    let one = service.clone().with_nodes([node]);
                    self.inner.deregister_with(&one, &options).await?;
                }
            }
            Fault::ForceIsIgnored => options.force = false,
            Fault::ForceIsForbidden if options.force => {
                return Err(Error::Unsupported {
                    registry: "broken".into(),
                    operation: "force".into(),
                    remedy: "ask its owner".into(),
                });
            }
            Fault::HalfDeregister => {
                if !self.state().ending.insert(Arc::clone(&service.name)) {
                    return Ok(());
                }
                tokio::task::yield_now().await;
                self.state().ending.remove(&service.name);
            }
            Fault::IgnoresNamespaces => service.namespace = "".into(),
            Fault::HardWiredNamespace if service.namespace.is_empty() => {
                service.namespace = "vine".into();
            }
            Fault::DeregisterIgnoresNamespace => {
                let all = ListOptions::new().with_namespace(Namespaces::All);
                for summary in self.inner.list_services_with(&all).await? {
                    self.end_everywhere(&service.clone().with_namespace(summary.namespace))
                        .await;
                }
            }
            _ => {}
        }
        match self.inner.deregister_with(&service, &options).await {
            Err(Error::NotOwner { .. }) if self.fault == Fault::ForeignNodesAreIgnored => Ok(()),
            answer => answer,
        }
    }
}

fn replaced(service: &Service) -> Error {
    let id = service.nodes.nth(0).map(|node| Arc::clone(&node.id));
    Error::Replaced {
        name: Arc::clone(&service.name),
        id: id.unwrap_or_default(),
    }
}
