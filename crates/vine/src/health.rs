//! Whether the process is alive, and whether it should get calls.

#[cfg(feature = "tonic")]
mod grpc;
#[cfg(feature = "axum")]
mod http;

use std::{fmt, sync::Arc};

use tokio::sync::watch;
use vine_registry::RegistrationState;

/// Whether a service should get calls; give it to [`AppBuilder::health`](crate::AppBuilder::health)
/// and ask it from wherever probes are answered.
///
/// A service is ready once it is registered, as long as its registration holds, the program itself
/// does not say otherwise by [`set_ready`](Self::set_ready), and it is not about to stop.
///
/// ```
/// use vine::health::{Health, Readiness};
///
/// let health = Health::new();
/// assert_eq!(health.readiness(), Readiness::Starting);
/// let (status, body) = health.readyz();
/// assert_eq!((status, &*body), (503, "starting"));
/// ```
///
/// Feature `axum`: `router` answers `/healthz` and `/readyz`. Feature `tonic`: `grpc` is the
/// standard service `grpc.health.v1.Health`.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<State>>);

/// Whether a service should get calls, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// It is not registered yet.
    #[default]
    Starting,
    /// It should get calls.
    Ready,
    /// The program itself says that it can't take calls now.
    Busy,
    /// Others can't find it; the text says why.
    Unregistered(String),
    /// It is about to stop, or has stopped.
    Stopping,
}

#[derive(Debug, Default)]
struct State {
    registration: Readiness,
    busy: bool,
}

impl Health {
    /// A service that has not started yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Says whether the program itself can take calls, for instance once its caches are warm or
    /// while its database is there; true from the start.
    pub fn set_ready(&self, ready: bool) {
        self.0.send_if_modified(|state| {
            let changed = state.busy == ready;
            state.busy = !ready;
            changed
        });
    }

    /// Whether the service should get calls.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    /// Whether the service should get calls, and why not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.0.borrow().readiness()
    }

    /// Waits until the service is ready, or another readiness that `wanted` accepts. Cancel safe.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Readiness) -> bool) -> Readiness {
        let mut observer = self.0.subscribe();
        match observer.wait_for(|state| wanted(&state.readiness())).await {
            Ok(state) => state.readiness(),
            // The sender is in self.
            Err(_) => Readiness::Stopping,
        }
    }

    /// The answer to a liveness probe, status and body: whoever can answer is alive.
    #[must_use]
    pub fn healthz(&self) -> (u16, &'static str) {
        (200, "alive")
    }

    /// The answer to a readiness probe, status and body.
    #[must_use]
    pub fn readyz(&self) -> (u16, String) {
        let readiness = self.readiness();
        let status = if readiness == Readiness::Ready {
            200
        } else {
            503
        };
        (status, readiness.to_string())
    }

    pub(crate) fn observe(&self, registration: &RegistrationState) {
        let readiness = match registration {
            RegistrationState::Pending => Readiness::Starting,
            RegistrationState::Registered => Readiness::Ready,
            other => Readiness::Unregistered(other.to_string()),
        };
        self.enter(readiness);
    }

    pub(crate) fn stopping(&self) {
        self.enter(Readiness::Stopping);
    }

    fn enter(&self, registration: Readiness) {
        self.0.send_if_modified(|state| {
            let changed = state.registration != registration;
            state.registration = registration;
            changed
        });
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn readiness(&self) -> Readiness {
        match &self.registration {
            Readiness::Ready if self.busy => Readiness::Busy,
            other => other.clone(),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Busy => f.write_str("busy"),
            Self::Unregistered(why) => f.write_str(why),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_registered_willing_and_not_stopping() {
        let health = Health::new();
        assert_eq!(health.readiness(), Readiness::Starting);
        health.observe(&RegistrationState::Registered);
        assert_eq!(health.readyz(), (200, "ready".into()));
        health.set_ready(false);
        assert_eq!(health.readyz(), (503, "busy".into()));
        health.set_ready(true);
        assert!(health.is_ready());
        health.observe(&RegistrationState::Replaced);
        assert!(health.readyz().1.contains("replaced"));
        health.stopping();
        assert_eq!(health.readyz(), (503, "stopping".into()));
        assert_eq!(health.healthz(), (200, "alive"));
    }
}
