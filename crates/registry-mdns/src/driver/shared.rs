use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use vine_registry::{Error, ServiceSummary, Services, view::Reader};

use super::network::NO_INTERFACE;
use crate::{engine::Question, registry::NAME};

/// What handles read without asking the driver.
pub(crate) struct Shared {
    pub(crate) reader: Reader,
    /// What is browsed, and known as far as it can be.
    known: ArcSwap<Known>,
    stale: ArcSwapOption<Error>,
    /// Why there is an outage, if there is one.
    reason: ArcSwapOption<Error>,
}

#[derive(Clone, Default)]
struct Known {
    all: Option<Arc<Usage>>,
    /// By name, and then by namespace: there are few of those.
    names: HashMap<Arc<str>, Vec<Namespace>>,
}

/// A namespace in which a name is known.
type Namespace = (Arc<str>, Arc<Usage>);

/// Whether anybody has asked since the driver last looked.
#[derive(Debug, Default)]
pub(super) struct Usage(AtomicBool);

impl Usage {
    /// Readers on many cores share it: write only what is news.
    fn mark(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            known: ArcSwap::default(),
            stale: ArcSwapOption::empty(),
            reason: ArcSwapOption::empty(),
        }
    }

    /// The nodes of a service, if they are known.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<Services> {
        self.if_known(
            |known| known.service(namespace, name),
            || self.reader.get(namespace, name),
        )
    }

    /// The services of one namespace or of all, if they are known.
    pub(crate) fn list(&self, namespace: Option<&str>) -> Option<Vec<ServiceSummary>> {
        self.if_known(|known| known.all.as_ref(), || self.reader.list(namespace))
    }

    /// Reads what is known before and after: a browse that ends takes its nodes away only after it
    /// has said that they are not known any more.
    fn if_known<T>(
        &self,
        usage: impl FnOnce(&Known) -> Option<&Arc<Usage>>,
        read: impl FnOnce() -> T,
    ) -> Option<T> {
        let known = self.known.load();
        usage(&known)?.mark();
        let value = read();
        // Whatever else has changed meanwhile, the slow way finds out.
        Arc::ptr_eq(&known, &self.known.load()).then_some(value)
    }

    /// Why nothing is known for certain at the moment, if so.
    pub(crate) fn staleness(&self) -> Option<Error> {
        let stale = self.stale.load();
        stale.as_deref().cloned()
    }

    pub(super) fn learn(&self, question: &Question, usage: &Arc<Usage>) {
        let mut known = Known::clone(&self.known.load());
        known.forget(question);
        match question {
            Question::All => known.all = Some(Arc::clone(usage)),
            Question::Service { namespace, name } => {
                let namespaces = known.names.entry(Arc::clone(name)).or_default();
                namespaces.push((Arc::clone(namespace), Arc::clone(usage)));
            }
        }
        self.known.store(Arc::new(known));
    }

    pub(super) fn forget(&self, question: &Question) {
        let mut known = Known::clone(&self.known.load());
        known.forget(question);
        self.known.store(Arc::new(known));
    }

    pub(super) fn set_reason(&self, reason: Error) {
        self.reason.store(Some(Arc::new(reason)));
    }

    /// Says why.
    pub(super) fn go_stale(&self) -> Error {
        let reason = self.reason.load().as_deref().cloned();
        let error = reason.unwrap_or_else(|| Error::unavailable(NAME, NO_INTERFACE));
        self.stale.store(Some(Arc::new(error.clone())));
        error
    }

    pub(super) fn go_live(&self) {
        self.stale.store(None);
    }
}

impl Known {
    fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Usage>> {
        let own = self.names.get(name).and_then(|namespaces| {
            let mut namespaces = namespaces.iter();
            namespaces.find(|(known, _)| **known == *namespace)
        });
        own.map(|(_, usage)| usage).or(self.all.as_ref())
    }

    fn forget(&mut self, question: &Question) {
        match question {
            Question::All => self.all = None,
            Question::Service { namespace, name } => {
                if let Some(namespaces) = self.names.get_mut(name) {
                    namespaces.retain(|(known, _)| known != namespace);
                    if namespaces.is_empty() {
                        self.names.remove(name);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("reader", &self.reader)
            .field("names", &self.known.load().names.len())
            .field("stale", &self.staleness())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use vine_registry::view::View;

    use super::*;

    fn question(namespace: &str) -> Question {
        Question::Service {
            namespace: namespace.into(),
            name: "s".into(),
        }
    }

    #[test]
    fn knows_what_it_learned_until_it_forgets() {
        let shared = Shared::new(View::<()>::new("test").reader());
        let (one, all) = (Arc::default(), Arc::default());
        assert!(shared.service("vine", "s").is_none());

        shared.learn(&question("vine"), &one);
        assert!(shared.service("vine", "s").is_some());
        assert!(shared.service("other", "s").is_none());
        assert!(shared.list(None).is_none());
        assert!(one.take() && !one.take());

        shared.learn(&Question::All, &all);
        shared.forget(&question("vine"));
        assert!(shared.service("vine", "s").is_some());
        assert!(shared.list(Some("vine")).is_some());
        assert!(all.take() && !one.take());

        shared.forget(&Question::All);
        assert!(shared.service("vine", "s").is_none());
    }
}
