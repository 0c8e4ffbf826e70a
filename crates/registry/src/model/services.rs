use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use super::Service;

/// Services as a registry answers them: immutable, cheap to clone, a slice of [`Service`]s.
///
/// The answer to a name holds one for each version, sorted by version; a snapshot of several
/// names is sorted by namespace, name and version.
#[derive(Clone, Default)]
pub struct Services(
    /// None if empty: whether it is can be told without touching what all readers share.
    Option<Arc<List>>,
);

pub(crate) type List = SmallVec<[Arc<Service>; 1]>;

impl Services {
    /// No services.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The number of nodes of all the services.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.iter().map(|service| service.nodes.len()).sum()
    }

    /// The service in this version.
    #[must_use]
    pub fn version(&self, version: &str) -> Option<&Arc<Service>> {
        self.iter().find(|service| *service.version == *version)
    }

    /// Whether both are the same in memory, which is quicker to tell than equality.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// The same with another service in the place of that of `version`, or without one. All are of
    /// one name.
    pub(crate) fn with_version(&self, version: &str, service: Option<Arc<Service>>) -> Self {
        let list = match service {
            Some(service) if self.iter().all(|other| *other.version == *version) => {
                List::from_buf([service])
            }
            service => {
                let before = self.iter().filter(|other| *other.version < *version);
                let after = self.iter().filter(|other| *other.version > *version);
                before
                    .cloned()
                    .chain(service)
                    .chain(after.cloned())
                    .collect()
            }
        };
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }

    /// The same services, in a list of its own.
    pub(crate) fn apart(&self) -> Self {
        Self(self.0.as_deref().map(|list| Arc::new(list.clone())))
    }

    pub(crate) fn from_shared(list: Option<Arc<List>>) -> Self {
        Self(list)
    }

    pub(crate) fn into_shared(self) -> Option<Arc<List>> {
        self.0
    }
}

impl Deref for Services {
    type Target = [Arc<Service>];

    fn deref(&self) -> &[Arc<Service>] {
        self.0.as_deref().map_or(&[], |list| list)
    }
}

impl<S: Into<Arc<Service>>> FromIterator<S> for Services {
    fn from_iter<I: IntoIterator<Item = S>>(services: I) -> Self {
        let mut list: List = services.into_iter().map(Into::into).collect();
        if list.is_empty() {
            return Self::new();
        }
        list.sort_by(|a, b| {
            (&a.namespace, &a.name, &a.version).cmp(&(&b.namespace, &b.name, &b.version))
        });
        Self(Some(Arc::new(list)))
    }
}

impl<'a> IntoIterator for &'a Services {
    type Item = &'a Arc<Service>;
    type IntoIter = std::slice::Iter<'a, Arc<Service>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other) || **self == **other
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}
