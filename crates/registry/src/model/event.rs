use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::Service;

/// What happened to nodes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Nodes that were not there before.
    Create,
    /// Nodes that changed; without nodes: what belongs to the service itself changed.
    Update,
    /// Nodes that are gone.
    Delete,
}

impl Action {
    /// `create`, `update` or `delete`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When it was observed: Unix seconds by the observer's clock. It never orders anything.
    pub timestamp: i64,
    /// What happened.
    pub action: Action,
    /// The service in the version concerned, with just the nodes concerned.
    pub service: Arc<Service>,
    /// Of a delete: the owner of the nodes said so. If not, they were lost, or the engine can't tell.
    /// Not in JSON.
    #[serde(skip)]
    pub deregistered: bool,
}

impl Event {
    /// An event that happened now.
    #[must_use]
    pub fn new(action: Action, service: impl Into<Arc<Service>>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            timestamp: now.map_or(0, |now| now.as_secs() as i64),
            action,
            service: service.into(),
            deregistered: false,
        }
    }
}
