//! Faults of look-ups and listings.

use std::{collections::BTreeMap, sync::Arc};

use vine_registry::{
    Error, GetOptions, ListOptions, Namespaces, Registry, Result, Service, ServiceSummary,
    Services, Wait,
};

use crate::{content::with_fields, engine::Broken, faults::Fault};

impl Broken {
    pub(crate) async fn faulty_get(&self, name: &str, options: &GetOptions) -> Result<Services> {
        let mut options = options.clone();
        let mut name = name.to_owned();
        match self.fault {
            Fault::FirstWaitFindsNothing if options.wait == Wait::First => {
                return Err(Error::not_found("conformance", name));
            }
            Fault::FoldsNames => name = name.to_lowercase(),
            Fault::IgnoresNamespaces => options.namespace = None,
            Fault::HardWiredNamespace if options.namespace.is_none() => {
                options.namespace = Some("vine".into());
            }
            Fault::HoldsWeak => {
                let weak = self.state().weak.get(&*name).cloned();
                if weak.is_some_and(|weak| weak.upgrade().is_none()) {
                    return Err(Error::not_found("conformance", name));
                }
            }
            Fault::DroppedLookUpBlocks => self.fragile().await?,
            _ => {}
        }
        let answer = self.inner.get_service_with(&name, &options).await;
        match (self.fault, answer) {
            (Fault::NothingIsAnEmptyAnswer, Err(Error::NotFound { .. })) => Ok(Services::new()),
            (Fault::LooksUpAnyName, Err(Error::InvalidService { .. })) => {
                Err(Error::not_found("conformance", name))
            }
            (Fault::ReadsAfterClose, Err(Error::Closed)) => Ok(Services::new()),
            (Fault::GoneIsStillFound, answer) => self.last_found(name, answer),
            (_, Ok(services)) => Ok(self.altered_answer(services)),
            (_, answer) => answer,
        }
    }

    fn last_found(&self, name: String, answer: Result<Services>) -> Result<Services> {
        let key = (Arc::clone(&self.inner.options().namespace), name);
        let found = &mut self.state().found;
        match answer {
            Ok(services) => {
                found.insert(key, services.clone());
                Ok(services)
            }
            Err(error) => found.get(&key).cloned().ok_or(error),
        }
    }

    fn altered_answer(&self, services: Services) -> Services {
        match self.fault {
            Fault::OnlyTheLastVersion => services.iter().rev().take(1).cloned().collect(),
            Fault::FieldsOfAllVersions => {
                let fields = services.last().cloned().unwrap_or_default();
                let each = services.iter().map(|service| {
                    let mut mixed = with_fields(Service::clone(service), &fields);
                    mixed.version = Arc::clone(&service.version);
                    mixed
                });
                each.collect()
            }
            Fault::FieldsOfTheLastCall => {
                let state = self.state();
                let each = services.iter().map(|service| {
                    let last = state
                        .weak
                        .get(&service.name)
                        .and_then(|weak| weak.upgrade());
                    match last.filter(|last| last.version == service.version) {
                        Some(last) => with_fields(Service::clone(service), &last),
                        None => Service::clone(service),
                    }
                });
                each.collect()
            }
            Fault::HidesTtl => {
                let each = services.iter().map(|service| {
                    let mut service = Service::clone(service);
                    service.ttl = None;
                    service
                });
                each.collect()
            }
            Fault::MovesLeaveTheOld => {
                let mut versions: BTreeMap<_, _> = services
                    .iter()
                    .map(|service| (Arc::clone(&service.version), Service::clone(service)))
                    .collect();
                for left in &self.state().moved {
                    let version = versions.entry(Arc::clone(&left.version));
                    let service = version.or_insert_with(|| Service::clone(left));
                    *service = left.nodes.iter().fold(service.clone(), |service, node| {
                        service.with_node(Arc::clone(node))
                    });
                }
                versions.into_values().collect()
            }
            _ => services,
        }
    }

    pub(crate) async fn faulty_list(&self, options: &ListOptions) -> Result<Vec<ServiceSummary>> {
        let mut options = options.clone();
        if matches!(
            self.fault,
            Fault::ListIgnoresNamespace | Fault::IgnoresNamespaces
        ) {
            options.namespace = Namespaces::All;
        }
        let mut listing = self.inner.list_services_with(&options).await?;
        match self.fault {
            Fault::ListsBackwards => listing.reverse(),
            Fault::ListsOneVersion => {
                listing
                    .iter_mut()
                    .for_each(|summary| summary.versions.truncate(1));
            }
            Fault::ListMiscounts => {
                listing
                    .iter_mut()
                    .for_each(|summary| summary.nodes = Some(1));
            }
            Fault::NothingToListIsAnError if listing.is_empty() => {
                return Err(Error::not_found("conformance", "any"));
            }
            Fault::ListRemembers => {
                let listed = &mut self.state().listed;
                listed.retain(|old| listing.iter().all(|new| new.name != old.name));
                listed.extend(listing);
                listed.sort_by(|a, b| a.name.cmp(&b.name));
                return Ok(listed.clone());
            }
            _ => {}
        }
        Ok(listing)
    }
}
