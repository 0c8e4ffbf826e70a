//! Watches, and that each event is right for what was told before.

use futures_util::FutureExt;
use vine_registry::{Action, Event, Fold, Namespaces, Services, Watcher};

use crate::{
    calls::{NAMES, NAMESPACES},
    model::Model,
};

pub(crate) struct Watch {
    pub(crate) owner: usize,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<&'static str>,
    /// Whether it is read only when told.
    pub(crate) late: bool,
    watcher: Watcher,
    fold: Fold,
}

impl Watch {
    pub(crate) fn new(
        owner: usize,
        (namespaces, own): (&Namespaces, &str),
        name: Option<&'static str>,
        late: bool,
        mut watcher: Watcher,
    ) -> Self {
        let own = own.into();
        let fold = Fold::new(&watcher.take_snapshot());
        Self {
            owner,
            namespace: namespaces
                .resolve(&own)
                .map(|namespace| namespace.to_string()),
            name,
            late,
            watcher,
            fold,
        }
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) {
        while let Some(event) = self.watcher.next_event().now_or_never() {
            let event = event.expect("nobody ended this watch");
            self.assert_fits(&event);
            assert!(
                self.fold.apply(&event),
                "every event changes the fold: {event:?}"
            );
        }
    }

    fn assert_fits(&self, event: &Event) {
        let service = &event.service;
        let told = self.fold.service(&service.namespace, &service.name);
        let there = |id: &str| {
            let version = told.version(&service.version);
            version.is_some_and(|told| told.nodes.get(id).is_some())
        };
        let anywhere = |id: &str| told.iter().any(|told| told.nodes.get(id).is_some());
        let fits = match event.action {
            Action::Create => {
                !service.nodes.is_empty() && service.nodes.iter().all(|node| !anywhere(&node.id))
            }
            Action::Update => {
                told.version(&service.version).is_some()
                    && service.nodes.iter().all(|node| there(&node.id))
            }
            Action::Delete => {
                !service.nodes.is_empty() && service.nodes.iter().all(|node| there(&node.id))
            }
            other => panic!("an action that is not known: {other}"),
        };
        assert!(fits, "not the right event: {event:?} after {told:?}");
        let wanted = self
            .namespace
            .as_deref()
            .is_none_or(|wanted| wanted == &*service.namespace)
            && self.name.is_none_or(|wanted| wanted == &*service.name);
        assert!(
            wanted,
            "a watch of {:?} {:?} hears {event:?}",
            self.namespace, self.name
        );
    }

    /// Reads what is there, and compares all that was told with what there is.
    pub(crate) fn check(&mut self, model: &Model) {
        self.read();
        let namespaces = NAMESPACES.iter().filter(|namespace| {
            self.namespace
                .as_deref()
                .is_none_or(|wanted| wanted == **namespace)
        });
        let all = namespaces.flat_map(|namespace| NAMES.iter().map(move |name| (namespace, name)));
        let expected: Services = all
            .filter(|(_, name)| self.name.is_none_or(|wanted| wanted == **name))
            .flat_map(|(namespace, name)| model.services(namespace, name).to_vec())
            .collect();
        assert_eq!(
            self.fold.services(),
            expected,
            "folding a watch of {:?} {:?} (left: told, right: there)",
            self.namespace,
            self.name
        );
    }

    /// Expects that it ends, since its handle was closed.
    pub(crate) async fn ends(mut self) {
        let ended = async { while self.watcher.next().await.is_some() {} };
        let ended = tokio::time::timeout(std::time::Duration::from_millis(1), ended).await;
        ended.expect("close ends the watches of the handle");
    }
}
