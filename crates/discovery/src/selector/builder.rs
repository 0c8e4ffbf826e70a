use std::sync::Arc;

use semver::VersionReq;
use vine_registry::{Error, Result};

use super::{Config, Ejection, Selector, Zone};
use crate::{Random, Strategy, Subscription};

/// Makes a [`Selector`].
#[derive(Debug)]
#[must_use]
pub struct SelectorBuilder {
    subscription: Subscription,
    config: Config,
}

impl SelectorBuilder {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            config: Config {
                filter: super::Filter::default(),
                zone: None,
                strategy: Box::new(Random),
                ejection: Ejection::default(),
            },
        }
    }

    /// Only nodes of exactly this version.
    pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.config.filter.version = Some(version.into());
        self
    }

    /// Only nodes whose version is in this range, for instance `^1.2` or `>=1.4, <3`. A `v` before
    /// the version does not matter; versions that are no semantic versions are in no range.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when the range can't be understood.
    pub fn versions(mut self, range: &str) -> Result<Self> {
        let range = VersionReq::parse(range).map_err(|error| {
            Error::invalid_option(
                "versions",
                format!(
                    "{range:?} is no range of semantic versions such as ^1.2 or >=1.4, <3: {error}"
                ),
            )
        })?;
        self.config.filter.versions = Some(range);
        Ok(self)
    }

    /// Only nodes with this fact in their metadata, or else in that of their service. May be repeated.
    pub fn label(mut self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.config.filter.labels.push((key.into(), value.into()));
        self
    }

    /// Only nodes whose service offers this endpoint.
    pub fn endpoint(mut self, name: impl Into<Arc<str>>) -> Self {
        self.config.filter.endpoint = Some(name.into());
        self
    }

    /// Prefers the nodes of this zone (`vine.zone` in their metadata), as long as a share of those
    /// that fit there, from 0 to 1, is healthy: neither draining, down or ejected, nor vanished with
    /// many others. Below that, calls go to all zones.
    pub fn zone(mut self, name: impl Into<Arc<str>>, min_healthy: f64) -> Self {
        let name = name.into();
        self.config.zone = Some(Zone { name, min_healthy });
        self
    }

    /// Sets when a node that fails gets no calls for a while.
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.config.ejection = ejection;
        self
    }

    /// Sets which of several nodes gets a call. [`Random`] by default.
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.config.strategy = Box::new(strategy);
        self
    }

    /// Makes the selector. It can pick at once if the service is known.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Selector {
        Selector::new(self.subscription, self.config)
    }
}
